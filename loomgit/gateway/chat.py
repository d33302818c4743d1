"""A request and a reply of OpenAI's chat API, as it goes over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from loomgit.domain.models import Ending, Usage
from loomgit.errors import Rejected
from loomgit.gateway.wire import ENDINGS, body

if TYPE_CHECKING:
    from loomgit.domain.models import Request
    from loomgit.domain.values import Json, JsonObject
    from loomgit.gateway.endpoints import ChatEndpoint


class ChatReply(Struct, frozen=True):
    """What is read of a reply; `model` is the model as served, "" where the server is silent."""

    text: str
    model: str
    usage: Usage
    ending: Ending = ""


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


def parse(model: str, content: bytes) -> ChatReply | None:
    """The reply in `content`; None where it is none. Raises Rejected for one without a choice."""
    try:
        payload: Json = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    choices = payload.get("choices") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or not isinstance(choices, list):
        return None
    if not choices:
        raise Rejected(f"{model}: the provider sent a reply without a choice")
    served = payload.get("model")
    text, ending = _text(_object(choices[0]))
    return ChatReply(
        text=text,
        model=served if isinstance(served, str) else "",
        usage=_usage(_object(payload.get("usage"))),
        ending=ending,
    )


def read_counts(content: bytes) -> tuple[str, Usage]:
    """The model as served ("" where the server is silent) and the tokens that were counted, of
    content of any kind."""
    try:
        payload = _object(orjson.loads(content))
    except orjson.JSONDecodeError:
        return "", Usage()
    served = payload.get("model")
    return served if isinstance(served, str) else "", _usage(_object(payload.get("usage")))


def error_status(content: bytes) -> int | None:
    """The status of an error that came as a reply: some proxies say 200 and mean 429."""
    try:
        payload: Json = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    found = _object(payload).get("error")
    code = _object(found).get("code") if found else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _text(choice: JsonObject) -> tuple[str, Ending]:
    """The text, or the arguments of a tool call, or the words of a refusal; and how it ended."""
    message = _object(choice.get("message"))
    ending = ENDINGS.get(str(choice.get("finish_reason")), "")
    content = message.get("content")
    if isinstance(content, list):  # parts, of which the thinking ones have no text
        content = "".join(str(_object(part).get("text", "")) for part in content)
    if isinstance(content, str) and content:
        return content, ending
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return str(_object(_object(calls[0]).get("function")).get("arguments", "")), ending
    refusal = message.get("refusal")
    return (str(refusal), "refusal") if refusal else ("", ending)


def _usage(usage: JsonObject) -> Usage:
    """The tokens that the provider counted, all 0 where it did not."""
    details = _object(usage.get("prompt_tokens_details"))
    return Usage(
        input=_count(usage.get("prompt_tokens")),
        output=_count(usage.get("completion_tokens")),
        cached=_count(details.get("cached_tokens")),
    )


def _count(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
