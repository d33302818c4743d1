"""Converts requests to the formats of OpenAI's chat API and litellm. Reads litellm's replies."""

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
TIMEOUT = 60.0  # seconds; a call fails if it receives no data for so long
INSTRUCTION = (
    "Reply with one JSON value that fits this JSON Schema, and with nothing around it:\n{schema}"
)
UNPAIRED_SURROGATE = re.compile(r"[\ud800-\udfff]")  # half of a UTF-16 surrogate pair
# The providers' finish reasons for incomplete replies, and Loom's names for these reasons. A reply
# with any other finish reason is complete.
ENDINGS: dict[str, Ending] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "filter",
}


class Endpoint(Struct, frozen=True):
    """The data with which litellm calls a model.

    `name` is `provider/model`, and `timeout` is in seconds. `native_schema` is true if the provider
    can force replies to match a JSON Schema. `max_tokens` is the configured limit of a reply.
    """

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
    """The fields that every reply of litellm has. All other fields depend on the provider."""

    model: str | None
    choices: Sequence[_Choice]


def render_body(
    request: Request, name: str, *, native_schema: bool, max_tokens: int | None
) -> dict[str, Any]:
    """Return the request as the JSON body for OpenAI's chat API.

    `name` is the model's name on the server. `max_tokens` is used if the request has no limit. If
    `native_schema` is false, the system message contains the schema. Raises UserError if the
    request's `params` contain a reserved name.
    """
    reserved = RESERVED_PARAMS & request.params.keys()
    if reserved:
        raise UserError(
            f"{request.model}: params: '{min(reserved)}' is reserved and not passed on",
            hint="params are for the provider's own parameters, such as top_p",
        )
    fields: dict[str, Any] = {
        **request.params,
        "model": name,
        "messages": [_turn(message) for message in request.messages],
    }
    optional = {
        "temperature": request.temperature,
        "seed": request.seed,
        "max_tokens": request.max_tokens or max_tokens,
    }
    fields.update({name: value for name, value in optional.items() if value is not None})
    if request.schema is not None:
        if native_schema:
            fields["response_format"] = _response_format(request.schema)
        else:
            fields["messages"] = _add_instruction(fields["messages"], request.schema)
    return fields


def litellm_arguments(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """Return the keyword arguments for `litellm.acompletion`.

    Raises UserError if the request's `params` contain a reserved name.
    """
    keywords = render_body(
        request,
        endpoint.name,
        native_schema=endpoint.native_schema,
        max_tokens=endpoint.max_tokens,
    )
    keywords |= {
        "max_retries": 0,  # num_retries stays unset, because litellm multiplies it with max_retries
        "timeout": _timeout(endpoint.timeout),
        # If true, litellm drops the temperature for a model that does not support it. It is true
        # only for requests to a judge, because Loom itself sets the temperature of these requests.
        # A temperature that a user sets is never dropped.
        "drop_params": request.purpose == "evaluate",
    }
    optional = {"base_url": endpoint.base_url, "api_key": endpoint.api_key}
    return keywords | {name: value for name, value in optional.items() if value is not None}


def fits_strict_mode(schema: Json | JsonMapping) -> bool:
    """Return whether OpenAI's strict mode accepts this schema.

    In strict mode, each object in the schema must forbid additional properties and require all its
    properties, and defaults are not allowed. If strict mode is off, the schema guides the model,
    but the reply may not match the schema.
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
    """Return (text, ending) of a reply. The ending is "" if the reply is complete.

    If the reply has no text, return the arguments of its tool call or the text of its refusal.
    Raises Unavailable if the reply has no choices or ended with an error.
    """
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
    """Return the token counts of the provider.

    All counts are 0 if the provider returned no counts or a negative count.
    """
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
    httpx = importlib.import_module("httpx")  # a dependency of litellm, already loaded
    return httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT, seconds))


def _response_format(schema: JsonMapping) -> dict[str, Any]:
    body = {"name": "reply", "schema": dict(schema), "strict": fits_strict_mode(dict(schema))}
    return {"type": "json_schema", "json_schema": body}


def _add_instruction(messages: list[dict[str, str]], schema: JsonMapping) -> list[dict[str, str]]:
    """Return the messages with the schema in the system message.

    The schema does not get its own system message, because the chat templates of many open models
    support only one.
    """
    instruction = INSTRUCTION.format(schema=orjson.dumps(dict(schema)).decode())
    first, *rest = messages
    if first["role"] == "system":
        return [{**first, "content": f"{first['content']}\n\n{instruction}"}, *rest]
    return [{"role": "system", "content": instruction}, *messages]
