"""A server on loopback that speaks OpenAI's chat API, and as much of Anthropic's as is needed.

It answers what it is told to, slowly and wrongly where it is told to, and remembers who asked what:
tests run it in a thread (`with OpenAiServer() as server:`), benchmarks as a program of its own
(`python tests/servers/openai_server.py --port 0 --latency 0.05 --fail 12:429:0.5`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE = 0.05  # seconds: what was already on its way when a refusal left breaks no Retry-After


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer, for what is not a plain completion."""

    status: int
    body: dict[str, Any] | bytes = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """No answer at all: the connection stays open until the client or the server goes away."""


@dataclass(frozen=True)
class Fault:
    """Every n-th call gets `status` (0: no answer at all), with `Retry-After` in seconds."""

    every: int
    status: int
    retry_after: float | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """`12:429:0.5`, `50:500` or `100:hang`."""
        every, status, *rest = text.split(":")
        return cls(
            int(every), 0 if status == "hang" else int(status), float(rest[0]) if rest else None
        )


@dataclass(frozen=True)
class Charged:
    """A reply that is charged for, and does not arrive whole: `then` it hangs, its connection is
    closed, it is sent without a choice (with its usage), or it is cut off (`length`)."""

    text: str
    then: Literal["hang", "close", "no choices", "length"]


Answer = str | Reply | Hang | Charged
Responder = Callable[[dict[str, Any]], Answer]


