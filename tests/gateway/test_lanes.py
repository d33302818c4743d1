"""What both lanes to a model promise: the same request, the same completion, the same error."""

import asyncio
import json
import time

import pytest
from msgspec.structs import replace

from loomgit.domain.models import Message, PromptRejected, Request, Usage
from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import Denied, RateLimited, Rejected, Unavailable, UserError
from loomgit.gateway.litellm_lane import LiteLlmGateway
from loomgit.gateway.openai_http import OpenAiHttpGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.retry import RetryGateway
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
LANES = {"direct": OpenAiHttpGateway, "litellm": LiteLlmGateway}


def secret(text):
    return Secret(text, Place(".loom/config.yaml"))


def reveal(value):
    return {"${MY_KEY}": KEY, "${WRONG_KEY}": "sk-wrongwrongwrongwrong"}.get(
        value.template, value.template
    )


def at(server, **more):
    return ModelSettings(base_url=secret(server.url), **more)


class Lane:
    def __init__(self, name):
        self.make = LANES[name]

    def gateway(self, models, environment=None):
        return self.make(models, Prices(models), reveal=reveal, environment=environment or {})

    def ask(self, models, *requests, environment=None):
        """The completions of all requests at once, by one gateway that is closed afterwards."""

        async def run():
            gateway = self.gateway(models, environment)
            try:
                return await asyncio.gather(*(gateway.complete(request) for request in requests))
            finally:
                await gateway.close()

        return asyncio.run(run())

    def refusal(self, server, reply, kind, model=MODEL, **settings):
        """The error that `reply` becomes, after one single call."""
        server.respond = scripted(reply)
        with pytest.raises(kind) as caught:
            self.ask(
                {model: at(server, api_key=secret("${MY_KEY}"), **settings)},
                replace(ASK, model=model),
            )
        assert server.calls == 1, "a failed call is not repeated here"
        assert "\n" not in caught.value.message
        assert KEY not in f"{caught.value.message}{caught.value.hint}"
        return caught.value


@pytest.fixture(params=LANES)
def lane(request, litellm):
    return Lane(request.param)


def test_a_reply_comes_back_with_its_tokens_cost_model_and_latency(lane, server):
    server.respond = scripted("Fine.")
    server.served = lambda model: f"{model}-2024-07-18"
    server.cached_share = 0.5
    server.latency = 0.05
    (done,) = lane.ask({MODEL: at(server)}, ASK)
    assert done.text == "Fine."
    assert done.model == "gpt-4o-mini-2024-07-18"
    assert done.usage == Usage(input=10, output=2, cached=5)
    assert done.cost == pytest.approx((5 * 0.15 + 5 * 0.075 + 2 * 0.6) / 1e6)
    assert done.latency >= 0.05
    assert (done.attempts, done.cached) == (1, False)


def test_what_was_asked_is_what_is_sent(lane, server):
    request = replace(ASK, temperature=0.25, seed=7, max_tokens=50, params={"top_p": 0.5})
    lane.ask({MODEL: at(server, api_key=secret("${MY_KEY}"))}, request)
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


def test_what_was_not_asked_is_not_sent(lane, server):
    lane.ask({MODEL: at(server)}, ASK)
    assert set(server.requests[0]) <= {"model", "messages"}


def test_the_models_own_limit_is_sent_where_the_request_has_none(lane, server):
    models = {MODEL: at(server, max_output_tokens=77)}
    lane.ask(models, ASK, replace(ASK, max_tokens=5))
    assert sorted(sent["max_tokens"] for sent in server.requests) == [5, 77]


def test_a_prefix_names_the_provider_and_is_not_sent(lane, server):
    lane.ask({"openai/gpt-4o-mini": at(server)}, replace(ASK, model="openai/gpt-4o-mini"))
    assert server.requests[0]["model"] == "gpt-4o-mini"


@pytest.mark.parametrize("model", ["my-own-model", "mistralai/Mistral-7B-Instruct"])
def test_a_server_of_ones_own_gets_any_model_by_its_whole_name(lane, server, model):
    (done,) = lane.ask({model: at(server)}, replace(ASK, model=model))
    assert server.requests[0]["model"] == model
    assert done.model == model
    assert done.cost is None, "an unknown price is unknown, not 0"


def test_a_schema_goes_through_the_providers_own_means(lane, server):
    (done,) = lane.ask({MODEL: at(server)}, replace(ASK, schema=SCHEMA))
    assert server.requests[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
    }
    assert json.loads(done.text)["label"] == "a label"


def test_strict_mode_is_not_asked_for_a_schema_it_would_refuse(lane, server):
    loose = {**SCHEMA, "required": ["label"]}
    lane.ask({MODEL: at(server)}, replace(ASK, schema=loose))
    assert server.requests[0]["response_format"]["json_schema"]["strict"] is False


