"""Servers that answer in unusual ways: what comes of each, who is blamed, and after how many calls.

The whole chain of gateways is asked, with retries that do not wait.
"""

import asyncio
import json

import pytest

from loomgit.domain.models import Message, PromptRejected, Request
from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import Denied, NotServed, RateLimited, Rejected, Unavailable
from loomgit.gateway.chain import Lanes, build
from loomgit.gateway.retry import ATTEMPTS, RetryGateway
from tests.servers.openai_server import Reply, error

ASK = Request("m", (Message("user", "Say something."),))
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


def chat(content="Fine.", **choice):
    message = {"role": "assistant", "content": content}
    return {"choices": [{"message": message, "finish_reason": "stop", **choice}], "usage": USAGE}


def raw(text, kind="application/json", status=200):
    body = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return Reply(status, body, {"content-type": kind})


def events(*datas, kind="text/event-stream"):
    return raw("".join(f"data: {data}\n\n" for data in datas), kind)


def delta(text=None, **more):
    return json.dumps({"choices": [{"delta": {"content": text} if text else {}, **more}]})


def told(message, status=400, **more):
    return Reply(status, {"error": {"message": message, **more}})


# Reply: text, and what came of it.
READ = {
    "plain": (Reply(200, chat()), "Fine."),
    "a BOM": (raw(b"\xef\xbb\xbf" + json.dumps(chat()).encode()), "Fine."),
    "spaces around": (raw(f"\n\n {json.dumps(chat())}\n"), "Fine."),
    "half of a character": (
        raw(json.dumps(chat("Nice XY thing")).replace("XY", "\\ud83d")),
        "Nice \ufffd thing",
    ),
    "halves the wrong way round": (
        raw(json.dumps(chat("XY")).replace("XY", "\\ude00\\ud83d")),
        "\ufffd\ufffd",
    ),
    "a raw half": (raw(json.dumps(chat("XY")).replace("XY", "\ud83d")), "\ufffd"),
    "an infinity": (raw(json.dumps({**chat(), "score": float("-inf")})), "Fine."),
    "NaN": (raw(json.dumps({**chat(), "score": float("nan")})), "Fine."),
    "a huge integer": (raw(json.dumps({**chat(), "seed": 10**30})), "Fine."),
    "another content type": (raw(json.dumps(chat()), "text/plain"), "Fine."),
    "no content type": (raw(json.dumps(chat()), ""), "Fine."),
    "an event stream": (
        events(delta("Fi"), delta("ne."), delta(finish_reason="stop"), "[DONE]"),
        "Fine.",
    ),
    "a stream with its usage": (
        events(delta("Fine."), json.dumps({"choices": [], "usage": USAGE}), "[DONE]"),
        "Fine.",
    ),
    "a stream called JSON": (events(delta("Fine."), kind="application/json"), "Fine."),
    "a stream with comments": (
        raw(f": ping\n\ndata: {delta('Fine.')}\n\n", "text/event-stream"),
        "Fine.",
    ),
    "a stream with names": (
        raw(f"event: message\ndata: {delta('Fine.')}\n\n", "text/event-stream"),
        "Fine.",
    ),
    "parts": (
        Reply(200, chat([{"type": "text", "text": "Fi"}, {"type": "text", "text": "ne."}])),
        "Fine.",
    ),
    "parts with thinking": (
        Reply(
            200, chat([{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "Fine."}])
        ),
        "Fine.",
    ),
    "the older API": (Reply(200, {"choices": [{"text": "Fine."}], "usage": USAGE}), "Fine."),
    "no usage": (Reply(200, {"choices": chat()["choices"]}), "Fine."),
    "usage that is null": (Reply(200, {**chat(), "usage": None}), "Fine."),
    "two choices": (
        Reply(200, {**chat(), "choices": [*chat()["choices"], *chat("No.")["choices"]]}),
        "Fine.",
    ),
    "an error that is null": (Reply(200, {**chat(), "error": None}), "Fine."),
    "a status of 201": (Reply(201, chat()), "Fine."),
    "an unknown finish reason": (Reply(200, chat(finish_reason="eos")), "Fine."),
    "nothing to say": (Reply(200, chat("")), ""),
    "content that is null": (Reply(200, chat(None)), ""),
    "a message that is null": (Reply(200, {"choices": [{"message": None}]}), ""),
}

