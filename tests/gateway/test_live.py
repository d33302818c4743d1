import asyncio
import json
import logging
import time
from dataclasses import replace

import pytest

from loomgit.domain.models import Message, Request, Usage
from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import Denied, RateLimited, Rejected, Unavailable, UserError
from loomgit.gateway.live import LiteLlmGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.retry import RetryGateway
from loomgit.gateway.wire import Endpoint, arguments
from tests.servers.openai_server import Hang, Reply, answer, error, scripted

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


def test_a_reply_comes_back_with_its_tokens_cost_model_and_latency(server):
    server.respond = scripted("Fine.")
    server.served = lambda model: f"{model}-2024-07-18"
    server.cached_share = 0.5
    server.latency = 0.05
    (done,) = ask({MODEL: at(server)}, ASK)
    assert done.text == "Fine."
    assert done.model == "gpt-4o-mini-2024-07-18"
    assert done.usage == Usage(input=10, output=2, cached=5)
    assert done.cost == pytest.approx((5 * 0.15 + 5 * 0.075 + 2 * 0.6) / 1e6)
    assert 0.05 <= done.latency < 5
    assert (done.attempts, done.cached) == (1, False)


def test_what_was_asked_is_what_is_sent(server):
    request = replace(ASK, temperature=0.25, seed=7, max_tokens=50, params={"top_p": 0.5})
    ask({MODEL: at(server, api_key=secret("${MY_KEY}"))}, request)
    (sent,) = server.requests
    assert sent["model"] == MODEL
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say something."},
    ]
    assert {name: sent[name] for name in ("temperature", "seed", "max_tokens", "top_p")} == {
        "temperature": 0.25,
        "seed": 7,
        "max_tokens": 50,
        "top_p": 0.5,
    }
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_litellm_is_told_not_to_repeat_calls():
    endpoint = Endpoint("openai/x", None, None, native_schema=True, max_tokens=None, timeout=1.0)
    told = arguments(ASK, endpoint)
    assert told["max_retries"] == 0
    assert "num_retries" not in told


def test_what_was_not_asked_is_not_sent(server):
    ask({MODEL: at(server)}, ASK)
    assert set(server.requests[0]) <= {"model", "messages"}


def test_the_models_own_limit_is_sent_where_the_request_has_none(server):
    models = {MODEL: at(server, max_output_tokens=77)}
    ask(models, ASK, replace(ASK, max_tokens=5))
    assert sorted(sent["max_tokens"] for sent in server.requests) == [5, 77]


def test_a_prefix_names_the_provider_and_is_not_sent(server):
    ask({"openai/gpt-4o-mini": at(server)}, replace(ASK, model="openai/gpt-4o-mini"))
    assert server.requests[0]["model"] == "gpt-4o-mini"


@pytest.mark.parametrize("model", ["my-own-model", "mistralai/Mistral-7B-Instruct"])
def test_a_server_of_ones_own_gets_any_model_by_its_whole_name(server, model):
    (done,) = ask({model: at(server)}, replace(ASK, model=model))
    assert server.requests[0]["model"] == model
    assert done.model == model
    assert done.cost is None, "an unknown price is unknown, not 0"


def test_a_schema_goes_through_the_providers_own_means(server):
    (done,) = ask({MODEL: at(server)}, replace(ASK, schema=SCHEMA))
    assert server.requests[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
    }
    assert json.loads(done.text)["label"] == "a label"


def test_strict_mode_is_not_asked_for_a_schema_it_would_refuse(server):
    loose = {**SCHEMA, "required": ["label"]}
    ask({MODEL: at(server)}, replace(ASK, schema=loose))
    assert server.requests[0]["response_format"]["json_schema"]["strict"] is False


