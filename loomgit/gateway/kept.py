"""What cache and cassette have in common: the key of a request, and a kept reply as JSON."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from loomgit.domain.keys import canonical
from loomgit.domain.models import Completion, Ending, Usage

if TYPE_CHECKING:
    from loomgit.domain.models import Request
    from loomgit.domain.values import Json, JsonObject

FORMAT = 1  # raised when a key means something else
_ENDINGS: dict[str, Ending] = {ending: ending for ending in get_args(Ending)}


def request_key(request: Request) -> bytes:
    """The sha256 of everything that can change the reply; the lane to the model cannot."""
    return hashlib.sha256(canonical({"format": FORMAT, **describe(request)})).digest()


def describe(request: Request) -> JsonObject:
    """The request as JSON; what it leaves open is left out. A stand-in takes the place of the first
    message."""
    turns: list[Json] = [
        {"role": message.role, "content": message.content} for message in request.messages
    ]
    if request.stand_in is not None:
        turns[:1] = [{"stand_in": request.stand_in}]
    said: JsonObject = {
        "model": request.model.removeprefix("openai/"),
        "messages": turns,
        "temperature": request.temperature,
        "seed": request.seed,
        "max_tokens": request.max_tokens,
        "params": dict(request.params) or None,
        "schema": None if request.schema is None else dict(request.schema),
        "sample": request.sample or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def as_hit(completion: Completion) -> Completion:
    """The reply as one that was kept: it costs nothing, and nobody waited for it."""
    return replace(
        completion, cost=0.0, saved=price(completion), latency=None, attempts=0, cached=True
    )


def price(completion: Completion) -> float | None:
    """What the reply cost when it was made, in USD; None where nobody knows."""
    return completion.saved if completion.cached else completion.cost


def render(completion: Completion) -> JsonObject:
    """The reply as JSON; an `ending` is there only where it is not the usual one."""
    usage = completion.usage
    found: JsonObject = {
        "text": completion.text,
        "model": completion.model,
        "usage": {"input": usage.input, "output": usage.output, "cached": usage.cached},
        "cost": price(completion),
    }
    return found | {"ending": completion.ending} if completion.ending else found


def parse(value: Json) -> Completion:
    """The kept reply, as a hit. Raises ValueError where it is not one.

    One without an `ending`, or with one of a later version, ended as usual.
    """
    match value:
        case {
            "text": str(text),
            "model": str(model),
            "usage": {"input": int(asked), "output": int(replied), "cached": int(cached)},
            "cost": int() | float() | None as cost,
        }:
            usage = Usage(asked, replied, cached)
            found = Completion(text, model, usage, 0.0, None, 0, cached=True, saved=cost)
            match value:
                case {"ending": str(said)} if said in _ENDINGS:
                    return replace(found, ending=_ENDINGS[said])
            return found
    raise ValueError("a reply has text, model, usage (input, output, cached) and cost")
