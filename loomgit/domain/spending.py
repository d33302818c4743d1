"""The cost of a pipeline: the cost of its stored runs, and the estimate for the next run."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Basis = Literal["runs", "max_tokens", "schema", "guess"]
UnknownKind = Literal[
    "price",
    "records",
    "evaluator",
    "repair",
    "fallback_model",
    "retry",
    "fallback",
    "destination",
]


class RunCosts(Struct, frozen=True):
    """The sum of the costs of several runs.

    `calls` is the number of paid replies, and `hits` is the number of replies from the cache.
    `input` and `output` are token counts. Each of these four numbers is None if it is missing in
    one of the runs. `cost` and `saved` (the cost that the cache avoided) are in USD; they are None
    if a price is unknown.
    `known` is the known part of the cost, and `unpriced` the number of calls with an unknown price.
    """

    runs: int = 0
    calls: int | None = 0
    hits: int | None = 0
    input: int | None = 0
    output: int | None = 0
    cost: float | None = 0.0
    known: float = 0.0
    unpriced: int = 0
    saved: float | None = 0.0


class SpendingReport(Struct, frozen=True):
    """The cost of a pipeline's stored runs. `tests` is the number of test runs among them.

    `stages` maps the names of stages to their costs. The keys of `models` are pairs (stage, name of
    the model that the provider reports). The keys of `days` are dates in UTC.
    """

    pipeline: str
    version: str | None
    since: str | None
    tests: int
    total: RunCosts
    stages: dict[str, RunCosts]
    models: dict[tuple[str, str], RunCosts]
    days: dict[str, RunCosts]


class Price(Struct, frozen=True):
    """The price of a model in USD per million tokens."""

    input: float
    output: float


class ReplySize(Struct, frozen=True):
    """The assumed length of a model's replies in tokens, and the basis of this assumption.

    If `basis` is "runs", the length is the mean of earlier replies: `seen` is the number of these
    replies, and `runs` is the number of their runs. The other values of `basis` are "max_tokens"
    (the configured maximum), "schema" (the size of an example output) and "guess" (a constant).
    """

    tokens: float
    basis: Basis
    seen: int = 0
    runs: int = 0


class StageEstimate(Struct, frozen=True):
    """The estimated calls of one stage to one model.

    `input` and `output` are token counts. `price` and `cost` (USD) are None if they are unknown.
    `kept` is the fraction of the sampled requests that have a reply in the cache. In a run, cached
    replies cost nothing, but `cost` treats them as paid calls.
    """

    model: str
    price: Price | None
    calls: int
    input: int
    output: int
    cost: float | None
    reply: ReplySize
    kept: float = 0.0


class UnknownCost(Struct, frozen=True):
    """A part of the cost that an estimate does not contain, or an assumption that it cannot check.

    `subject` is a model, an evaluator, a source or a destination. `reason` is one line of text.
    """

    kind: UnknownKind
    subject: str
    reason: str


class Estimate(Struct, frozen=True):
    """The expected cost of a run, estimated from a sample of its records.

    `records` is the number of all records, and `sampled` is the number of records in the sample.
    `unrendered` is the number of sampled records for which no prompt could be made. Such a record
    causes no call. `transform` and `evaluate` have one estimate per model. `budget` is in USD, or
    None if the pipeline and the target have no budget. `judged_from` is the source of the outputs
    in the judges' prompts: outputs of an earlier run (`runs`), or made-up outputs that match the
    output schema (`schema`). It is empty if nothing is judged. `unknown` lists what only the run
    can show.
    """

    pipeline: str
    version: str | None
    records: int
    sampled: int
    unrendered: int
    transform: tuple[StageEstimate, ...] = ()
    evaluate: tuple[StageEstimate, ...] = ()
    budget: float | None = None
    judged_from: Literal["runs", "schema", ""] = ""
    unknown: tuple[UnknownCost, ...] = ()

    @property
    def parts(self) -> tuple[StageEstimate, ...]:
        """The estimates of all stages and models."""
        return (*self.transform, *self.evaluate)

    @property
    def total(self) -> float | None:
        """The total cost in USD, or None if a price is unknown."""
        costs = [part.cost for part in self.parts]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models with an unknown price."""
        return tuple(dict.fromkeys(part.model for part in self.parts if part.price is None))
