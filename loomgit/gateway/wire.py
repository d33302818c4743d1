"""Our request in the words of OpenAI's chat API and of litellm, litellm's reply in ours."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from msgspec import Struct

from loomgit.domain.models import RESERVED_PARAMS, Ending, Usage
from loomgit.errors import Unavailable, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.models import Message, Request
    from loomgit.domain.values import Json, JsonMapping

CONNECT_TIMEOUT = 5.0  # seconds
TIMEOUT = 60.0  # seconds without a byte of the reply
INSTRUCTION = (
    "Reply with one JSON value that fits this JSON Schema, and with nothing around it:\n{schema}"
)
HALF = re.compile(r"[\ud800-\udfff]")  # of a character
# What finish reasons mean. All others end a reply that is whole.
ENDINGS: dict[str, Ending] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "filter",
}


class Endpoint(Struct, frozen=True):
    """Where and how litellm reaches a model; `name` is provider/model, `timeout` seconds."""

    name: str
    base_url: str | None
    api_key: str | None
    native_schema: bool
    max_tokens: int | None
    timeout: float


class _Message(Protocol):
    content: str | None


class _Choice(Protocol):
    message: _Message
    finish_reason: str | None


class Response(Protocol):
    """What is read of litellm's reply; other parts are looked for, since not all providers send
    them."""

    model: str | None
    choices: Sequence[_Choice]


def body(
    request: Request, name: str, *, native_schema: bool, max_tokens: int | None
) -> dict[str, Any]:
    """The request in the words of OpenAI's chat API; `max_tokens` is for one that has no limit.

    Raises UserError where the request's `params` hold what is not theirs to say.
    """
    taken = RESERVED_PARAMS & request.params.keys()
    if taken:
        raise UserError(
            f"{request.model}: params: '{min(taken)}' is not passed on",
            hint="params are the provider's own, such as top_p",
        )
    found: dict[str, Any] = {
        **request.params,
        "model": name,
        "messages": [_turn(message) for message in request.messages],
    }
    optional = {
        "temperature": request.temperature,
        "seed": request.seed,
        "max_tokens": request.max_tokens or max_tokens,
    }
    found.update({name: value for name, value in optional.items() if value is not None})
    if request.schema is not None:
        if native_schema:
            found["response_format"] = _response_format(request.schema)
        else:
            found["messages"] = _instructed(found["messages"], request.schema)
    return found


def arguments(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """The keyword arguments of `litellm.acompletion`. Raises UserError as `body` does."""
    found = body(
        request,
        endpoint.name,
        native_schema=endpoint.native_schema,
        max_tokens=endpoint.max_tokens,
    )
    found |= {
        "max_retries": 0,  # never num_retries, which litellm multiplies by this
        "timeout": _timeout(endpoint.timeout),
        # A judge asks for temperature 0 where its model has one; what a user set must not vanish.
        "drop_params": request.purpose == "evaluate",
    }
    optional = {"base_url": endpoint.base_url, "api_key": endpoint.api_key}
    return found | {name: value for name, value in optional.items() if value is not None}


def fits_strict_mode(schema: Json | JsonMapping) -> bool:
    """Whether OpenAI's strict mode takes this schema: every object closed, every field required.

    Outside of it the schema guides the model and does not bind it.
    """
    if isinstance(schema, list):
        return all(fits_strict_mode(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    fields = schema.get("properties")
    if schema.get("type") == "object" or fields is not None:
        required = schema.get("required")
        if not isinstance(fields, dict) or not isinstance(required, list):
            return False
        if schema.get("additionalProperties") is not False or set(fields) != set(required):
            return False
    return "default" not in schema and all(fits_strict_mode(part) for part in schema.values())


def read_text(model: str, response: Response) -> tuple[str, Ending]:
    """The reply's text, or the arguments of its tool call, or the words of a refusal; and how it
    ended. Raises Unavailable for a reply without a choice, and for an error in it."""
    if not response.choices:
        raise Unavailable(f"{model}: the reply has no choices")
    choice = response.choices[0]
    if choice.finish_reason == "error":
        raise Unavailable(f"{model}: unavailable: the model ended with an error")
    ending = ENDINGS.get(choice.finish_reason or "", "")
    if choice.message.content:
        return choice.message.content, ending
    calls = getattr(choice.message, "tool_calls", None)
    if calls:
        return str(calls[0].function.arguments), ending
    extra = getattr(choice.message, "provider_specific_fields", None) or {}
    refusal = extra.get("refusal") or getattr(choice.message, "refusal", None)
    return (str(refusal), "refusal") if refusal else ("", ending)


def read_usage(response: Response) -> Usage:
    """The tokens that the provider counted, all 0 where it did not, or counted below 0."""
    usage = getattr(response, "usage", None)
    details = getattr(usage, "prompt_tokens_details", None)
    counts = [
        getattr(usage, "prompt_tokens", 0) or 0,
        getattr(usage, "completion_tokens", 0) or 0,
        getattr(details, "cached_tokens", 0) or 0,
    ]
    return Usage() if min(counts) < 0 else Usage(*counts)


def _turn(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _timeout(seconds: float) -> object:
    httpx = importlib.import_module("httpx")  # litellm's own, loaded with it
    return httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT, seconds))


def _response_format(schema: JsonMapping) -> dict[str, Any]:
    body = {"name": "reply", "schema": dict(schema), "strict": fits_strict_mode(dict(schema))}
    return {"type": "json_schema", "json_schema": body}


def _instructed(messages: list[dict[str, str]], schema: JsonMapping) -> list[dict[str, str]]:
    """The messages with the schema in their system text; there is one such text at most, since
    many chat templates of open models know only one."""
    instruction = INSTRUCTION.format(schema=orjson.dumps(dict(schema)).decode())
    first, *rest = messages
    if first["role"] == "system":
        return [{**first, "content": f"{first['content']}\n\n{instruction}"}, *rest]
    return [{"role": "system", "content": instruction}, *messages]
