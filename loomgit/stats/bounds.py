"""Computes the interval of `bounded_mean` from moments, without arrays and NumPy."""

from __future__ import annotations

import math

from loomgit.stats.distributions import ALPHA, beta_quantile
from loomgit.stats.interval import Interval


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
    """Return the interval of `bounded_mean` for n values in [lo, hi], from their moments only.

    `std` is the sample standard deviation (ddof 1), or 0 if n is 1. `least` and `most` are the
    smallest and the largest value.
    """
    scatter = std * math.sqrt(n - 1)
    low = lo + beta_bound(n, mean - lo, scatter, most - lo, alpha)
    high = hi - beta_bound(n, hi - mean, scatter, hi - least, alpha)
    return Interval(mean, min(low, mean), max(high, mean), n, "bounded", alpha)


def beta_bound(n: int, mean: float, scatter: float, largest: float, alpha: float) -> float:
    """Return the lower bound for the mean of n values >= 0, from their moments.

    `scatter` is the root of the sum of squared deviations from the mean. Deviations are used
    because plain sums of squares suffer from cancellation. `largest` is the largest value.

    The method adds the value 0 to the n values, and gives random (Dirichlet) weights to all n + 1
    values. The weighted mean has the expectation m and the variance v. The bound is the
    alpha-quantile of the Beta distribution with the same expectation and variance. Source: see
    `bounded_mean`.
    """
    if largest <= 0:
        return 0.0
    mean, scatter = min(mean / largest, 1.0), scatter / largest
    m = n * mean / (n + 1)
    v = (scatter**2 + n * mean**2 / (n + 1)) / ((n + 1) * (n + 2))
    k = m * (1 - m) / v - 1
    return largest * beta_quantile(alpha, m * k, (1 - m) * k)
