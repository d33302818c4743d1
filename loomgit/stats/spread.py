"""An interval for the standard deviation. Its upper bound assumes an additional extreme value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.stats.distributions import ALPHA
from loomgit.stats.interval import Interval
from loomgit.stats.lazy_numpy import np
from loomgit.stats.samples import observed_in_range

if TYPE_CHECKING:
    from loomgit.stats.samples import Floats, Values

ROUNDS = 2_000
CHUNK = 2**20  # random numbers in one batch
MAX_DISTINCT_VALUES = 4_000  # if there are more, they are grouped into this many bins


def std_interval(
    values: Values,
    rng: np.random.Generator,
    lo: float = 0.0,
    hi: float = 1.0,
    alpha: float = ALPHA,
) -> Interval:
    """Return the sample standard deviation (ddof 1) of the values, and an interval for it.

    All values are in [lo, hi]. The bounds come from the Bayesian bootstrap (Rubin 1981). For the
    upper bound, one value is added to the sample: `lo` or `hi`, whichever is farther from the mean.
    If this value is infinite, the upper bound is infinite. The interval is approximate: the error
    rate is up to 6 % for n = 1,000.
    """
    x = observed_in_range(values, lo, hi)
    estimate = float(x.std(ddof=1)) if x.size > 1 and np.min(x) < np.max(x) else 0.0
    distinct, counts = np.unique(x, return_counts=True)
    if distinct.size > MAX_DISTINCT_VALUES:
        counts, edges = np.histogram(x, MAX_DISTINCT_VALUES)
        distinct, counts = ((edges[1:] + edges[:-1]) / 2)[counts > 0], counts[counts > 0]
    far = far_end(float(x.mean()), lo, hi)
    plain, extended = _weighted_stds(distinct, counts, far, rng)
    low = float(np.quantile(plain, alpha))
    high = float(np.quantile(extended, 1 - alpha)) if math.isfinite(far) else math.inf
    ends = min(low, estimate), max(high, estimate)
    return Interval(estimate, *ends, x.size, "bayesian bootstrap", alpha)


def far_end(mean: float, lo: float, hi: float) -> float:
    """Return the end of the range (`lo` or `hi`) that is farther from the mean.

    If a value is added, the standard deviation is largest if the value is at this end. The end may
    be infinite.
    """
    return hi if hi - mean >= mean - lo else lo


def _weighted_stds(
    distinct: Floats, counts: np.ndarray, far: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return two arrays of standard deviations, which are computed with random weights.

    For the second array, `far` is added to the values. The weights have a Dirichlet
    distribution. A value that occurs c times gets a weight from Gamma(c, 1), which is the
    distribution of the sum of c weights from Gamma(1, 1). Therefore, the order of the values has no
    effect.
    """
    centre = float(distinct.mean())
    x = distinct - centre
    extra = far - centre if math.isfinite(far) else 0.0
    step = max(1, CHUNK // x.size)
    plain, extended = np.empty(ROUNDS), np.empty(ROUNDS)
    for start in range(0, ROUNDS, step):
        chunk = slice(start, min(start + step, ROUNDS))
        weights = rng.standard_gamma(counts, (chunk.stop - chunk.start, x.size))
        total, first, second = weights.sum(1), weights @ x, weights @ x**2
        plain[chunk] = _std(total, first, second)
        weight = rng.standard_exponential(chunk.stop - chunk.start)
        extended[chunk] = _std(total + weight, first + weight * extra, second + weight * extra**2)
    return plain, extended


def _std(total: Floats, first: Floats, second: Floats) -> Floats:
    spread: Floats = np.sqrt(np.maximum(second / total - (first / total) ** 2, 0.0))
    return spread