def test_a_schema_becomes_an_instruction_where_the_provider_has_no_means(server):
    (done,) = ask({"mine": at(server)}, replace(ASK, model="mine", schema=SCHEMA))
    (sent,) = server.requests
    assert "response_format" not in sent
    assert [turn["role"] for turn in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"].startswith("Be brief.\n\n")
    assert json.dumps(SCHEMA, separators=(",", ":")) in sent["messages"][0]["content"]
    assert json.loads(done.text)["label"] == "a label"


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


def test_a_judges_temperature_is_left_out_where_the_model_has_none(server):
    models = {"gpt-5": at(server)}
    strange = replace(ASK, model="gpt-5", temperature=0.0)
    ask(models, replace(strange, purpose="evaluate"))
    assert "temperature" not in server.requests[0]
    with pytest.raises(Rejected, match="gpt-5"):
        ask(models, strange)


@pytest.mark.parametrize("name", ["num_retries", "api_key", "stream", "mock_response"])
def test_params_cannot_take_over_what_is_ours(server, name):
    with pytest.raises(UserError, match=f"params: '{name}'"):
        ask({MODEL: at(server)}, replace(ASK, params={name: "1"}))
    assert server.calls == 0


def test_a_key_that_is_missing_is_named_before_any_call(server):
    with pytest.raises(Denied) as caught:
        ask({}, ASK)
    assert caught.value.message == "gpt-4o-mini: no key: OPENAI_API_KEY is not set"
    assert "OPENAI_API_KEY" in caught.value.hint
    assert caught.value.exit_code == 2


def test_other_providers_keys_are_named_as_well():
    for model, variable in (
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("mistral/mistral-small-latest", "MISTRAL_API_KEY"),
        ("groq/llama-3.3-70b-versatile", "GROQ_API_KEY"),
    ):
        with pytest.raises(Denied, match=variable):
            ask({}, replace(ASK, model=model))


def test_a_key_from_the_given_environment_is_used(server):
    server.api_key = KEY
    (done,) = ask({MODEL: at(server)}, ASK, environment={"OPENAI_API_KEY": KEY})
    assert done.text


def test_a_key_that_the_provider_does_not_know_is_denied(server):
    server.api_key = "another"
    with pytest.raises(Denied) as caught:
        ask({MODEL: at(server, api_key=secret("${WRONG_KEY}"))}, ASK)
    assert (
        caught.value.message == "gpt-4o-mini: the provider does not accept the key in ${WRONG_KEY}"
    )
    assert "wrongwrong" not in f"{caught.value.message}{caught.value.hint}"


def test_a_model_that_no_provider_has_is_denied():
    with pytest.raises(Denied, match="gpt-nonsense: no provider serves") as caught:
        ask({}, replace(ASK, model="gpt-nonsense"))
    assert "base_url" in caught.value.hint


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"retry_after": "3"}, 3.0), ({"retry_after_ms": "1500"}, 1.5), ({}, None)],
)
def test_a_rate_limit_says_how_long_to_wait(server, headers, wait):
    found = refusal(server, error(429, "slow down", "rate_limit_exceeded", **headers), RateLimited)
    assert found.retry_after == wait
    assert found.message == "gpt-4o-mini: rate limited: slow down"


def test_an_empty_account_is_denied_though_it_comes_as_a_rate_limit(server):
    reply = error(
        429, "You exceeded your current quota, please check your plan.", "insufficient_quota"
    )
    found = refusal(server, reply, Denied)
    assert "no quota left: You exceeded your current quota" in found.message
    assert "${MY_KEY}" in found.message


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (
            error(400, "maximum context length is 128000 tokens", "context_length_exceeded"),
            Rejected,
            "128000",
        ),
        (error(400, "flagged", "content_policy_violation"), Rejected, "flagged"),
        (error(422, "cannot read that"), Rejected, "cannot read that"),
        (error(413, "too large"), Rejected, "too large"),
        (error(400, "Your credit balance is too low"), Denied, "no quota left"),
        (error(400, "API key not valid. Please pass a valid API key."), Denied, "does not accept"),
        (error(402, "Insufficient Balance"), Denied, "Insufficient Balance"),
        (error(403, "not in your country"), Denied, "not in your country"),
        (error(404, "The model does not exist", "model_not_found"), Denied, "does not exist"),
        (error(500, "oops"), Unavailable, "oops"),
        (error(503, "overloaded", None, retry_after="2"), Unavailable, "overloaded"),
        (error(529, "overloaded"), Unavailable, "529"),
        (error(408, "late"), Unavailable, "no reply within"),
        (Reply(200, {}), Unavailable, "choices"),
    ],
)
def test_each_refusal_becomes_the_error_that_says_what_can_be_done(server, reply, kind, words):
    assert words in refusal(server, reply, kind).message


