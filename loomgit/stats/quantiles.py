"""Intervals for quantiles from order statistics, and what the extremes can say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from loomgit.stats.faults import OutOfRange
from loomgit.stats.interval import Interval
from loomgit.stats.laws import ALPHA, binomial_quantile
from loomgit.stats.samples import ROUNDING, observed

if TYPE_CHECKING:
    from loomgit.stats.samples import Floats, Values


def quantile_interval(values: Values, q: float, alpha: float = ALPHA) -> Interval:
    """The q-quantile (q in (0, 1)) between two order statistics, whatever the law of the values.

    Conover's exact intervals (Practical Nonparametric Statistics, 3.2); an end is infinite where
    n is too small to have one, for q = 0.95 the upper end below n = 59. Infinite values
    (latency of what timed out) are values like others. The estimate is NumPy's.
    """
    if not 0 < q < 1:
        raise OutOfRange(f"{q:g} is outside (0, 1)")
    x = np.sort(observed(values))
    n = x.size
    tail = alpha * (1 + ROUNDING)  # alpha itself, but for binary fractions, is allowed
    below = binomial_quantile(tail, n, q)  # P(Bin(n, q) < below) <= alpha
    above = binomial_quantile(1 - tail, n, q) + 1  # P(Bin(n, q) >= above) <= alpha
    low = float(x[below - 1]) if below >= 1 else -math.inf
    high = float(x[above - 1]) if above <= n else math.inf
    return Interval(_linear(x, q), low, high, n, "order statistics", alpha)


def _linear(ordered: Floats, q: float) -> float:
    """Type 7 of Hyndman and Fan, which NumPy's turns to NaN beside an infinite value."""
    position = (ordered.size - 1) * q
    rank = math.floor(position)
    low, share = float(ordered[rank]), position - rank
    high = float(ordered[math.ceil(position)])
    return low if low == high else low + (high - low) * share


def extreme(values: Values, which: Literal["min", "max"]) -> Interval:
    """The smallest or largest value as it was observed: a verdict on it is about these alone.

    No number of outputs bounds what the next will be; `unseen_share` says how rare it is.
    """
    x = observed(values)
    found = float(np.min(x) if which == "min" else np.max(x))
    return Interval(found, found, found, x.size, "observed")


def unseen_share(n: int, alpha: float = ALPHA) -> float:
    """The largest share of outputs that may lie beyond the extreme of n of them: about 3/n."""
    return 1.0 - math.pow(alpha, 1 / n)
