"""The number of cases that a comparison needs in order to detect a given drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Failures = Literal["uniform", "scattered", "broken"]
DEFAULT_SAMPLES = (1, 3, 5)  # samples per case if the user gives no number


class PowerTarget(Struct, frozen=True):
    """The drop that a comparison must detect.

    `drop` is a drop of the mean score, in [0, 1]. `max_drop` is the accepted drop; None means the
    value from the pipeline's tests. `samples` lists numbers of samples per case; the number of
    cases is computed for each of them.
    `failures` is the cause of the drop: all outputs lose the same amount (`uniform`), single
    outputs fail (`scattered`), or whole cases fail (`broken`).
    """

    drop: float
    max_drop: float | None = None
    samples: Sequence[int] = DEFAULT_SAMPLES
    failures: Failures = "scattered"


class RequiredSize(Struct, frozen=True):
    """The size that a comparison needs to block a given drop with a probability of 80 %.

    Each side of the comparison needs `cases` cases, with `samples` replies to each case. `cases` is
    None if no number of cases is sufficient, because the drop is not larger than the accepted drop.
    `cost` is the cost of one side in USD, or None if it is unknown.
    """

    samples: int
    cases: int | None
    cost: float | None

    @property
    def replies(self) -> int | None:
        """The number of replies on one side, or None if no number of cases is sufficient."""
        return None if self.cases is None else self.cases * self.samples


class MetricPower(Struct, frozen=True):
    """The required sizes for one metric, and the power of the present test cases.

    `needs` are the required sizes. `deviation` is the standard deviation of the scores within a
    case. If no case has two samples, the standard deviation of all scores is used instead. It is an
    overestimate, so `over_estimate` is true. `cases` is the present number of cases, and `samples`
    is their mean number of samples. `power` is the probability that a comparison of this size
    blocks the drop that the user wants to detect. `detects` is the smallest drop that such a
    comparison blocks with a probability of 80 %, or None if there is no such drop.
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
    """The estimated number of cases and samples that a comparison of one pipeline needs.

    `basis` describes the earlier results that the estimate uses. `wish` is the drop to detect, as
    the user specified it. `max_drop` is the largest drop that the comparison accepts.
    """

    pipeline: str
    version: str | None
    basis: str
    wish: PowerTarget
    max_drop: float
    metrics: tuple[MetricPower, ...]
