"""Servers on loopback that speak what OpenAI, Anthropic, Google, Mistral and Ollama speak, each in
its own words, and refuse what the real ones refuse."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable  # noqa: TC003 - dataclasses read it
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Body = dict[str, Any]
INPUT, OUTPUT = 100, 10  # tokens that every call is said to have


@dataclass(frozen=True)
class Asked:
    """A call as it came: header names in lower case."""

    path: str
    headers: dict[str, str]
    body: Body


class Refused(Exception):
    """The server does not take this call."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Format:
    """A provider's language. `base` is what stands behind the host in its address; `read` gives
    model and prompt of a call that is right, and raises Refused for one that is not."""

    base: str
    read: Callable[[Asked, str], tuple[str, str]]
    reply: Callable[[str, str], Body]
    fault: Callable[[int, str], Body]
    wrong_key: tuple[int, str]
    busy: tuple[int, str]
    headers: dict[str, str] = field(default_factory=dict)


def expect(what: object, wanted: object, message: str, status: int = 400) -> None:
    if what != wanted:
        raise Refused(status, f"{message}: {what!r}")


def only(body: Body, *names: str) -> None:
    unknown = body.keys() - set(names)
    if unknown:
        raise Refused(422, f"Extra inputs are not permitted: {sorted(unknown)}")


def bearer(asked: Asked, key: str, wrong: tuple[int, str]) -> None:
    if asked.headers.get("authorization") != f"Bearer {key}":
        raise Refused(*wrong)


def chat_prompt(body: Body) -> str:
    texts = [turn["content"] for turn in body["messages"] if turn["role"] == "user"]
    return "".join(t if isinstance(t, str) else "".join(p["text"] for p in t) for t in texts)


# -- OpenAI

OPENAI_KEY = (401, "Incorrect API key provided: sk-***.")


def read_openai(asked: Asked, key: str) -> tuple[str, str]:
    expect(asked.path, "/v1/chat/completions", "unknown path", 404)
    bearer(asked, key, OPENAI_KEY)
    body = asked.body
    only(
        body, "model", "messages", "temperature", "max_tokens", "response_format", "stream", "seed"
    )
    expect(body["response_format"]["type"], "json_schema", "response_format")
    return body["model"], chat_prompt(body)


def chat_reply(model: str, text: str) -> Body:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": INPUT,
            "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT,
        },
    }


def openai_fault(status: int, message: str) -> Body:
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    return {"error": {"message": message, "type": "requests", "param": None, "code": code}}


# -- Anthropic

ANTHROPIC_KEY = (401, "invalid x-api-key")


def read_anthropic(asked: Asked, key: str) -> tuple[str, str]:
    expect(asked.path, "/v1/messages", "unknown path", 404)
    if asked.headers.get("x-api-key") != key:
        raise Refused(*ANTHROPIC_KEY)
    expect(asked.headers.get("anthropic-version"), "2023-06-01", "anthropic-version")
    body = asked.body
    if not isinstance(body.get("max_tokens"), int):
        raise Refused(400, "max_tokens: Field required")
    if any(turn["role"] == "system" for turn in body["messages"]):
        raise Refused(400, "messages: Unexpected role 'system'")
    form = body.get("output_format") or body["output_config"]["format"]
    expect(form["type"], "json_schema", "output_format")
    return body["model"], chat_prompt(body)


def anthropic_reply(model: str, text: str) -> Body:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": INPUT,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": OUTPUT,
        },
    }


