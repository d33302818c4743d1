"""What a run will cost, by the sizes of a sample of its requests and of earlier replies."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.spending import Price, ReplySize, StageEstimate
from loomgit.domain.values import JsonMapping, as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.domain.runs import Run
    from loomgit.domain.values import Json

MILLION = 1_000_000
BYTES_PER_TOKEN = 4  # of English text
PLAIN_REPLY = 250  # tokens of a reply of which nothing is known
WORDS = "some words that a model might write here"
ITEMS = 3  # of a list


class Asked(Struct, frozen=True):
    """One request of the sample: its tokens, what a reply may have, whether one is kept."""

    model: str
    input: int
    max_tokens: int | None
    schema: JsonMapping | None
    kept: bool


def estimate_stage(
    asked: Sequence[Asked],
    *,
    share: float,
    replies: Callable[[str], ReplySize | None],
    price: Callable[[str, int], Price | None],
) -> tuple[StageEstimate, ...]:
    """The stage by model; `share` is how many times the sample it is in all.

    `replies` knows how long earlier replies were, `price` what tokens cost with a prompt so long.
    """
    found = []
    for model in dict.fromkeys(one.model for one in asked):
        same = [one for one in asked if one.model == model]
        mean = sum(one.input for one in same) / len(same)
        reply = replies(model) or _assumed(same)
        cost_of = price(model, ceil(mean))
        calls = round(len(same) * share)
        tokens, output = round(mean * calls), round(reply.tokens * calls)
        found.append(
            StageEstimate(
                model=model,
                price=cost_of,
                calls=calls,
                input=tokens,
                output=output,
                cost=None
                if cost_of is None
                else (tokens * cost_of.input + output * cost_of.output) / MILLION,
                reply=reply,
                kept=sum(one.kept for one in same) / len(same),
            )
        )
    return tuple(found)


def _assumed(asked: Sequence[Asked]) -> ReplySize:
    """Without earlier replies: the limit as if all used it, else the form, else a guess."""
    limits = [one.max_tokens for one in asked if one.max_tokens]
    if len(limits) == len(asked):
        return ReplySize(sum(limits) / len(limits), "max_tokens")
    schemas = [one.schema for one in asked if one.schema is not None]
    if len(schemas) == len(asked):
        sizes = [len(as_text(example(schema))) / BYTES_PER_TOKEN for schema in schemas]
        return ReplySize(sum(sizes) / len(sizes), "schema")
    return ReplySize(PLAIN_REPLY, "guess")


def seen_replies(runs: Iterable[Run], stage: str, model: str) -> ReplySize | None:
    """The mean length of the replies that runs paid for, where they asked `model` as it is asked
    now; None where there are none.

    A run that kept no count by model counts where its tokens can only be the transform's.
    """
    calls = output = read = 0
    for run in runs:
        counts = [
            (count.calls, count.output)
            for count in run.cost.models
            if count.stage == stage and count.asked == model
        ]
        config = run.config
        pinned = f"{config.model}-{config.model_version}" if config.model_version else config.model
        if not run.cost.models and stage == "transform" and pinned == model and not run.judges:
            counts = [(run.cost.calls, run.cost.tokens.get("output", 0))]
        if not sum(count for count, _ in counts):
            continue
        read += 1
        calls += sum(count for count, _ in counts)
        output += sum(tokens for _, tokens in counts)
    return ReplySize(output / calls, "runs", calls, read) if calls and output else None


def example(schema: JsonMapping, whole: JsonMapping | None = None) -> Json:
    """A value that a JSON Schema asks for, of about the length that a model would write."""
    whole = schema if whole is None else whole
    options = schema.get("enum")
    if "const" in schema:
        return schema["const"]
    if isinstance(options, list) and options:
        return max(options, key=lambda option: len(as_text(option)))
    part = _referred(schema, whole)
    if part is not None:
        return example(part, whole)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    fields, items = schema.get("properties"), schema.get("items")
    if kind == "object" or fields is not None:
        named = fields if isinstance(fields, dict) else {}
        return {
            name: example(field, whole) if isinstance(field, dict) else WORDS
            for name, field in named.items()
        }
    if kind == "array":
        return [example(items, whole) if isinstance(items, dict) else WORDS] * ITEMS
    if kind in ("number", "integer"):
        return _number(schema, whole=kind == "integer")
    return {"boolean": True, "null": None}.get(str(kind), WORDS)


def _referred(schema: JsonMapping, whole: JsonMapping) -> JsonMapping | None:
    """The schema that a reference or the first of several choices stands for."""
    reference, definitions = schema.get("$ref"), whole.get("$defs")
    if isinstance(reference, str) and isinstance(definitions, dict):
        found = definitions.get(reference.rpartition("/")[2])
        return found if isinstance(found, dict) and "$ref" not in found else None
    for key in ("anyOf", "oneOf", "allOf"):
        choices = schema.get(key)
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return choices[0]
    return None


def _number(schema: JsonMapping, *, whole: bool) -> Json:
    low, high = schema.get("minimum", 0), schema.get("maximum", 1)
    low = low if isinstance(low, int | float) else 0
    high = high if isinstance(high, int | float) else max(1, low)
    return int(low) if whole else round(low + 0.85 * (high - low), 2)