# Reply: what is raised, a part of the message, the number of calls.
RAISED = {
    "no choices": (
        Reply(200, {"choices": [], "usage": USAGE}),
        Unavailable,
        "no choices",
        ATTEMPTS,
    ),
    "choices that are null": (Reply(200, {"choices": None}), Unavailable, "no choices", ATTEMPTS),
    "an empty object": (Reply(200, {}), Unavailable, "no choices", ATTEMPTS),
    "nothing at all": (raw(""), Unavailable, "200 application/json: no content", ATTEMPTS),
    "an error in a choice": (
        Reply(
            200, chat("", finish_reason="error", error={"code": 502, "message": "upstream died"})
        ),
        Unavailable,
        "upstream died",
        ATTEMPTS,
    ),
    "an error in a message": (
        Reply(200, {"choices": [{"message": {"error": {"message": "upstream died"}}}]}),
        Unavailable,
        "upstream died",
        ATTEMPTS,
    ),
    "a finish reason of an error": (
        Reply(200, chat("Fi", finish_reason="error")),
        Unavailable,
        "error",
        ATTEMPTS,
    ),
    "a limit that is called 200": (
        told("slow down", 200, code=429),
        RateLimited,
        "slow down",
        ATTEMPTS,
    ),
    "one in words": (told("slow down", 200, code="429"), RateLimited, "slow down", ATTEMPTS),
    "an error without a code": (told("it broke", 200), Unavailable, "it broke", ATTEMPTS),
    "an error in one word": (Reply(200, {"error": "it broke"}), Unavailable, "it broke", ATTEMPTS),
    "an object that is an error": (
        Reply(200, {"object": "error", "message": "too busy", "code": 503}),
        Unavailable,
        "too busy",
        ATTEMPTS,
    ),
    "a wrong request that is called 200": (
        told("unknown field", 200, code=400),
        Rejected,
        "unknown field",
        1,
    ),
    "a web page": (
        raw("<!DOCTYPE html><title>Log in</title>", "text/html"),
        NotServed,
        "200 text/html",
        1,
    ),
    "a web page that is called JSON": (raw("<html>Hello"), NotServed, "<html>Hello", 1),
    "a text": (raw("pong", "text/plain"), Rejected, "200 text/plain: pong", 1),
    "a list": (raw("[1, 2]"), Rejected, "[1, 2]", 1),
    "a number": (raw("17"), Rejected, "17", 1),
    "JSON that is cut off": (raw('{"choices": [{"mess'), Rejected, '{"choices": [{"mess', 1),
    "bytes": (raw(b"\x00\x01\xff\xfe"), Rejected, "200 application/json", 1),
    "deep JSON": (raw('{"a":' * 20_000), Rejected, "200 application/json", 1),
    "a gateway's page": (
        raw("<html>502 Bad Gateway", "text/html", 502),
        Unavailable,
        "(502)",
        ATTEMPTS,
    ),
    "a timeout's page": (raw("<html>504", "text/html", 504), Unavailable, "(504)", ATTEMPTS),
    "too early": (told("too early", 425), Unavailable, "too early", ATTEMPTS),
    "a conflict": (told("conflict", 409), Unavailable, "conflict", ATTEMPTS),
    "a timeout": (told("timeout", 408), Unavailable, "no reply within", ATTEMPTS),
    "an overload": (told("overloaded", 529), Unavailable, "overloaded", ATTEMPTS),
    "a limit": (told("slow down", 429), RateLimited, "slow down", ATTEMPTS),
    "no quota": (told("x", 429, code="insufficient_quota"), Denied, "quota", 1),
    "a redirect": (Reply(302, b"", {"location": "http://127.0.0.1:9/"}), NotServed, "(302)", 1),
    "a lasting redirect": (
        Reply(308, b"", {"location": "https://127.0.0.1:9/"}),
        NotServed,
        "(308)",
        1,
    ),
    "no such page": (Reply(404, {"detail": "Not Found"}), NotServed, "Not Found", 1),
    "no such model": (
        told("The model `m` does not exist", 404, code="model_not_found"),
        NotServed,
        "exist",
        1,
    ),
    "a model that the key may not use": (
        told("Project has no access to model m", 403),
        NotServed,
        "access",
        1,
    ),
    "a country": (
        told("Country, region, or territory not supported", 403),
        NotServed,
        "Country",
        1,
    ),
    "a moderator": (told("Input flagged by moderation", 403), PromptRejected, "moderation", 1),
    "a firewall": (
        raw("<html><h1>Blocked</h1> access denied", "text/html", 403),
        Rejected,
        "(403)",
        1,
    ),
    "a refusal without a reason": (told("no", 403), Rejected, "no (403)", 1),
    "a wrong key": (told("Incorrect API key provided", 401), Denied, "does not accept the key", 1),
    "a policy": (error(400, "flagged", "content_policy_violation"), PromptRejected, "flagged", 1),
    "a prompt that is too long": (
        told(
            "This model's maximum context length is 4096 tokens. However, your "
            "messages resulted in 5000 tokens."
        ),
        PromptRejected,
        "5000",
        1,
    ),
    "a prompt and its answer that are too long": (
        told(
            "maximum context length is 4096 tokens. However, you requested 5000 "
            "tokens (4000 in the messages, "
            "1000 in the completion)"
        ),
        PromptRejected,
        "5000",
        1,
    ),
    "an answer that is longer than the context": (
        told(
            "maximum context length is 4096 tokens. However, you requested 5097 "
            "tokens (97 in the messages, "
            "5000 in the completion). Please reduce the length"
        ),
        Denied,
        "5097",
        1,
    ),
    "max_tokens above the context": (
        told(
            "max_tokens=8192 is too large: maximum context length is 4096 tokens, "
            "this request has 25"
        ),
        Denied,
        "8192",
        1,
    ),
    "max_tokens of vLLM": (
        told(
            "'max_tokens' or 'max_completion_tokens' is too large: 8192. This "
            "model's maximum context length "
            "is 4096 tokens and your request has 25 input tokens (8192 > 4096 - 25)."
        ),
        Denied,
        "8192",
        1,
    ),
    "a long prompt, and max_tokens of vLLM": (
        told(
            "'max_tokens' or 'max_completion_tokens' is too large: 512. This "
            "model's maximum context length "
            "is 4096 tokens and your request has 4000 input tokens (512 > 4096 - 4000)."
        ),
        PromptRejected,
        "4000",
        1,
    ),
    "max_tokens of OpenAI": (
        told(
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens"
        ),
        Denied,
        "16384",
        1,
    ),
    "max_tokens of Anthropic": (
        told("max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for m"),
        Denied,
        "8192 > 4096",
        1,
    ),
    "an unknown parameter": (told("Unknown parameter: 'foo'"), Rejected, "foo", 1),
    "a wrong schema": (told("Invalid schema for response_format", 422), Rejected, "schema", 1),
    "a body that is too large": (told("Request Entity Too Large", 413), PromptRejected, "Large", 1),
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    defaults = RetryGateway.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "first_delay", 0.0)
    monkeypatch.setitem(defaults, "longest_delay", 0.0)


