"""The required size of a comparison: the drop to detect, and the number of cases to detect it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Failures = Literal["uniform", "scattered", "broken"]
DEFAULT_SAMPLES = (1, 3, 5)  # samples per case if the user gives no number


class PowerTarget(Struct, frozen=True):
    """The drop that a comparison must detect.

    `drop` is a drop of the mean score, in [0, 1]. `max_drop` is the accepted drop, None for the
    drop that the pipeline's tests accept.
    """

    drop: float
    max_drop: float | None = None
    samples: Sequence[int] = DEFAULT_SAMPLES
    failures: Failures = "scattered"


class RequiredSize(Struct, frozen=True):
    """The size of a comparison that blocks the drop with a probability of 80 %.

    The size is `cases` with `samples` each. `cases` is None if no number of cases blocks the drop,
    because the drop is not larger than the accepted one. `cost` is the cost of one side in USD,
    None if it is unknown.
    """

    samples: int
    cases: int | None
    cost: float | None

    @property
    def replies(self) -> int | None:
        """The number of replies on one side, or None if no number of cases blocks the drop."""
        return None if self.cases is None else self.cases * self.samples


class MetricPower(Struct, frozen=True):
    """The required size and the present power for one metric.

    `deviation` is the standard deviation within cases. If no case has two samples, it is the
    deviation of all scores, and `over_estimate` is true. `needs` are the required sizes. `power` is
    the probability that the present `cases` block the drop. `detects` is the smallest drop that the
    present cases block with a probability of 80 %, None if they block no drop with this
    probability.
    """

    metric: str
    deviation: float
    over_estimate: bool
    needs: tuple[RequiredSize, ...]
    cases: int
    samples: float
    power: float
    detects: float | None


class SizeEstimate(Struct, frozen=True):
    """The required size of a comparison of one pipeline.

    `basis` names the results that the estimate uses. `max_drop` is the accepted drop in the
    estimate.
    """

    pipeline: str
    version: str | None
    basis: str
    wish: PowerTarget
    max_drop: float
    metrics: tuple[MetricPower, ...]
