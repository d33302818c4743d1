"""What a pipeline costs: what its stored runs came to, and what the next one is expected to."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Basis = Literal["runs", "max_tokens", "schema", "guess"]


class Spend(Struct, frozen=True):
    """Runs added up. `input`, `output`, `calls` and `hits` are None where one of the runs did not
    keep them apart; `cost` (USD) and `saved` are None where a price is unknown, `known` is what is
    known of the cost, `unpriced` the calls without a price."""

    runs: int = 0
    calls: int | None = 0
    hits: int | None = 0
    input: int | None = 0
    output: int | None = 0
    cost: float | None = 0.0
    known: float = 0.0
    unpriced: int = 0
    saved: float | None = 0.0


class Spending(Struct, frozen=True):
    """What the stored runs of a pipeline came to: `tests` of them were test runs.

    `models` is by (stage, model as served), `days` by date in UTC, `stages` by name.
    """

    pipeline: str
    version: str | None
    since: str | None
    tests: int
    total: Spend
    stages: dict[str, Spend]
    models: dict[tuple[str, str], Spend]
    days: dict[str, Spend]


class Price(Struct, frozen=True):
    """USD per million tokens."""

    input: float
    output: float


class ReplySize(Struct, frozen=True):
    """How long the replies of a model are taken to be, in tokens, and where that comes from:
    `seen` replies of earlier `runs`, the limit that is set, the form that is asked for, or nothing
    at all."""

    tokens: float
    basis: Basis
    seen: int = 0
    runs: int = 0


class StageEstimate(Struct, frozen=True):
    """What one stage will ask of one model. `price` and `cost` (USD) are None where unknown;
    `kept` is the share of the sampled requests whose replies are in the cache, which cost nothing
    again: they are not taken off."""

    model: str
    price: Price | None
    calls: int
    input: int
    output: int
    cost: float | None
    reply: ReplySize
    kept: float = 0.0


class Estimate(Struct, frozen=True):
    """What a run of all `records` is expected to cost, by `sampled` of them.

    `unrendered` of the sampled ones make no prompt, and ask nothing. A stage that asks no model has
    no part. `budget` is USD, None where the pipeline has none. `judged_from` tells whose outputs
    the judges' questions hold: those of earlier `runs`, or made-up ones of the declared form.
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
        """All stages together."""
        return (*self.transform, *self.evaluate)

    @property
    def total(self) -> float | None:
        """USD, None where a price is unknown."""
        costs = [part.cost for part in self.parts]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models whose price is unknown."""
        return tuple(dict.fromkeys(part.model for part in self.parts if part.price is None))
