"""Intervals for a mean.

`bounded_mean` is the default for values in a known range. `t_mean` and `bca_mean` are alternatives
that a test can select.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.stats.bounds import beta_bound
from loomgit.stats.distributions import ALPHA, normal_cdf, normal_quantile, student_quantile
from loomgit.stats.interval import Interval
from loomgit.stats.lazy_numpy import np
from loomgit.stats.samples import observed, observed_in_range

if TYPE_CHECKING:
    from loomgit.stats.samples import Floats, Values

BCA_FROM = 100  # the smallest n for BCa; below it, BCa intervals are too narrow
RESAMPLES = 9_999
CHUNK = 2**20  # random numbers that are drawn at once
# The maximum number of random numbers for all resamples together. Drawing them takes 1 to 2 s.
# However, at least 999 resamples are always drawn.
BUDGET = 100_000_000


def bounded_mean(
    values: Values, lo: float = 0.0, hi: float = 1.0, alpha: float = ALPHA
) -> Interval:
    """Return the mean of values in [lo, hi] with bounds that are valid for every n >= 1.

    The bounds come from a Beta distribution that approximates the bound of Gaffke (2005) and
    Learned-Miller & Thomas (2019, arXiv 1905.06208). The bounds have a closed form and need no
    random numbers. If all values are 0 or 1, the bounds are the Clopper-Pearson bounds. If `hi`
    is infinite (cost, latency), there is no upper bound. Raises OutOfRange for a value outside
    [lo, hi], and NoValues if there are no values.
    """
    x = observed_in_range(values, lo, hi)
    estimate = float(x.mean())
    low = lo + _lower_bound(x - lo, alpha) if math.isfinite(lo) else -math.inf
    high = hi - _lower_bound(hi - x, alpha) if math.isfinite(hi) else math.inf
    return Interval(estimate, min(low, estimate), max(high, estimate), x.size, "bounded", alpha)


def _lower_bound(distance: Floats, alpha: float) -> float:
    """Return a lower bound for the mean of `distance`, the distances from one end of the range.

    Infinite distances are replaced by the largest finite distance.
    """
    finite = distance[np.isfinite(distance)]
    largest = float(np.max(finite)) if finite.size else 0.0
    if finite.size < distance.size:
        distance = np.minimum(distance, largest)
    mean = float(distance.mean())
    scatter = float(np.linalg.norm(distance - mean))
    return beta_bound(distance.size, mean, scatter, largest, alpha)


def t_mean(values: Values, alpha: float = ALPHA) -> Interval:
    """Return the mean with Student's t interval, which is too narrow for skewed scores if n < 100.

    For a single value, the bounds are infinite. If all values are equal, both bounds equal the
    mean.
    """
    x = observed(values)
    estimate = float(x.mean())
    if x.size == 1:
        return Interval(estimate, -math.inf, math.inf, 1, "t", alpha)
    half = student_quantile(1 - alpha, x.size - 1) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return Interval(estimate, estimate - half, estimate + half, x.size, "t", alpha)


def bca_mean(values: Values, rng: np.random.Generator, alpha: float = ALPHA) -> Interval:
    """Return the mean with the interval of the bias-corrected accelerated bootstrap (Efron 1987).

    The interval is approximate and suitable only for n >= 100. It uses 9,999 resamples, and fewer
    for n > 10,000. If all values are equal, both bounds equal the mean.
    """
    x = observed(values)
    estimate = float(x.mean())
    deviation = x - estimate
    squares = float(deviation @ deviation)
    if squares == 0 or np.min(x) == np.max(x):
        return Interval(estimate, estimate, estimate, x.size, "bca", alpha)
    means = _resampled_means(x, rng)
    below = (np.count_nonzero(means < estimate) + np.count_nonzero(means <= estimate)) / 2
    shift = normal_quantile(float(np.clip(below, 0.5, means.size - 0.5)) / means.size)
    skew = float((deviation**3).sum()) / (6 * squares**1.5)
    levels = [_corrected(normal_quantile(p), shift, skew) for p in (alpha, 1 - alpha)]
    low, high = (float(end) for end in np.quantile(means, levels))
    return Interval(estimate, low, high, x.size, "bca", alpha)


def _corrected(z: float, shift: float, skew: float) -> float:
    return normal_cdf(shift + (shift + z) / (1 - skew * (shift + z)))


def _resampled_means(x: Floats, rng: np.random.Generator) -> Floats:
    rounds = min(RESAMPLES, max(999, BUDGET // x.size))
    step = max(1, CHUNK // x.size)
    means = np.empty(rounds)
    for start in range(0, rounds, step):
        size = min(step, rounds - start)
        picks = rng.integers(0, x.size, (size, x.size), dtype=np.int32)
        means[start : start + size] = x.take(picks).mean(axis=1)
    return means


def unbounded_mean(values: Values, rng: np.random.Generator, alpha: float = ALPHA) -> Interval:
    """Return the mean of values >= 0 that have no upper limit, such as cost and latency.

    If there are at least 100 values and all are finite, the interval is the BCa interval, which is
    approximate. Otherwise, it has the lower bound of `bounded_mean` and no upper bound, because a
    rare value can have any size.
    """
    x = observed_in_range(values, 0.0, math.inf)
    if x.size < BCA_FROM or not np.isfinite(x).all():
        return bounded_mean(x, 0.0, math.inf, alpha)
    return bca_mean(x, rng, alpha)
