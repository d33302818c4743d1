"""Converts requests to the JSON of OpenAI's chat API, and the JSON of replies to values."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from loomgit.domain.models import Ending, Usage
from loomgit.domain.values import JsonObject
from loomgit.errors import Rejected
from loomgit.gateway.wire import ENDINGS, UNPAIRED_SURROGATE, render_body

if TYPE_CHECKING:
    from loomgit.domain.models import Request
    from loomgit.domain.values import Json
    from loomgit.gateway.endpoints import ChatEndpoint


UNKNOWN_ERROR = 500  # the assumed HTTP status of an error that has no status


class Payload(Struct, frozen=True):
    """The JSON object in the body of an HTTP reply."""

    body: JsonObject


class ChatReply(Struct, frozen=True):
    """The fields of a reply that Loom uses.

    `model` is the name of the served model, or "" if the server does not return a name. `replaced`
    is the number of unpaired surrogates in the reply that were replaced by U+FFFD.
    """

    text: str
    model: str
    usage: Usage
    ending: Ending = ""
    replaced: int = 0


def render(request: Request, endpoint: ChatEndpoint) -> bytes:
    """Return the request as JSON for the body of an HTTP request.

    Raises UserError if `params` contain a reserved name. Some models accept only temperature 1. If
    a request to such a model has another temperature, the result depends on the purpose of the
    request. A request of a judge (`evaluate`) is rendered without the temperature. Any other
    request raises Rejected.
    """
    fields: dict[str, Any] = render_body(
        request,
        endpoint.name,
        native_schema=endpoint.native_schema,
        max_tokens=endpoint.max_tokens,
    )
    if endpoint.reasoning and "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    if not endpoint.temperature and fields.get("temperature", 1) != 1:
        if request.purpose != "evaluate":
            raise Rejected(f"{request.model}: rejected: this model accepts only temperature 1")
        del fields["temperature"]
    return orjson.dumps(fields)


def read_body(content: bytes) -> Payload | None:
    """Return the JSON object in the body of a reply, or None if the body contains no JSON object.

    Accepts a byte order mark, and values that JSON does not allow (infinities, unpaired
    surrogates). Also accepts an event stream, because some servers always stream; the events are
    joined into one object.
    """
    content = content.removeprefix(codecs.BOM_UTF8).strip()
    try:
        value: Json = orjson.loads(content)
    except orjson.JSONDecodeError:
        text = content.decode("utf-8", "surrogatepass" if b"\xed" in content else "replace")
        if text.startswith(("data:", "event:", "id:", ":", "retry:")):
            return _join_events(text)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return Payload(value) if isinstance(value, dict) else None


def parse(payload: Payload) -> ChatReply | None:
    """Return the reply in the body, or None if the body has no choices."""
    choices = payload.body.get("choices")
    if not isinstance(choices, list) or not choices:
        return None
    choice = _object(choices[0])
    text, ending = _text(choice)
    served = payload.body.get("model")
    return ChatReply(
        text=UNPAIRED_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text),
        model=served if isinstance(served, str) else "",
        usage=_usage(_object(payload.body.get("usage"))),
        ending=ending,
        replaced=len(UNPAIRED_SURROGATE.findall(text)),
    )


def read_counts(payload: Payload | None) -> tuple[str, Usage]:
    """Return the name of the served model, and the token counts.

    The name is "" if the server does not return it.
    """
    body = {} if payload is None else payload.body
    served = body.get("model")
    return served if isinstance(served, str) else "", _usage(_object(body.get("usage")))


def find_error(payload: Payload) -> tuple[int, str] | None:
    """Return the HTTP status and the text of an error in a body, or None if the body has no error.

    Some proxies send an error with HTTP status 200. The error is then in the body itself, in its
    first choice, or in the message of this choice.
    """
    body = payload.body
    choices = body.get("choices")
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    for part in (choice, _object(choice.get("message")), body):
        if error := part.get("error"):
            return _status(error), _plain(error)
    if choice.get("finish_reason") == "error":
        return UNKNOWN_ERROR, "the model ended with an error"
    if body.get("object") == "error":
        return _status(body), _plain(body)
    return None


def _status(error: Json) -> int:
    fields = _object(error)
    for name in ("code", "status", "status_code"):
        code = fields.get(name)
        if isinstance(code, str) and code.isdecimal():
            code = int(code)
        if isinstance(code, int) and 400 <= code < 600:
            return code
    return UNKNOWN_ERROR


def _plain(error: Json) -> str:
    return error if isinstance(error, str) else json.dumps(error)


def _join_events(text: str) -> Payload | None:
    """Join the events of a stream into one reply, or return None if this is impossible."""
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
    """Return the text of a choice, and the reason why the text ended early ("" if it did not).

    If the choice has no text, return the arguments of its tool call or the text of its refusal.
    """
    message = _object(choice.get("message"))
    ending = ENDINGS.get(str(choice.get("finish_reason")), "")
    content = message.get("content")
    if isinstance(content, list):  # a list of parts; a part with reasoning has no `text`
        content = "".join(str(_object(part).get("text", "")) for part in content)
    if isinstance(content, str) and content:
        return content, ending
    if not message and isinstance(choice.get("text"), str):  # a reply of the older completions API
        return str(choice["text"]), ending
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return str(_object(_object(calls[0]).get("function")).get("arguments", "")), ending
    refusal = message.get("refusal")
    return (str(refusal), "refusal") if refusal else ("", ending)


def _usage(usage: JsonObject) -> Usage:
    """Return the token counts of the provider.

    All counts are 0 if the provider returned no counts or a negative count.
    """
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
