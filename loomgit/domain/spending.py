"""The cost of a pipeline: the spending of its stored runs, and the estimate for the next run."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Basis = Literal["runs", "max_tokens", "schema", "guess"]


class RunCosts(Struct, frozen=True):
    """The sum of the costs of several runs.

    `input`, `output` (tokens), `calls` and `hits` are None if one of the runs did not store them
    separately. `cost` and `saved` (USD) are None if a price is unknown. `known` is the known part
    of the cost, `unpriced` the number of calls with an unknown price.
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
    """The spending of the stored runs of a pipeline. `tests` is the number of test runs.

    The keys of `models` are pairs of a stage and the name of the model that the provider reports.
    The keys of `days` are dates in UTC, and the keys of `stages` are names.
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
    """The assumed length of a model's replies in tokens, and the basis of the assumption.

    The basis is `seen` replies of earlier `runs`, the configured maximum (`max_tokens`), the form
    of the output (`schema`), or a `guess`.
    """

    tokens: float
    basis: Basis
    seen: int = 0
    runs: int = 0


class StageEstimate(Struct, frozen=True):
    """The estimated calls of one stage to one model.

    `price` and `cost` (USD) are None if they are unknown. `kept` is the share of the sampled
    requests with a cached reply. Such replies cost nothing, but the estimate does not subtract
    them.
    """

    model: str
    price: Price | None
    calls: int
    input: int
    output: int
    cost: float | None
    reply: ReplySize
    kept: float = 0.0


class Estimate(Struct, frozen=True):
    """The expected cost of a run of all `records`, estimated from `sampled` records.

    `unrendered` is the number of sampled records without a prompt; they cause no call. A stage that
    calls no model has no entry. `budget` is in USD, None if the pipeline has no budget.
    `judged_from` is the origin of the outputs in the prompts of the judges: earlier `runs`, or
    artificial outputs of the declared form (`schema`).
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

    @property
    def parts(self) -> tuple[StageEstimate, ...]:
        """The costs of all stages, in one list."""
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
