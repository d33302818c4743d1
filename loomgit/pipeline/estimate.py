"""The expected cost of a run, estimated from a sample of its requests and from earlier replies."""

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
BYTES_PER_TOKEN = 4  # the typical value for English text
DEFAULT_REPLY_TOKENS = 250  # the assumed length if nothing is known about a model's replies
WORDS = "some words that a model might write here"
ITEMS = 3  # the length of an example list


class PlannedCall(Struct, frozen=True):
    """One sampled request of a planned run.

    `input` is the number of tokens in the request. `max_tokens` is the maximum length of the reply,
    or None. `schema` is the JSON Schema of the reply, or None. `kept` is true if the reply is in
    the cache.
    """

    model: str
    input: int
    max_tokens: int | None
    schema: JsonMapping | None
    kept: bool


def estimate_stage(
    calls: Sequence[PlannedCall],
    *,
    share: float,
    replies: Callable[[str], ReplySize | None],
    price: Callable[[str, int], Price | None],
) -> tuple[StageEstimate, ...]:
    """Estimate the calls and the cost of a stage. The result has one estimate for each model.

    `calls` are sampled requests. `share` is the number of all requests divided by the number of
    sampled requests. `replies` returns the size of a model's earlier replies, or None if there are
    no earlier replies. `price` returns the price of a model for a prompt with a given number of
    tokens, or None if the price is unknown.
    """
    estimates = []
    for model in dict.fromkeys(call.model for call in calls):
        own = [call for call in calls if call.model == model]
        mean = sum(call.input for call in own) / len(own)
        reply = replies(model) or _assume_size(own)
        model_price = price(model, ceil(mean))
        count = round(len(own) * share)
        tokens, output = round(mean * count), round(reply.tokens * count)
        estimates.append(
            StageEstimate(
                model=model,
                price=model_price,
                calls=count,
                input=tokens,
                output=output,
                cost=None
                if model_price is None
                else (tokens * model_price.input + output * model_price.output) / MILLION,
                reply=reply,
                kept=sum(call.kept for call in own) / len(own),
            )
        )
    return tuple(estimates)


def _assume_size(calls: Sequence[PlannedCall]) -> ReplySize:
    """Return the assumed size of the replies to `calls` if no earlier reply exists.

    If all calls have a token limit, it is the mean limit. Otherwise, if all calls have a schema, it
    is the mean size of an example value. Otherwise, it is DEFAULT_REPLY_TOKENS.
    """
    limits = [call.max_tokens for call in calls if call.max_tokens]
    if len(limits) == len(calls):
        return ReplySize(sum(limits) / len(limits), "max_tokens")
    schemas = [call.schema for call in calls if call.schema is not None]
    if len(schemas) == len(calls):
        sizes = [len(as_text(example_value(schema))) / BYTES_PER_TOKEN for schema in schemas]
        return ReplySize(sum(sizes) / len(sizes), "schema")
    return ReplySize(DEFAULT_REPLY_TOKENS, "guess")


def mean_reply_size(runs: Iterable[Run], stage: str, model: str) -> ReplySize | None:
    """Return the mean length in tokens of the replies that `model` gave at a stage of earlier runs.

    Only paid replies are used, and `model` must be the exact id in the requests. A run that does
    not store its cost by model is used only if all its tokens belong to the transform. The result
    is None if there are no replies.
    """
    calls = output = counted_runs = 0
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
        counted_runs += 1
        calls += sum(count for count, _ in counts)
        output += sum(tokens for _, tokens in counts)
    return ReplySize(output / calls, "runs", calls, counted_runs) if calls and output else None


def example_value(schema: JsonMapping, root: JsonMapping | None = None) -> Json:
    """Return an example value for a JSON Schema, about as long as a value in a model's reply.

    `root` is the schema that contains the `$defs`. None means `schema` itself.
    """
    root = schema if root is None else root
    options = schema.get("enum")
    if "const" in schema:
        return schema["const"]
    if isinstance(options, list) and options:
        return max(options, key=lambda option: len(as_text(option)))
    target = _resolve(schema, root)
    if target is not None:
        return example_value(target, root)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    fields, items = schema.get("properties"), schema.get("items")
    if kind == "object" or fields is not None:
        properties = fields if isinstance(fields, dict) else {}
        return {
            name: example_value(field, root) if isinstance(field, dict) else WORDS
            for name, field in properties.items()
        }
    if kind == "array":
        return [example_value(items, root) if isinstance(items, dict) else WORDS] * ITEMS
    if kind in ("number", "integer"):
        return _number(schema, integer=kind == "integer")
    return {"boolean": True, "null": None}.get(str(kind), WORDS)


def _resolve(schema: JsonMapping, root: JsonMapping) -> JsonMapping | None:
    """Return the schema that `schema` refers to, or None.

    It is the target of `$ref`, or the first schema in `anyOf`, `oneOf` or `allOf`.
    """
    reference, definitions = schema.get("$ref"), root.get("$defs")
    if isinstance(reference, str) and isinstance(definitions, dict):
        target = definitions.get(reference.rpartition("/")[2])
        return target if isinstance(target, dict) and "$ref" not in target else None
    for key in ("anyOf", "oneOf", "allOf"):
        choices = schema.get(key)
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return choices[0]
    return None


def _number(schema: JsonMapping, *, integer: bool) -> Json:
    low, high = schema.get("minimum", 0), schema.get("maximum", 1)
    low = low if isinstance(low, int | float) else 0
    high = high if isinstance(high, int | float) else max(1, low)
    return int(low) if integer else round(low + 0.85 * (high - low), 2)