def test_a_schema_becomes_an_instruction_where_the_provider_has_no_means(lane, server):
    (done,) = lane.ask({"mine": at(server)}, replace(ASK, model="mine", schema=SCHEMA))
    (sent,) = server.requests
    assert "response_format" not in sent
    assert [turn["role"] for turn in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"].startswith("Be brief.\n\n")
    assert json.dumps(SCHEMA, separators=(",", ":")) in sent["messages"][0]["content"]
    assert json.loads(done.text)["label"] == "a label"


def test_a_judges_temperature_is_left_out_where_the_model_has_none(lane, server):
    models = {"gpt-5": at(server)}
    strange = replace(ASK, model="gpt-5", temperature=0.0)
    lane.ask(models, replace(strange, purpose="evaluate"))
    assert "temperature" not in server.requests[0]
    with pytest.raises(Rejected, match="gpt-5"):
        lane.ask(models, strange)


@pytest.mark.parametrize("name", ["num_retries", "api_key", "stream", "mock_response"])
def test_params_cannot_take_over_what_is_ours(lane, server, name):
    with pytest.raises(UserError, match=f"params: '{name}'"):
        lane.ask({MODEL: at(server)}, replace(ASK, params={name: "1"}))
    assert server.calls == 0


def test_a_key_that_is_missing_is_named_before_any_call(lane, server):
    with pytest.raises(Denied) as caught:
        lane.ask({}, ASK)
    assert caught.value.message == "gpt-4o-mini: no key: OPENAI_API_KEY is not set"
    assert "OPENAI_API_KEY" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_key_from_the_given_environment_is_used(lane, server):
    server.api_key = KEY
    (done,) = lane.ask({MODEL: at(server)}, ASK, environment={"OPENAI_API_KEY": KEY})
    assert done.text


def test_a_key_that_the_provider_does_not_know_is_denied(lane, server):
    server.api_key = "another"
    with pytest.raises(Denied) as caught:
        lane.ask({MODEL: at(server, api_key=secret("${WRONG_KEY}"))}, ASK)
    assert (
        caught.value.message == "gpt-4o-mini: the provider does not accept the key in ${WRONG_KEY}"
    )
    assert "wrongwrong" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"retry_after": "3"}, 3.0), ({"retry_after_ms": "1500"}, 1.5), ({}, None)],
)
def test_a_rate_limit_says_how_long_to_wait(lane, server, headers, wait):
    found = lane.refusal(
        server, error(429, "slow down", "rate_limit_exceeded", **headers), RateLimited
    )
    assert found.retry_after == wait
    assert found.message == "gpt-4o-mini: rate limited: slow down"


def test_an_empty_account_is_denied_though_it_comes_as_a_rate_limit(lane, server):
    reply = error(
        429, "You exceeded your current quota, please check your plan.", "insufficient_quota"
    )
    found = lane.refusal(server, reply, Denied)
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
def test_each_refusal_becomes_the_error_that_says_what_can_be_done(
    lane, server, reply, kind, words
):
    assert words in lane.refusal(server, reply, kind).message


@pytest.mark.parametrize(
    ("reply", "blamed"),
    [
        (error(400, "maximum context length is 128000 tokens", "context_length_exceeded"), True),
        (error(400, "prompt is too long: 210000 tokens > 200000 maximum"), True),
        (error(413, "too large"), True),
        (error(400, "flagged", "content_policy_violation"), True),
        (error(400, "The response was filtered due to the content management policy"), True),
        (error(400, "Unknown parameter: 'foo'"), False),
        (error(400, "Invalid schema for response_format"), False),
        (error(422, "cannot read that"), False),
    ],
)
def test_the_prompt_is_blamed_for_its_length_and_for_what_it_says_alone(
    lane, server, reply, blamed
):
    found = lane.refusal(server, reply, Rejected)
    assert isinstance(found, PromptRejected) is blamed


def test_an_outage_says_how_long_to_wait_too(lane, server):
    assert (
        lane.refusal(server, error(503, "busy", None, retry_after="2"), Unavailable).retry_after
        == 2.0
    )


def test_a_secret_in_a_refusal_is_not_shown(lane, server):
    found = lane.refusal(
        server, error(400, f"bad header Authorization: Bearer {KEY}; {KEY}"), Rejected
    )
    assert "***" in found.message
    server.respond = scripted(error(400, "the key is plainword"))
    with pytest.raises(Rejected, match=r"the key is \*\*\*$"):
        lane.ask({MODEL: at(server, api_key=secret("plainword"))}, ASK)


def test_a_hanging_call_ends_with_its_timeout(lane, server):
    started = time.monotonic()
    found = lane.refusal(server, Hang(), Unavailable, timeout=0.3)
    assert found.message == "gpt-4o-mini: no reply within 0.3 s"
    assert time.monotonic() - started < 5


def test_a_refused_connection_is_unavailable(lane):
    nowhere = ModelSettings(base_url=secret("http://127.0.0.1:9/v1"))
    with pytest.raises(Unavailable) as caught:
        lane.ask({MODEL: nowhere}, ASK)
    assert "unavailable at http://127.0.0.1:9/v1" in caught.value.message


