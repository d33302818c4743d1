"""A request and a reply of OpenAI's chat API, as it goes over the wire."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from loomgit.domain.models import Ending, Usage
from loomgit.domain.values import JsonObject
from loomgit.errors import Rejected
from loomgit.gateway.wire import ENDINGS, HALF, body

if TYPE_CHECKING:
    from loomgit.domain.models import Request
    from loomgit.domain.values import Json
    from loomgit.gateway.endpoints import ChatEndpoint


UNKNOWN_ERROR = 500  # the status of an error that names none


class Payload(Struct, frozen=True):
    """The JSON object of a reply."""

    body: JsonObject


class ChatReply(Struct, frozen=True):
    """What is read of a reply; `model` is the model as served, "" where the server is silent;
    `replaced` counts unpaired surrogates, which U+FFFD replaces."""

    text: str
    model: str
    usage: Usage
    ending: Ending = ""
    replaced: int = 0


def render(request: Request, endpoint: ChatEndpoint) -> bytes:
    """The request's JSON. Raises UserError for `params` that are not theirs to set, Rejected for a
    temperature that the model does not take (a judge's is left out there)."""
    found: dict[str, Any] = body(
        request,
        endpoint.name,
        native_schema=endpoint.native_schema,
        max_tokens=endpoint.max_tokens,
    )
    if endpoint.reasoning and "max_tokens" in found:
        found["max_completion_tokens"] = found.pop("max_tokens")
    if not endpoint.temperature and found.get("temperature", 1) != 1:
        if request.purpose != "evaluate":
            raise Rejected(f"{request.model}: rejected: this model takes no temperature but 1")
        del found["temperature"]
    return orjson.dumps(found)


def read_body(content: bytes) -> Payload | None:
    """The JSON of a body: with a byte order mark, with what JSON does not have (infinities, halves
    of characters), or as an event stream of a server that always streams. None if it is no JSON
    object."""
    content = content.removeprefix(codecs.BOM_UTF8).strip()
    try:
        found: Json = orjson.loads(content)
    except orjson.JSONDecodeError:
        text = content.decode("utf-8", "surrogatepass" if b"\xed" in content else "replace")
        if text.startswith(("data:", "event:", "id:", ":", "retry:")):
            return _join_events(text)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return Payload(found) if isinstance(found, dict) else None


def parse(payload: Payload) -> ChatReply | None:
    """The reply in a body; None where it has no choice."""
    choices = payload.body.get("choices")
    if not isinstance(choices, list) or not choices:
        return None
    choice = _object(choices[0])
    text, ending = _text(choice)
    whole = HALF.sub("\N{REPLACEMENT CHARACTER}", text)
    served = payload.body.get("model")
    return ChatReply(
        text=whole,
        model=served if isinstance(served, str) else "",
        usage=_usage(_object(payload.body.get("usage"))),
        ending=ending,
        replaced=len(HALF.findall(text)),
    )


def read_counts(payload: Payload | None) -> tuple[str, Usage]:
    """The model as served ("" where the server is silent) and the tokens that were counted."""
    body = {} if payload is None else payload.body
    served = body.get("model")
    return served if isinstance(served, str) else "", _usage(_object(body.get("usage")))


def find_error(payload: Payload) -> tuple[int, str] | None:
    """Return the status and the text of an error in a reply, or None.

    Some proxies send an error with status 200. The error may be in the reply or in its choice.
    """
    body = payload.body
    choices = body.get("choices")
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    for place in (choice, _object(choice.get("message")), body):
        if error := place.get("error"):
            return _status(error), _plain(error)
    if choice.get("finish_reason") == "error":
        return UNKNOWN_ERROR, "the model ended with an error"
    if body.get("object") == "error":
        return _status(body), _plain(body)
    return None


def _status(error: Json) -> int:
    found = _object(error)
    for name in ("code", "status", "status_code"):
        code = found.get(name)
        if isinstance(code, str) and code.isdecimal():
            code = int(code)
        if isinstance(code, int) and 400 <= code < 600:
            return code
    return UNKNOWN_ERROR


def _plain(error: Json) -> str:
    return error if isinstance(error, str) else json.dumps(error)


def _join_events(text: str) -> Payload | None:
    """The events of a stream as one reply."""
    parts: list[str] = []
    body: JsonObject = {}
    ending: Json = None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name != "data" or value.strip() == "[DONE]":
            continue
        try:
            event = _object(json.loads(value))
        except (ValueError, RecursionError):
            return None
        choices = event.pop("choices", None)
        choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
        delta = _object(choice.get("delta")) or _object(choice.get("message"))
        if isinstance(content := delta.get("content"), str):
            parts.append(content)
        ending = choice.get("finish_reason") or ending
        body |= {key: item for key, item in event.items() if item is not None}
    if not parts and ending is None:
        return Payload(body) if body else None
    message: Json = {"role": "assistant", "content": "".join(parts)}
    return Payload({**body, "choices": [{"message": message, "finish_reason": ending}]})


def _text(choice: JsonObject) -> tuple[str, Ending]:
    """The text, or the arguments of a tool call, or the words of a refusal; and how it ended."""
    message = _object(choice.get("message"))
    ending = ENDINGS.get(str(choice.get("finish_reason")), "")
    content = message.get("content")
    if isinstance(content, list):  # parts, of which the thinking ones have no text
        content = "".join(str(_object(part).get("text", "")) for part in content)
    if isinstance(content, str) and content:
        return content, ending
    if not message and isinstance(choice.get("text"), str):  # of the older API for completions
        return str(choice["text"]), ending
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return str(_object(_object(calls[0]).get("function")).get("arguments", "")), ending
    refusal = message.get("refusal")
    return (str(refusal), "refusal") if refusal else ("", ending)


def _usage(usage: JsonObject) -> Usage:
    """The tokens that the provider counted, all 0 where it did not, or counted below 0."""
    details = _object(usage.get("prompt_tokens_details"))
    counts = [
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(details.get("cached_tokens")),
    ]
    return Usage() if min(counts) < 0 else Usage(*counts)


def _count(value: Json) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
