"""The bounded interval for a mean from moments alone: no arrays, so no NumPy."""

from __future__ import annotations

import math

from loomgit.stats.interval import Interval
from loomgit.stats.laws import ALPHA, beta_quantile


def moments_bounded_mean(
    n: int,
    mean: float,
    std: float,
    least: float,
    most: float,
    lo: float,
    hi: float,
    alpha: float = ALPHA,
) -> Interval:
    """What `bounded_mean` says of n values in [lo, hi] of which only these moments were kept.

    `std` is the sample standard deviation (ddof 1), 0 of one value.
    """
    scatter = std * math.sqrt(n - 1)
    low = lo + beta_bound(n, mean - lo, scatter, most - lo, alpha)
    high = hi - beta_bound(n, hi - mean, scatter, hi - least, alpha)
    return Interval(mean, min(low, mean), max(high, mean), n, "bounded", alpha)


def beta_bound(n: int, mean: float, scatter: float, largest: float, alpha: float) -> float:
    """The bound from moments; `scatter` is the root of the sum of squared deviations.

    With one value more, at zero: mean m, variance v of the Dirichlet-weighted mean, and the Beta
    law that has both. Sums about the mean, since sums of squares cancel.
    """
    if largest <= 0:
        return 0.0
    mean, scatter = min(mean / largest, 1.0), scatter / largest
    m = n * mean / (n + 1)
    v = (scatter**2 + n * mean**2 / (n + 1)) / ((n + 1) * (n + 2))
    k = m * (1 - m) / v - 1
    return largest * beta_quantile(alpha, m * k, (1 - m) * k)
