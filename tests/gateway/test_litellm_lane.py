import asyncio
import json
import logging

import pytest
from msgspec.structs import replace

from loomgit.domain.models import Message, Request, Usage
from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import Denied, Unavailable
from loomgit.gateway.litellm_lane import LiteLlmGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.wire import Endpoint, litellm_arguments
from tests.servers.openai_server import error, scripted

KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"
MODEL = "gpt-4o-mini"
ASK = Request(MODEL, (Message("system", "Be brief."), Message("user", "Say something.")))
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "confidence": {"type": "number"}},
    "required": ["label", "confidence"],
    "additionalProperties": False,
}

pytestmark = pytest.mark.usefixtures("litellm")


def secret(text):
    return Secret(text, Place(".loom/config.yaml"))


def reveal(value):
    return {"${MY_KEY}": KEY, "${WRONG_KEY}": "sk-wrongwrongwrongwrong"}.get(
        value.template, value.template
    )


def at(server, **more):
    return ModelSettings(base_url=secret(server.url), **more)


def gateway(models, environment=None):
    return LiteLlmGateway(models, Prices(models), reveal=reveal, environment=environment or {})


def ask(models, *requests, environment=None):
    """The completions of `requests`, all at once, through one gateway that is closed afterwards."""

    async def run():
        lane = gateway(models, environment)
        try:
            return await asyncio.gather(*(lane.complete(request) for request in requests))
        finally:
            await lane.close()

    return asyncio.run(run())


def refusal(server, reply, kind, model=MODEL, **settings):
    """The error that `reply` becomes, after one single call."""
    server.respond = scripted(reply)
    with pytest.raises(kind) as caught:
        ask({model: at(server, api_key=secret("${MY_KEY}"), **settings)}, replace(ASK, model=model))
    assert server.calls == 1, "a failed call is not repeated here"
    assert "\n" not in caught.value.message
    assert KEY not in f"{caught.value.message}{caught.value.hint}"
    return caught.value


def test_litellm_is_told_not_to_repeat_calls():
    endpoint = Endpoint("openai/x", None, None, native_schema=True, max_tokens=None, timeout=1.0)
    told = litellm_arguments(ASK, endpoint)
    assert told["max_retries"] == 0
    assert "num_retries" not in told


def test_anthropic_replies_are_read_too(server):
    model = "anthropic/claude-sonnet-4-5"
    server.cached_share = 0.5
    models = {model: ModelSettings(base_url=secret(server.root), api_key=secret("${MY_KEY}"))}
    plain, shaped = ask(models, replace(ASK, model=model), replace(ASK, model=model, schema=SCHEMA))
    assert plain.text == "This is an answer."
    assert json.loads(shaped.text)["label"] == "a label"
    assert plain.usage == Usage(input=7, output=5, cached=3)
    assert plain.cost == pytest.approx((4 * 3 + 3 * 0.3 + 5 * 15) / 1e6)
    assert server.headers[0]["x-api-key"] == KEY


def test_other_providers_keys_are_named_as_well():
    for model, variable in (
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("mistral/mistral-small-latest", "MISTRAL_API_KEY"),
        ("groq/llama-3.3-70b-versatile", "GROQ_API_KEY"),
    ):
        with pytest.raises(Denied, match=variable):
            ask({}, replace(ASK, model=model))


def test_a_model_that_no_provider_has_is_denied():
    with pytest.raises(Denied, match="gpt-nonsense: no provider serves") as caught:
        ask({}, replace(ASK, model="gpt-nonsense"))
    assert "base_url" in caught.value.hint


@pytest.mark.parametrize("own_http", ["true", "false"])  # litellm's two ways to OpenAI's API
def test_closing_a_gateway_does_not_break_the_next_one(server, monkeypatch, own_http):
    monkeypatch.setenv("EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER", own_http)

    async def run():
        for _ in range(2):
            lane = gateway({MODEL: at(server)})
            await lane.complete(ASK)
            await lane.close()

    asyncio.run(run())
    assert server.calls == 2


def test_nothing_is_printed_or_logged(server, capfd, caplog):
    with caplog.at_level(logging.INFO):
        refusal(server, error(500, "oops"), Unavailable)
        ask({MODEL: at(server)}, ASK)
    assert "".join(capfd.readouterr()) == ""
    assert [record for record in caplog.records if "litellm" in record.name.lower()] == []


def test_the_import_is_lazy_offline_and_leaves_the_environment_as_it_was(fresh_process):
    printed, complaints = fresh_process.communicate(timeout=120)
    assert complaints == ""
    assert printed.splitlines() == [
        "gpt-4o-mini: no key: OPENAI_API_KEY is not set",
        "[('EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER', 'true'), "
        "('PYDANTIC_DISABLE_PLUGINS', '__all__')] True",
    ]
