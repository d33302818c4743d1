import asyncio
import json
import subprocess
import sys
import textwrap
import time

import pytest
from aiohttp import web
from msgspec.structs import replace

from loomgit.domain.models import Message, Request
from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import Denied, RateLimited, Rejected, Unavailable, UserError
from loomgit.gateway.endpoints import resolve
from loomgit.gateway.litellm_lane import LiteLlmGateway
from loomgit.gateway.openai_http import OpenAiHttpGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.provider_errors import CallTarget, Refusal, explain
from tests.servers.openai_server import Reply, error, scripted, stop_server

ASK = Request("gpt-4o-mini", (Message("user", "x"),))
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def secret(text):
    return Secret(text, Place(".loom/config.yaml", 3, 15))


def settings(server, **more):
    return ModelSettings(base_url=secret(server.url), **more)


def ask(models, *requests, environment=None, make=OpenAiHttpGateway):
    async def run():
        lane = make(models, Prices(models), reveal=str, environment=environment or {})
        try:
            return [await lane.complete(request) for request in requests]
        finally:
            await lane.close()

    return asyncio.run(run())


def find(model, said=None, **environment):
    return resolve(model, said, reveal=str, environment=environment)


ASKED = {
    "plain": ASK,
    "everything": replace(
        ASK,
        messages=(Message("system", "s"), Message("user", "ü"), Message("assistant", "a")),
        temperature=0.5,
        seed=3,
        max_tokens=9,
        params={"top_p": 0.5, "user": "me"},
    ),
    "schema": replace(ASK, schema=SCHEMA),
    "schema by instruction": replace(ASK, model="mine", schema=SCHEMA),
    "prefix": replace(ASK, model="openai/gpt-4o-mini"),
    "thinking": replace(ASK, model="o3", max_tokens=100),
    "thinking judge": replace(ASK, model="gpt-5", temperature=0.0, purpose="evaluate"),
    "need not think": replace(ASK, model="gpt-5.1", temperature=0.2, max_tokens=5),
}


@pytest.mark.usefixtures("litellm")
@pytest.mark.parametrize("kind", ASKED)
def test_both_lanes_send_the_same_body_and_give_the_same_completion(server, kind):
    request = ASKED[kind]
    models = {request.model: settings(server, api_key=secret("sk-some-key"))}
    server.cached_share = 0.25
    done = [ask(models, request, make=make)[0] for make in (OpenAiHttpGateway, LiteLlmGateway)]
    direct, litellm = server.requests
    assert direct == litellm
    assert replace(done[0], latency=None) == replace(done[1], latency=None)
    assert server.headers[0]["authorization"] == server.headers[1]["authorization"]


def test_connections_are_kept(server):
    peers = set()
    original = server._take

    async def take(http):
        peers.add(http.transport.get_extra_info("peername"))
        return await original(http)

    server._take = take
    ask({ASK.model: settings(server)}, *[ASK] * 10)
    assert len(peers) == 1


