"""Intervals for a mean: `bounded` for values of a known range, t and BCa for those who ask."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from loomgit.stats.bounds import beta_bound
from loomgit.stats.interval import Interval
from loomgit.stats.laws import ALPHA, normal_cdf, normal_quantile, student_quantile
from loomgit.stats.samples import observed, within

if TYPE_CHECKING:
    from loomgit.stats.samples import Floats, Values

BCA_FROM = 100  # below, BCa promises more than it keeps
RESAMPLES = 9_999
CHUNK = 2**20  # numbers drawn at once
BUDGET = 100_000_000  # numbers drawn in all: a second or two


def bounded_mean(
    values: Values, lo: float = 0.0, hi: float = 1.0, alpha: float = ALPHA
) -> Interval:
    """The mean of values in [lo, hi] with bounds that keep their promise from n = 1 on.

    A Beta law fitted to the bound of Gaffke (2005) and Learned-Miller & Thomas (2019, arXiv
    1905.06208): closed form, no seed; for 0/1 values it is Clopper-Pearson. With an infinite
    `hi` (cost, latency) there is no upper bound. OutOfRange for a value outside [lo, hi].
    """
    x = within(values, lo, hi)
    estimate = float(x.mean())
    low = lo + _lower_bound(x - lo, alpha) if math.isfinite(lo) else -math.inf
    high = hi - _lower_bound(hi - x, alpha) if math.isfinite(hi) else math.inf
    return Interval(estimate, min(low, estimate), max(high, estimate), x.size, "bounded", alpha)


def _lower_bound(distance: Floats, alpha: float) -> float:
    """The bound for the mean distance (>= 0); infinite ones count as the largest finite one."""
    finite = distance[np.isfinite(distance)]
    largest = float(np.max(finite)) if finite.size else 0.0
    if finite.size < distance.size:
        distance = np.minimum(distance, largest)
    mean = float(distance.mean())
    scatter = float(np.linalg.norm(distance - mean))
    return beta_bound(distance.size, mean, scatter, largest, alpha)


def t_mean(values: Values, alpha: float = ALPHA) -> Interval:
    """The mean with Student's interval: too narrow below n = 100 for skewed scores.

    One value has no interval (infinite ends); equal values have none of any width.
    """
    x = observed(values)
    estimate = float(x.mean())
    if x.size == 1:
        return Interval(estimate, -math.inf, math.inf, 1, "t", alpha)
    half = student_quantile(1 - alpha, x.size - 1) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return Interval(estimate, estimate - half, estimate + half, x.size, "t", alpha)


def bca_mean(values: Values, rng: np.random.Generator, alpha: float = ALPHA) -> Interval:
    """The mean with the bias-corrected accelerated bootstrap: approximate, and only from n = 100.

    Efron (1987). 9,999 resamples, fewer above n = 10,000. Equal values: no width.
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
    """The mean of values >= 0 without an upper limit: cost and latency.

    From n = 100 BCa, approximate; below, the bound of `bounded_mean` and no upper end, since a
    rare value may be as large as it likes.
    """
    x = within(values, 0.0, math.inf)
    if x.size < BCA_FROM or not np.isfinite(x).all():
        return bounded_mean(x, 0.0, math.inf, alpha)
    return bca_mean(x, rng, alpha)
