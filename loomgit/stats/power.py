"""The power of a gate: the probability that it detects a drop of a certain size.

The power determines how many cases are needed to detect a drop, and the smallest detectable drop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from loomgit.stats.distributions import normal_cdf, normal_quantile
from loomgit.stats.errors import NoValues
from loomgit.stats.lazy_numpy import np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.samples import Floats

Z = 1.645  # the one-sided 5 % quantile, rounded as in published tables of sample sizes
Z_POWER = normal_quantile(0.8)

Failures = Literal["uniform", "scattered", "broken"]


def shift_variance(drop: float, sd_within: float, m: float, failures: Failures) -> float:
    """Return the variance of one case's shift (the difference of its two means).

    Each side of the case has m samples, and the true drop is `drop`. The variance is the noise plus
    a term that depends on the type of failures:
    - `uniform`: all outputs lose the same amount. The term is zero.
    - `scattered`: single outputs fail. The term is a Bernoulli variance, divided by m.
    - `broken`: whole cases fail. The term is a Bernoulli variance.
    """
    noise = 2 * sd_within**2 / m
    match failures:
        case "uniform":
            return noise
        case "scattered":
            return noise + drop * (1 - drop) / m
        case "broken":
            return noise + drop * (1 - drop)


def needed_cases(
    drop: float,
    sd_within: float,
    m: int,
    max_drop: float = 0.02,
    failures: Failures = "scattered",
) -> float:
    """Return the number of cases that the gate needs for a power of 80 %.

    The power is the probability that the gate blocks a version whose true mean is lower by
    `drop`. `drop` is in [0, 1]. If drop <= max_drop, no number of cases is sufficient, and the
    result is inf.
    """
    if drop <= max_drop:
        return math.inf
    s = math.sqrt(shift_variance(drop, sd_within, m, failures))
    for_significance = ((Z + Z_POWER) * s / drop) ** 2
    for_max_drop = (Z_POWER * s / (drop - max_drop)) ** 2
    return max(1, math.ceil(max(for_significance, for_max_drop)))


def power(
    n: int,
    drop: float,
    sd_within: float,
    m: float,
    max_drop: float = 0.02,
    failures: Failures = "scattered",
) -> float:
    """Return the probability that the gate blocks a version whose true mean is lower by `drop`.

    `drop` is in [0, 1]. Each of the n cases has m samples per side.
    """
    s = math.sqrt(shift_variance(drop, sd_within, m, failures) / n)
    if s == 0:
        return float(drop >= max_drop and drop > 0)
    return normal_cdf((drop - max(max_drop, Z * s)) / s)


def detectable_drop(n: int, noise: float, m: float, max_drop: float) -> float:
    """Return the smallest drop for which the gate has a power of 80 % with n cases.

    The calculation assumes that a drop means additional failed outputs, not slightly lower scores.
    Each case has m samples per side. `noise` is the variance of a case's shift if there is no drop.
    The result is inf if the power is lower even for a drop of 1.
    """

    def detected(drop: float) -> bool:
        s = math.sqrt((noise + drop * (1 - drop) / m) / n)
        return drop >= (Z + Z_POWER) * s and drop - max_drop >= Z_POWER * s

    if not detected(1.0):
        return math.inf
    low, high = 0.0, 1.0
    # Bisection works because every drop above the smallest detected drop is detected, too: in this
    # range, the drop grows faster than the limits with which `detected` compares it.
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if detected(middle) else (middle, high)
    return high


def within_deviation(scores: Floats | Sequence[Sequence[float]]) -> float:
    """Return the standard deviation of the scores within a case.

    `scores` has one row per case and one column per sample. A missing score is NaN. The deviation
    is the root of the mean variance of the cases with at least two samples. If no case has two
    samples, it is the deviation of all scores, which is an overestimate. Raises NoValues for fewer
    than two scores.
    """
    grid = np.asarray(scores, dtype=np.float64)
    seen = ~np.isnan(grid)
    counts = seen.sum(axis=1)
    if np.count_nonzero(seen) < 2:
        raise NoValues("a standard deviation needs at least two scores")
    repeated = counts >= 2
    if not repeated.any():
        return float(np.std(grid[seen], ddof=1))
    grid, seen, counts = grid[repeated], seen[repeated], counts[repeated]
    means = np.where(seen, grid, 0.0).sum(axis=1) / counts
    squares = (np.where(seen, grid - means[:, None], 0.0) ** 2).sum(axis=1)
    return math.sqrt(float((squares / (counts - 1)).mean()))