def test_no_model_library_is_loaded(server):
    program = f"""
        import asyncio, sys
        from loomgit.domain.models import Message, Request
        from loomgit.domain.place import Place
        from loomgit.domain.settings import ModelSettings, Secret
        from loomgit.gateway.openai_http import OpenAiHttpGateway
        from loomgit.gateway.prices import Prices
        assert "aiohttp" not in sys.modules
        models = {{"gpt-4o-mini": ModelSettings(base_url=Secret({server.url!r}, Place("x")))}}
        async def run():
            lane = OpenAiHttpGateway(models, Prices(models), reveal=str, environment={{}})
            done = await lane.complete(Request("gpt-4o-mini", (Message("user", "x"),)))
            await lane.close()
            return done.text
        print(asyncio.run(run()), {{"litellm", "httpx", "openai"}} & sys.modules.keys())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "This is an answer. set()\n", done.stderr


def test_a_key_that_is_missing_is_found_without_a_call():
    for model, variable in (
        ("gpt-4o-mini", "OPENAI_API_KEY"),
        ("groq/llama-3.3-70b-versatile", "GROQ_API_KEY"),
        ("together_ai/x/y", "TOGETHERAI_API_KEY"),
    ):
        with pytest.raises(Denied, match=f"no key: {variable} is not set"):
            find(model)
        found = find(model, **{variable: "sk-1234567890"})
        assert found.headers["Authorization"] == "Bearer sk-1234567890"


@pytest.mark.parametrize(
    ("model", "url", "name"),
    [
        ("gpt-4o", "https://api.openai.com/v1/chat/completions", "gpt-4o"),
        ("groq/llama3", "https://api.groq.com/openai/v1/chat/completions", "llama3"),
        ("openrouter/meta/l", "https://openrouter.ai/api/v1/chat/completions", "meta/l"),
        ("ollama/llama3", "http://127.0.0.1:11434/v1/chat/completions", "llama3"),
    ],
)
def test_known_providers_have_their_address(model, url, name):
    keys = {"OPENAI_API_KEY": "k", "GROQ_API_KEY": "k", "OPENROUTER_API_KEY": "k"}
    found = find(model, **keys)
    assert (found.url, found.name) == (url, name)


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_the_usual_variables_for_an_address_are_read(server, variable):
    (done,) = ask({}, ASK, environment={variable: server.url})
    assert done.text == "This is an answer."
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize("said", ["http://h/v1", "http://h/v1/", "http://h/v1/chat/completions"])
def test_an_address_is_taken_in_each_of_its_forms(said):
    assert find("m", ModelSettings(base_url=secret(said))).url == "http://h/v1/chat/completions"


@pytest.mark.parametrize("said", ["localhost:8000/v1", "ftp://h/v1", "http://"])
def test_what_is_no_address_is_a_fault_with_its_place(said):
    with pytest.raises(UserError, match=r"config.yaml:3:15: base_url of m: not the address"):
        find("m", ModelSettings(base_url=secret(said)))


def test_a_provider_whose_address_nobody_knows_has_to_be_told_it():
    with pytest.raises(UserError, match="the address of its server is unknown") as caught:
        find("anthropic/claude-sonnet-4-5", ModelSettings(lane="direct"))
    assert "base_url" in caught.value.hint


def test_the_accounts_parts_go_to_openai_alone():
    account = {"OPENAI_ORGANIZATION": "org-1", "OPENAI_PROJECT": "proj-1", "OPENAI_API_KEY": "k"}
    assert find("gpt-4o", **account).headers["OpenAI-Organization"] == "org-1"
    assert find("gpt-4o", **account).headers["OpenAI-Project"] == "proj-1"
    own = find("gpt-4o", ModelSettings(base_url=secret("http://h/v1")), **account)
    assert "OpenAI-Organization" not in own.headers


def test_a_model_that_thinks_takes_no_temperature(server):
    models = {"o3": settings(server)}
    with pytest.raises(Rejected, match="accepts only temperature 1"):
        ask(models, replace(ASK, model="o3", temperature=0.0))
    ask(models, replace(ASK, model="o3", temperature=1.0))
    assert server.requests[0]["temperature"] == 1.0


def test_a_server_of_ones_own_may_call_its_model_as_it_likes(server):
    ask({"o3-mine": settings(server)}, replace(ASK, model="o3-mine", temperature=0.0, max_tokens=5))
    assert (server.requests[0]["temperature"], server.requests[0]["max_tokens"]) == (0.0, 5)


def body(**message):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    return {"choices": [choice], "model": "m"}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "plain"}, "plain"),
        ({"content": None}, ""),
        ({"content": [{"type": "thinking"}, {"type": "text", "text": "parts"}]}, "parts"),
        ({"content": None, "tool_calls": [{"function": {"arguments": "{}"}}]}, "{}"),
    ],
)
def test_a_text_is_found_wherever_it_stands(server, message, text):
    server.respond = scripted(Reply(200, body(**message)))
    assert ask({ASK.model: settings(server)}, ASK)[0].text == text


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(200, {"choices": []}), Unavailable, "no choices"),
        (Reply(200, {"error": {"message": "slow down", "code": 429}}), RateLimited, "slow down"),
        (Reply(200, {"error": {"message": "what"}}), Unavailable, "what"),
        (Reply(302, {}, {"location": "/elsewhere"}), Denied, "302"),
    ],
)
def test_replies_that_are_none_are_errors(server, reply, kind, words):
    server.respond = scripted(reply)
    with pytest.raises(kind, match=words):
        ask({ASK.model: settings(server)}, ASK)


def test_what_is_too_much_for_a_minute_is_not_too_long():
    asked = CallTarget(ASK.model, "KEY", None, 60.0)
    said = "Request too large on tokens per minute (TPM): Limit 6000"
    assert type(explain(Refusal(413, said), asked)) is Rejected


def test_an_overloaded_server_is_told_from_a_broken_one(server):
    for status, overloaded in ((503, True), (529, True), (500, False)):
        server.respond = scripted(error(status, "no"))
        with pytest.raises(Unavailable) as caught:
            ask({ASK.model: settings(server)}, ASK)
        assert caught.value.overloaded is overloaded


@pytest.fixture
def odd():
    """Serve one handler; gives the settings to reach it."""

    async def run(handler):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        models = {ASK.model: ModelSettings(base_url=secret(url), timeout=0.3)}
        lane = OpenAiHttpGateway(models, Prices(models), reveal=str, environment={})
        try:
            return await lane.complete(ASK)
        finally:
            await lane.close()
            await stop_server(runner)

    return lambda handler: asyncio.run(run(handler))


def test_a_web_page_is_no_outage(odd):
    async def html(_):
        return web.Response(text="<html>a proxy is sorry</html>")

    with pytest.raises(Denied, match="a proxy is sorry"):
        odd(html)


def test_a_connection_that_breaks_in_the_middle_is_an_outage(odd):
    async def half(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices"')
        request.transport.abort()
        return response

    with pytest.raises(Unavailable, match="gpt-4o-mini: unavailable"):
        odd(half)


def test_a_reply_that_stops_coming_ends_with_the_timeout(odd):
    async def stuck(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(10)
        return response

    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"no reply within 0.3 s"):
        odd(stuck)
    assert time.monotonic() - started < 8


def test_a_reply_that_comes_in_pieces_may_take_longer_than_the_timeout(odd):
    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in json.dumps(body(content="slow")).encode().split(b",", 3):
            await response.write(piece + (b"" if piece.endswith(b"}") else b","))
            await asyncio.sleep(0.15)
        return response

    assert odd(slow).text == "slow"