def anthropic_fault(status: int, message: str) -> Body:
    kinds = {401: "authentication_error", 429: "rate_limit_error", 404: "not_found_error"}
    kind = kinds.get(status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


# -- Google

GEMINI_KEY = (400, "API key not valid. Please pass a valid API key.")


def read_gemini(asked: Asked, key: str) -> tuple[str, str]:
    start, end = "/v1beta/models/", ":generateContent"
    if not asked.path.startswith(start) or not asked.path.endswith(end):
        raise Refused(404, f"unknown path {asked.path}")
    if asked.headers.get("x-goog-api-key") != key:
        raise Refused(*GEMINI_KEY)
    body = asked.body
    settings = body["generationConfig"]
    kind = settings.get("responseMimeType", settings.get("response_mime_type"))
    expect(kind, "application/json", "response_mime_type")
    forms = ("response_json_schema", "responseJsonSchema", "responseSchema", "response_schema")
    if not any(name in settings for name in forms):
        raise Refused(400, "no schema")
    texts = [part["text"] for turn in body["contents"] for part in turn["parts"]]
    return asked.path.removeprefix(start).removesuffix(end), "".join(texts)


def gemini_reply(model: str, text: str) -> Body:
    return {
        "candidates": [
            {
                "content": {"parts": [{"text": text}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": INPUT,
            "candidatesTokenCount": OUTPUT,
            "totalTokenCount": INPUT + OUTPUT,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": INPUT}],
        },
        "modelVersion": model,
        "responseId": "r-1",
    }


def gemini_fault(status: int, message: str) -> Body:
    words = {429: "RESOURCE_EXHAUSTED", 404: "NOT_FOUND"}.get(status, "INVALID_ARGUMENT")
    details: list[Body] = []
    if status == 429:  # Google sends no Retry-After, but this
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        details = [{"@type": kind, "retryDelay": "1s"}]
    elif (status, message) == GEMINI_KEY:
        details = [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    return {"error": {"code": status, "message": message, "status": words, "details": details}}


# -- Mistral

MISTRAL_KEY = (401, "Unauthorized")


def read_mistral(asked: Asked, key: str) -> tuple[str, str]:
    expect(asked.path, "/v1/chat/completions", "unknown path", 404)
    bearer(asked, key, MISTRAL_KEY)
    body = asked.body
    names = ("model", "messages", "temperature", "max_tokens", "response_format", "stream")
    only(body, *names, "random_seed", "top_p", "stop", "safe_prompt", "tools", "tool_choice")
    expect(body["response_format"]["type"], "json_schema", "response_format")
    return body["model"], chat_prompt(body)


def mistral_fault(status: int, message: str) -> Body:
    if status == 401:
        return {"message": message, "request_id": "1"}
    return {
        "object": "error",
        "message": message,
        "type": "rate_limited" if status == 429 else "invalid_request_error",
        "param": None,
        "code": "1300",
    }


# -- Ollama

OLLAMA_KEY = (401, "unauthorized")


def read_ollama(asked: Asked, key: str) -> tuple[str, str]:
    expect(asked.path, "/api/chat", "unknown path", 404)
    if "authorization" in asked.headers:  # a server of one's own has none, one behind a proxy may
        bearer(asked, key, OLLAMA_KEY)
    body = asked.body
    only(body, "model", "messages", "options", "stream", "format", "keep_alive", "think", "tools")
    expect(body.get("stream"), False, "stream")
    expect(body["format"]["type"], "object", "format")
    return body["model"], chat_prompt(body)


def ollama_reply(model: str, text: str) -> Body:
    return {
        "model": model,
        "created_at": "2026-11-21T10:00:00.000000Z",
        "message": {"role": "assistant", "content": text},
        "done": True,
        "done_reason": "stop",
        "total_duration": 1,
        "prompt_eval_count": INPUT,
        "eval_count": OUTPUT,
    }


FORMATS = {
    "openai": Format(
        "/v1", read_openai, chat_reply, openai_fault, OPENAI_KEY, (429, "Rate limit reached")
    ),
    "anthropic": Format(
        "",
        read_anthropic,
        anthropic_reply,
        anthropic_fault,
        ANTHROPIC_KEY,
        (429, "This request would exceed your rate limit"),
    ),
    "gemini": Format(
        "/v1beta",
        read_gemini,
        gemini_reply,
        gemini_fault,
        GEMINI_KEY,
        (429, "Resource has been exhausted (e.g. check quota)."),
    ),
    "mistral": Format(
        "/v1",
        read_mistral,
        chat_reply,
        mistral_fault,
        MISTRAL_KEY,
        (429, "Requests rate limit exceeded"),
    ),
    "ollama": Format(
        "",
        read_ollama,
        ollama_reply,
        lambda _, message: {"error": message},
        OLLAMA_KEY,
        (503, "server busy, please try again. maximum pending requests exceeded"),
    ),
}


class ProviderServer:
    """A provider's server: `with ProviderServer("gemini", respond, "key") as server:`.

    `respond` makes the reply of the prompt; `refuse` holds how many calls are refused first as if
    there were too many, `wait` the `Retry-After` of those. `asked` has the calls, `problems` what
    was wrong with them.
    """

    def __init__(self, provider: str, respond: Callable[[str], str], key: str) -> None:
        self.format = FORMATS[provider]
        self.respond = respond
        self.key = key
        self.refuse = 0
        self.wait: str | None = None
        self.asked: deque[Asked] = deque()
        self.models: set[str] = set()
        self.problems: list[str] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What a user writes as `base_url`."""
        return f"http://127.0.0.1:{self._http.server_port}{self.format.base}"

    def __enter__(self) -> ProviderServer:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                headers = {name.lower(): text for name, text in self.headers.items()}
                body = json.loads(self.rfile.read(length) or b"{}")
                status, reply, more = answer(Asked(urlsplit(self.path).path, headers, body))
                content = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                for name, text in more.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    def _answer(self, asked: Asked) -> tuple[int, Body, dict[str, str]]:
        with self._lock:
            self.asked.append(asked)
            refused, self.refuse = self.refuse > 0, max(0, self.refuse - 1)
        if refused:
            status, message = self.format.busy
            headers = {} if self.wait is None else {"retry-after": self.wait}
            return status, self.format.fault(status, message), headers
        try:
            model, prompt = self.format.read(asked, self.key)
        except Refused as error:
            self.problems.append(f"{error.status} {error.message}")
            return error.status, self.format.fault(error.status, error.message), {}
        except (KeyError, TypeError) as error:
            self.problems.append(f"400 {type(error).__name__} {error} in {asked.body}")
            return 400, self.format.fault(400, f"missing: {error}"), {}
        self.models.add(model)
        return 200, self.format.reply(model, self.respond(prompt)), {}