def settings(server):
    place = Place(".loom/config.yaml")
    return ModelSettings(
        base_url=Secret(server.url, place), api_key=Secret("some-key-123", place),
        input_price=1.0, output_price=1.0,
    )  # fmt: skip


def ask(server, *requests):
    async def run():
        lanes = Lanes({"m": settings(server)}, lambda secret: secret.template, {})
        gateway = build(lanes)
        try:
            return await asyncio.gather(
                *(gateway.complete(request) for request in requests), return_exceptions=True
            )
        finally:
            await gateway.close()

    return asyncio.run(run())


def test_the_table_is_large():
    assert len(READ) + len(RAISED) >= 60


@pytest.mark.parametrize(("reply", "text"), READ.values(), ids=READ)
def test_a_paid_reply_is_read_if_its_text_can_be_found(server, reply, text):
    server.respond = lambda _: reply
    (done,) = ask(server, ASK)
    assert not isinstance(done, BaseException), done
    assert done.text == text
    assert server.calls == 1
    assert done.replaced == text.count("\ufffd")


@pytest.mark.parametrize(("reply", "kind", "message", "calls"), RAISED.values(), ids=RAISED)
def test_who_is_blamed_after_how_many_calls(server, reply, kind, message, calls):
    server.respond = lambda _: reply
    (failure,) = ask(server, ASK)
    assert type(failure) is kind, failure
    assert message in failure.message
    assert "\n" not in failure.message
    assert len(failure.message) < 400
    assert server.calls == calls


