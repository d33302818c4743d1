"""The result of every measurement: an estimate with a lower and an upper bound."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from loomgit.stats.distributions import ALPHA

Method = Literal[
    "bounded",
    "exact",
    "order statistics",
    "bayesian bootstrap",
    "observed",
    "t",
    "bca",
    "permutation",
    "welch",
]
APPROXIMATE = frozenset({"bayesian bootstrap", "t", "bca", "permutation", "welch"})


class Interval(Struct, frozen=True):
    """An estimate with two one-sided bounds, each with an error rate of at most `alpha`.

    If the data give no lower bound, `low` is -inf. If they give no upper bound, `high` is inf. The
    estimate is based on `n` values.
    """

    estimate: float
    low: float
    high: float
    n: int
    method: Method
    alpha: float = ALPHA

    @property
    def level(self) -> float:
        """The two-sided confidence level 1 - 2 * `alpha`. The default is 0.9."""
        return 1 - 2 * self.alpha

    @property
    def bounded_below(self) -> bool:
        """Whether the data give a finite lower bound for the value."""
        return math.isfinite(self.low)

    @property
    def bounded_above(self) -> bool:
        """Whether the data give a finite upper bound for the value."""
        return math.isfinite(self.high)

    @property
    def approximate(self) -> bool:
        """Whether the interval is approximate: the error rate `alpha` is exact only for large n.

        Reports must mark such an interval.
        """
        return self.method in APPROXIMATE