ADDRESSES = {
    "a password": ("http://user:hidden@127.0.0.1:9/v1", "contains a user or a password"),
    "a user": ("http://hidden@127.0.0.1:9/v1", "contains a user or a password"),
    "a query": ("http://127.0.0.1:9/v1?key=hidden", "contains a query"),
    "an empty query": ("http://127.0.0.1:9/v1?", "contains a query"),
    "a fragment": ("http://127.0.0.1:9/v1#hidden", "contains a query"),
    "no scheme": ("hidden:9/v1", "not the address of a server"),
    "no scheme but a port": ("127.0.0.1:9/v1/hidden", "not the address of a server"),
    "another scheme": ("ftp://127.0.0.1/hidden", "not the address of a server"),
    "no host": ("http:///hidden", "not the address of a server"),
    "a wrong port": ("http://127.0.0.1:99999/hidden", "not the address of a server"),
    "a space": ("http://127.0.0.1:9/hid den", "not the address of a server"),
    "a bracket": ("http://[::1/hidden", "not the address of a server"),
}


@pytest.mark.parametrize(("address", "message"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_that_no_key_should_go_to_is_refused(lane, address, message):
    with pytest.raises(UserError) as caught:
        lane.ask({MODEL: ModelSettings(base_url=secret(address))}, ASK)
    assert message in caught.value.message
    assert ".loom/config.yaml:1:1: base_url of gpt-4o-mini" in caught.value.message
    assert "hidden" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("around", ["{} ", "\n{}\r\n", "\t{}"])
def test_spaces_around_keys_and_addresses_do_not_count(lane, server, around):
    settings = ModelSettings(
        base_url=secret(around.format(server.url)), api_key=secret(around.format(KEY))
    )
    lane.ask({MODEL: settings}, ASK)
    assert server.headers[-1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["two words", "line\nend", "schlüssel", "tab\there", "nul\0"])
def test_a_key_that_no_header_carries_is_refused(lane, server, key):
    with pytest.raises(UserError) as caught:
        lane.ask({MODEL: at(server, api_key=secret(key))}, ASK)
    assert "no header can carry" in caught.value.message
    assert key not in caught.value.message
    assert server.calls == 0


@pytest.mark.parametrize(
    ("finish", "message", "ending", "refusal"),
    [
        ("content_filter", {"content": ""}, "filter", "stopped by the provider's content filter"),
        ("content_filter", {"content": "as far as"}, "filter", ""),
        ("stop", {"content": None, "refusal": "I will\nnot."}, "refusal", "refuses: I will not."),
        ("length", {"content": "as far as"}, "length", ""),
        ("stop", {"content": "All."}, "", ""),
    ],
)
def test_how_a_reply_ended_is_told_and_what_it_took_is_counted(
    lane, server, finish, message, ending, refusal
):
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 2, "total_tokens": 1002},
    }
    server.respond = scripted(Reply(200, body))
    (done,) = lane.ask({MODEL: at(server)}, ASK)
    assert done.ending == ending
    assert done.refusal.endswith(refusal)
    assert bool(done.refusal) is bool(refusal)
    assert done.usage == Usage(1000, 2)
    assert done.cost == pytest.approx((1000 * 0.15 + 2 * 0.6) / 1e6)
    assert done.latency > 0


def test_a_reply_without_token_counts_has_no_known_cost(lane, server):
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
    (done,) = lane.ask({MODEL: at(server)}, ASK)
    assert (done.text, done.usage, done.cost) == ("Hm.", Usage(), None)


def test_many_calls_run_at_once_and_loops_follow_each_other(lane, server):
    server.latency = 0.2
    for _ in range(2):  # a second event loop must not meet the first one's connections
        server.clear()
        assert len(lane.ask({MODEL: at(server)}, *[ASK] * 20)) == 20
        assert server.highest == 20


def test_a_cancelled_call_ends_at_once_and_leaves_the_server(lane, server):
    server.latency = 30.0

    async def run():
        gateway = lane.gateway({MODEL: at(server)})
        call = asyncio.create_task(gateway.complete(ASK))
        assert await asyncio.to_thread(server.arrived.wait, 5)
        started = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(server.left.wait, 5)
        await gateway.close()
        return time.monotonic() - started

    assert asyncio.run(run()) < 2


def test_a_server_that_asks_to_wait_is_obeyed_by_all_calls(lane, server):
    replies = iter([error(429, "slow down", None, retry_after="0.3")])
    server.respond = lambda request: next(replies, None) or answer(request)

    async def run():
        gateway = RetryGateway(lane.gateway({MODEL: at(server)}))
        first = await gateway.complete(ASK)
        await gateway.close()
        return first

    done = asyncio.run(run())
    assert done.attempts == 2
    assert server.violations == 0
    assert server.arrivals[1] - server.arrivals[0] >= 0.3