COUNTS = {
    "below zero": {"prompt_tokens": -1, "completion_tokens": -1},
    "one below zero": {"prompt_tokens": -5, "completion_tokens": 5},
    "null": {"prompt_tokens": None, "completion_tokens": None},
    "texts": {"prompt_tokens": "10", "completion_tokens": "5"},
    "truths": {"prompt_tokens": True, "completion_tokens": True},
    "a list": [10, 5],
    "not a number": {"prompt_tokens": float("nan"), "completion_tokens": 5.5},
    "cached below zero": {**USAGE, "prompt_tokens_details": {"cached_tokens": -3}},
}


@pytest.mark.parametrize("usage", COUNTS.values(), ids=COUNTS)
def test_tokens_that_were_not_counted_are_unknown_and_never_negative(server, usage):
    server.respond = lambda _: raw(json.dumps({**chat(), "usage": usage}))
    (done,) = ask(server, ASK)
    assert done.cost is None
    assert done.usage.total == 0


def test_counts_with_a_point_are_counts(server):
    server.respond = lambda _: Reply(
        200, {**chat(), "usage": {"prompt_tokens": 10.0, "completion_tokens": 5.0}}
    )
    (done,) = ask(server, ASK)
    assert (done.usage.input, done.usage.output) == (10, 5)


# -- one request, or the model


def requests(*texts):
    return [Request("m", (Message("user", text),)) for text in texts]


def flag(reply, word="bad"):
    def respond(request):
        return reply if word in request["messages"][-1]["content"] else "Fine."

    return respond


@pytest.mark.parametrize(
    "reply", [told("The model `x` does not exist", 404), told("no access to this model", 403)]
)
def test_a_model_that_answers_others_is_served(server, reply):
    """The refused request is the first one, and the others are in flight."""
    server.respond = flag(reply)
    refused, *done = ask(server, *requests("bad", "one", "two"))
    assert type(refused) is Rejected
    assert [completion.text for completion in done] == ["Fine.", "Fine."]


def test_a_model_that_answers_nobody_is_not_served(server):
    server.respond = flag(told("The model `x` does not exist", 404), "")
    failures = ask(server, *requests("one", "two", "three"))
    assert [type(failure) for failure in failures] == [NotServed] * 3
    assert server.calls == 3


def test_a_redirect_takes_no_key_along(server):
    from tests.servers.openai_server import OpenAiServer

    with OpenAiServer() as thief:
        location = {"location": f"{thief.url}/chat/completions"}
        for status in (301, 302, 303, 307, 308):
            server.respond = lambda _, status=status: Reply(status, b"", location)
            ask(server, ASK)
        assert thief.calls == 0