def test_an_outage_says_how_long_to_wait_too(server):
    assert (
        refusal(server, error(503, "busy", None, retry_after="2"), Unavailable).retry_after == 2.0
    )


def test_a_secret_in_a_refusal_is_not_shown(server):
    found = refusal(server, error(400, f"bad header Authorization: Bearer {KEY}; {KEY}"), Rejected)
    assert "***" in found.message
    server.respond = scripted(error(400, "the key is plainword"))
    with pytest.raises(Rejected, match=r"the key is \*\*\*$"):
        ask({MODEL: at(server, api_key=secret("plainword"))}, ASK)


def test_a_hanging_call_ends_with_its_timeout(server):
    started = time.monotonic()
    found = refusal(server, Hang(), Unavailable, timeout=0.3)
    assert found.message == "gpt-4o-mini: no reply within 0.3 s"
    assert time.monotonic() - started < 5


def test_a_refused_connection_is_unavailable():
    nowhere = ModelSettings(base_url=secret("http://user:hidden@127.0.0.1:9/v1"))
    with pytest.raises(Unavailable) as caught:
        ask({MODEL: nowhere}, ASK)
    assert "unavailable at http://***@127.0.0.1:9/v1" in caught.value.message
    assert "hidden" not in caught.value.message


def test_a_refusal_that_comes_as_a_reply_is_rejected(server):
    choice = {
        "index": 0,
        "finish_reason": "content_filter",
        "message": {"role": "assistant", "content": ""},
    }
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
    }
    assert "content filter" in refusal(server, Reply(200, body), Rejected).message


def test_a_reply_without_token_counts_has_no_known_cost(server):
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "Hm."},
    }
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
    }
    server.respond = scripted(Reply(200, body))
    (done,) = ask({MODEL: at(server)}, ASK)
    assert (done.text, done.usage, done.cost) == ("Hm.", Usage(), None)


def test_many_calls_run_at_once_and_loops_follow_each_other(server):
    server.latency = 0.2
    for _ in range(2):  # a second event loop must not meet the first one's connections
        server.clear()
        assert len(ask({MODEL: at(server)}, *[ASK] * 20)) == 20
        assert server.highest == 20


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


def test_a_cancelled_call_ends_at_once_and_leaves_the_server(server):
    server.latency = 30.0

    async def run():
        lane = gateway({MODEL: at(server)})
        call = asyncio.create_task(lane.complete(ASK))
        assert await asyncio.to_thread(server.arrived.wait, 5)
        started = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(server.left.wait, 5)
        await lane.close()
        return time.monotonic() - started

    assert asyncio.run(run()) < 2


def test_nothing_is_printed_or_logged(server, capfd, caplog):
    with caplog.at_level(logging.INFO):
        refusal(server, error(500, "oops"), Unavailable)
        ask({MODEL: at(server)}, ASK)
    assert "".join(capfd.readouterr()) == ""
    assert [record for record in caplog.records if "litellm" in record.name.lower()] == []


def test_a_server_that_asks_to_wait_is_obeyed_by_all_calls(server):
    replies = iter([error(429, "slow down", None, retry_after="0.3")])
    server.respond = lambda request: next(replies, None) or answer(request)

    async def run():
        lane = RetryGateway(gateway({MODEL: at(server)}))
        first = await lane.complete(ASK)
        await lane.close()
        return first

    done = asyncio.run(run())
    assert done.attempts == 2
    assert server.violations == 0
    assert server.arrivals[1] - server.arrivals[0] >= 0.3


def test_the_import_is_lazy_offline_and_leaves_the_environment_as_it_was(fresh_process):
    printed, complaints = fresh_process.communicate(timeout=120)
    assert complaints == ""
    assert printed.splitlines() == [
        "gpt-4o-mini: no key: OPENAI_API_KEY is not set",
        "[('EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER', 'true'), "
        "('PYDANTIC_DISABLE_PLUGINS', '__all__')] True",
    ]
