"""Intervals for a rate, and how many perfect outputs it takes to believe in one."""

from __future__ import annotations

import math

from loomgit.stats.faults import NoValues, OutOfRange
from loomgit.stats.interval import Interval
from loomgit.stats.laws import ALPHA, beta_quantile


def rate_interval(hits: int, n: int, alpha: float = ALPHA) -> Interval:
    """The rate of `hits` among n with Clopper and Pearson's exact bounds (Biometrika 26, 1934)."""
    if n < 1:
        raise NoValues("no value was observed")
    if not 0 <= hits <= n:
        raise OutOfRange(f"{hits} is outside [0, {n}]")
    low = beta_quantile(alpha, hits, n - hits + 1) if hits else 0.0
    high = beta_quantile(1 - alpha, hits + 1, n - hits) if hits < n else 1.0
    return Interval(hits / n, low, high, n, "exact", alpha)


def smallest_sample(threshold: float, alpha: float = ALPHA) -> int:
    """How many outputs, all of them good, it takes to show a rate above `threshold` in [0, 1).

    By symmetry a rate below 1 - threshold when none is bad: 59 for `rate < 0.05`.
    """
    if not 0 <= threshold < 1:
        raise OutOfRange(f"{threshold:g} is outside [0, 1)")
    if threshold == 0:
        return 1
    n = max(1, math.floor(math.log(alpha) / math.log(threshold)))
    # The quotient is off by one at most; near 1 no step would show in the power any more.
    return n if math.pow(alpha, 1 / n) > threshold else n + 1