def error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """A refusal in OpenAI's words; `retry_after="1"` becomes the header `retry-after`."""
    kind = {400: "invalid_request_error", 401: "invalid_request_error", 429: "requests"}
    body = {"error": {"message": message, "type": kind.get(status, "server_error"), "code": code}}
    return Reply(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


def answer(request: dict[str, Any]) -> str:
    """The default answer: JSON that fits the schema that was asked for, else one sentence."""
    schema = find_schema(request)
    if schema is None:
        return "This is an answer."
    return json.dumps(instance(schema, schema))


def find_schema(request: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON Schema of a request: its response format, its first tool, or its system text."""
    shape = request.get("response_format") or request.get("output_format") or {}
    shape = shape.get("json_schema", shape)
    if "schema" in shape:
        found: dict[str, Any] = shape["schema"]
        return found
    for tool in request.get("tools") or []:
        parameters: dict[str, Any] = (
            tool.get("function", tool).get("parameters") or tool["input_schema"]
        )
        return parameters
    for message in request.get("messages", []):
        text = message["content"]
        if message["role"] == "system" and isinstance(text, str) and '"properties"' in text:
            start = text.index("{")
            return json.JSONDecoder().raw_decode(text[start:])[0]
    return None


def instance(schema: dict[str, Any], root: dict[str, Any], name: str = "value") -> Any:
    """A value that fits `schema`, the same each time; a judge's score comes out as 0.9."""
    if "$ref" in schema:
        return instance(root["$defs"][schema["$ref"].rpartition("/")[2]], root, name)
    for key in ("const", "default"):
        if key in schema and schema[key] not in ([], {}):
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return instance(schema[key][0], root, name)
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        fields = schema.get("properties", {})
        return {field: instance(part, root, field) for field, part in fields.items()}
    if kind == "array":
        return [instance(schema.get("items", {}), root, name)]
    if kind in ("number", "integer"):
        low, high = schema.get("minimum", 0), schema.get("maximum", 1)
        return 0.9 * (high - low) + low if kind == "number" else low
    return {"boolean": True, "null": None}.get(
        kind, f"an {name}" if name[0] in "aeiou" else f"a {name}"
    )


def tokens(text: str) -> int:
    """About as many tokens as a tokenizer would find."""
    return (len(text) + 3) // 4


async def stop_server(runner: web.AppRunner) -> None:
    """Stop a server and close each connection, also of a client that does not read its reply.

    aiohttp waits until a reply is sent before it closes a connection. The event loop would end
    first, and a later test would fail with the warning about an unclosed transport.
    """
    server = runner.server
    transports = [connection.transport for connection in server.connections] if server else []
    await runner.cleanup()
    for transport in transports:
        if transport is not None:
            transport.abort()
    await asyncio.sleep(0)  # the loop closes aborted transports in its next iteration


class OpenAiServer:
    """The server; every attribute may be changed while it runs.

    `respond` decides the answers, `served` the model's name in them, `cached_share` which part of
    the input tokens is said to come from the provider's cache, `api_key` the only key accepted.
    `charged` counts the tokens of each model (input, output) that a provider would charge for,
    `lost` lists those of replies that did not arrive; a token has `token_bytes` characters.
    `requests` holds the bodies in order of arrival, `headers` what came with them; `arrived` is set
    by a call, `left` by a client that gave up waiting.
    """

    def __init__(
        self,
        respond: Responder = answer,
        *,
        latency: float = 0.0,
        faults: tuple[Fault, ...] = (),
        served: Callable[[str], str] = str,
        cached_share: float = 0.0,
        api_key: str | None = None,
        keep: bool = True,
        port: int = 0,
    ) -> None:
        self.respond = respond
        self.latency = latency
        self.faults = faults
        self.served = served
        self.cached_share = cached_share
        self.api_key = api_key
        self.keep = keep
        self.port = port
        self.token_bytes = 4
        self._ready = threading.Event()
        self.arrived = threading.Event()
        self.left = threading.Event()
        self.clear()

    def clear(self) -> None:
        """Forget the past."""
        self.arrived.clear()
        self.left.clear()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.calls = 0
        self.running = 0
        self.highest = 0
        self.charged: dict[str, tuple[int, int]] = {}
        self.lost: list[tuple[str, int, int]] = []
        self.abandoned = 0
        self.violations = 0
        self.statuses: Counter[int] = Counter()
        self.arrivals: list[float] = []
        self._refused: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    # Running

    @property
    def url(self) -> str:
        """What a client takes as its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def root(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> OpenAiServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def serve(self, announce: Callable[[str], object] = str) -> None:
        """Answer until stopped; `announce` gets the URL once connections are accepted."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        # A client that gives up cancels its call, so that a hanging one ends.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=4096)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        announce(self.url)
        try:
            await self._stop.wait()
        finally:
            await stop_server(runner)

    # Answering

    async def _chat(self, http: web.Request) -> web.Response:
        request, reply = await self._take(http)
        if isinstance(reply, Reply):
            return _send(reply.status, reply.body, reply.headers)
        ending = "stop"
        if isinstance(reply, Charged):
            ending = reply.then
            reply = reply.text
        most = request.get("max_tokens") or request.get("max_completion_tokens")
        if most is not None and self._tokens(reply) > most:
            reply = reply[: self.token_bytes * most]
            ending = "length" if ending == "stop" else ending
        message: dict[str, Any] = {"role": "assistant", "content": reply}
        asked = sum(self._tokens(_text(turn)) for turn in request["messages"]) + 3
        replied = self._tokens(reply)
        self._charge(request["model"], asked, replied)
        if ending in ("close", "hang"):
            self.lost.append((request["model"], asked, replied))
        if ending == "close":
            assert http.transport is not None
            http.transport.abort()
        if ending == "hang":
            await self._stop.wait()
        body = {
            "id": f"chatcmpl-{self.calls}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.served(request["model"]),
            "choices": [
                {"index": 0, "message": message, "finish_reason": ending, "logprobs": None}
            ],
            "usage": {
                "prompt_tokens": asked,
                "completion_tokens": replied,
                "total_tokens": asked + replied,
                "prompt_tokens_details": {"cached_tokens": int(asked * self.cached_share)},
            },
        }
        if ending == "no choices":
            body["choices"] = []
        elif request.get("tools"):
            call = {"name": request["tools"][0]["function"]["name"], "arguments": reply}
            message["content"] = None
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
            body["choices"][0]["finish_reason"] = "tool_calls"
        return _send(200, body)

    def _tokens(self, text: str) -> int:
        return (len(text) + self.token_bytes - 1) // self.token_bytes

    def _charge(self, model: str, asked: int, replied: int) -> None:
        before = self.charged.get(model, (0, 0))
        self.charged[model] = before[0] + asked, before[1] + replied

    async def _messages(self, http: web.Request) -> web.Response:
        request, reply = await self._take(http)
        if isinstance(reply, Reply):
            return _send(reply.status, reply.body, reply.headers)
        assert isinstance(reply, str)
        content: dict[str, Any] = {"type": "text", "text": reply}
        if request.get("tools"):
            name = request["tools"][0]["name"]
            content = {"type": "tool_use", "id": "tool_1", "name": name, "input": json.loads(reply)}
        asked = sum(tokens(_text(turn)) for turn in request["messages"]) + 3
        cached = int(asked * self.cached_share)
        body = {
            "id": f"msg_{self.calls}",
            "type": "message",
            "role": "assistant",
            "model": self.served(request["model"]),
            "content": [content],
            "stop_reason": "tool_use" if request.get("tools") else "end_turn",
            "usage": {
                "input_tokens": asked - cached,
                "cache_read_input_tokens": cached,
                "cache_creation_input_tokens": 0,
                "output_tokens": tokens(reply),
            },
        }
        return _send(200, body)

    async def _take(self, http: web.Request) -> tuple[dict[str, Any], str | Reply | Charged]:
        arrived = time.monotonic()
        request = orjson.loads(await http.read())
        self.calls += 1
        self.arrived.set()
        if self.keep:
            self.requests.append(request)
            self.headers.append({name.lower(): text for name, text in http.headers.items()})
            self.arrivals.append(arrived)
        model = request.get("model", "")
        since, until = self._refused[model]
        self.violations += since + GRACE < arrived < until
        self.running += 1
        self.highest = max(self.highest, self.running)
        try:
            reply = await self._decide(http, request)
        except asyncio.CancelledError:
            self.abandoned += 1
            self.left.set()
            raise
        finally:
            self.running -= 1
        self.statuses[reply.status if isinstance(reply, Reply) else 200] += 1
        if isinstance(reply, Reply):
            self._remember_refusal(model, reply.headers)
        return request, reply

    async def _decide(self, http: web.Request, request: dict[str, Any]) -> str | Reply | Charged:
        number = self.calls
        if self.latency:
            await asyncio.sleep(self.latency)
        sent = http.headers.get("authorization", "").removeprefix("Bearer ") or http.headers.get(
            "x-api-key"
        )
        if self.api_key is not None and sent != self.api_key:
            return error(401, f"Incorrect API key provided: {sent}.", "invalid_api_key")
        for fault in self.faults:
            if number % fault.every == 0:
                return await self._fail(fault)
        chosen = self.respond(request)
        return await self._fail(Fault(1, 0)) if isinstance(chosen, Hang) else chosen

    async def _fail(self, fault: Fault) -> Reply:
        if fault.status == 0:
            await self._stop.wait()
            return error(503, "the server is going away")
        wait = {} if fault.retry_after is None else {"retry_after": f"{fault.retry_after:g}"}
        code = "rate_limit_exceeded" if fault.status == 429 else None
        return error(fault.status, "this call was made to fail", code, **wait)

    def _remember_refusal(self, model: str, headers: dict[str, str]) -> None:
        now = time.monotonic()
        seconds = float(headers.get("retry-after-ms", 0)) / 1000
        wait = headers.get("retry-after", "")
        seconds = seconds or (float(wait) if wait.replace(".", "", 1).isdigit() else 0.0)
        since, until = self._refused[model]
        if seconds:
            self._refused[model] = (since if now < until else now, max(until, now + seconds))

    async def _models(self, _: web.Request) -> web.Response:
        return _send(200, {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]})

    async def _stats(self, _: web.Request) -> web.Response:
        return _send(200, self.stats())

    def stats(self) -> dict[str, Any]:
        """What happened so far, as `GET /stats` tells it."""
        return {
            "calls": self.calls,
            "running": self.running,
            "highest_concurrency": self.highest,
            "abandoned": self.abandoned,
            "violations": self.violations,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
        }


def _send(
    status: int, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None
) -> web.Response:
    """An object as JSON, bytes as they are."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"content-type": "application/json", **(headers or {})}
    return web.Response(status=status, body=content, headers=headers)


def _text(turn: dict[str, Any]) -> str:
    content = turn["content"]
    return (
        content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    )


def scripted(*replies: Answer, then: Responder = answer) -> Responder:
    """Give `replies` one after the other, afterwards what `then` says."""
    waiting: Iterator[Answer] = iter(replies)

    def respond(request: dict[str, Any]) -> Answer:
        for reply in waiting:
            return reply
        return then(request)

    return respond


def main() -> None:
    """Run as a program: the first line printed is the base URL."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument(
        "--fail", type=Fault.parse, action="append", default=[], metavar="N:STATUS[:SECONDS]"
    )
    parser.add_argument("--keep", action="store_true", help="keep the requests in memory")
    options = parser.parse_args()
    server = OpenAiServer(
        latency=options.latency, faults=tuple(options.fail), keep=options.keep, port=options.port
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(lambda url: print(url, flush=True)))


if __name__ == "__main__":
    main()
