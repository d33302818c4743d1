"""Intervals for a rate, and the number of good outputs that proves a rate."""

from __future__ import annotations

import math

from loomgit.stats.distributions import ALPHA, beta_quantile
from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.interval import Interval


def rate_interval(hits: int, n: int, alpha: float = ALPHA) -> Interval:
    """Return the rate hits / n with the exact bounds of Clopper and Pearson (Biometrika 26, 1934).

    Raises NoValues if n is 0, and OutOfRange if `hits` is not in [0, n].
    """
    if n < 1:
        raise NoValues("no value was observed")
    if not 0 <= hits <= n:
        raise OutOfRange(f"{hits} is outside [0, {n}]")
    low = beta_quantile(alpha, hits, n - hits + 1) if hits else 0.0
    high = beta_quantile(1 - alpha, hits + 1, n - hits) if hits < n else 1.0
    return Interval(hits / n, low, high, n, "exact", alpha)


def smallest_sample(threshold: float, alpha: float = ALPHA) -> int:
    """Return the smallest sample that can prove a rate of good outputs above `threshold`.

    The proof requires that all outputs in the sample are good. Such a sample also proves that the
    rate of bad outputs is below 1 - threshold. For example, 59 good outputs prove that the rate of
    bad outputs is below 0.05. Raises OutOfRange if `threshold` is not in [0, 1).
    """
    if not 0 <= threshold < 1:
        raise OutOfRange(f"{threshold:g} is outside [0, 1)")
    if threshold == 0:
        return 1
    n = max(1, math.floor(math.log(alpha) / math.log(threshold)))
    # The result is n or n + 1, so one comparison is enough. Do not increment n in a loop: if the
    # threshold is near 1, n is so large that the rounded power is the same for n and n + 1.
    return n if math.pow(alpha, 1 / n) > threshold else n + 1
