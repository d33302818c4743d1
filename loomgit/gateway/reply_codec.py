"""Calculates keys of requests, and converts replies to JSON, for the cache and the cassettes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from loomgit.domain.keys import canonical
from loomgit.domain.models import Completion, Ending, Usage

if TYPE_CHECKING:
    from loomgit.domain.models import Request
    from loomgit.domain.values import Json, JsonObject

FORMAT = 1  # increase this number if keys are computed differently, so that old keys do not match
_ENDINGS: dict[str, Ending] = {ending: ending for ending in get_args(Ending)}


def request_key(request: Request) -> bytes:
    """Return the SHA-256 of all properties of the request that can change the reply.

    The key is the same for calls through litellm and for direct calls.
    """
    return hashlib.sha256(canonical({"format": FORMAT, **describe(request)})).digest()


def describe(request: Request) -> JsonObject:
    """Return the request as JSON. Unset properties are omitted.

    If the request has a `stand_in`, this text replaces the first message.
    """
    turns: list[Json] = [
        {"role": message.role, "content": message.content} for message in request.messages
    ]
    if request.stand_in is not None:
        turns[:1] = [{"stand_in": request.stand_in}]
    properties: JsonObject = {
        "model": request.model.removeprefix("openai/"),
        "messages": turns,
        "temperature": request.temperature,
        "seed": request.seed,
        "max_tokens": request.max_tokens,
        "params": dict(request.params) or None,
        "schema": None if request.schema is None else dict(request.schema),
        "sample": request.sample or None,
    }
    return {name: value for name, value in properties.items() if value is not None}


def as_hit(completion: Completion) -> Completion:
    """Return the reply as a cache hit: its cost is 0, and its latency is None."""
    return replace(
        completion, cost=0.0, saved=price(completion), latency=None, attempts=0, cached=True
    )


def price(completion: Completion) -> float | None:
    """Return the original cost of the reply in USD, or None if it is unknown."""
    return completion.saved if completion.cached else completion.cost


def render(completion: Completion) -> JsonObject:
    """Return the reply as JSON. If the reply is complete, `ending` is omitted."""
    usage = completion.usage
    fields: JsonObject = {
        "text": completion.text,
        "model": completion.model,
        "usage": {"input": usage.input, "output": usage.output, "cached": usage.cached},
        "cost": price(completion),
    }
    return fields | {"ending": completion.ending} if completion.ending else fields


def parse(value: Json) -> Completion:
    """Return a stored reply as a cache hit. Raises ValueError if the value is not a reply.

    If `ending` is missing, the reply is complete. An unknown `ending`, from a later version of
    Loom, is ignored.
    """
    match value:
        case {
            "text": str(text),
            "model": str(model),
            "usage": {"input": int(sent), "output": int(received), "cached": int(cached)},
            "cost": int() | float() | None as cost,
        }:
            usage = Usage(sent, received, cached)
            reply = Completion(text, model, usage, 0.0, None, 0, cached=True, saved=cost)
            match value:
                case {"ending": str(ending)} if ending in _ENDINGS:
                    return replace(reply, ending=_ENDINGS[ending])
            return reply
    raise ValueError("a reply must have text, model, usage (input, output, cached) and cost")
