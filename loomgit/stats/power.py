"""How many cases a gate needs to see a drop, and which drop it sees with those it has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from loomgit.stats.faults import NoValues
from loomgit.stats.laws import normal_cdf, normal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.samples import Floats

Z = 1.645  # a one-sided 5 %, rounded as in published tables of sample sizes
Z_POWER = normal_quantile(0.8)

Failures = Literal["uniform", "scattered", "broken"]


def shift_variance(drop: float, sd_within: float, m: float, failures: Failures) -> float:
    """The variance of one case's difference of means of m samples when the mean drops by `drop`.

    Besides noise: nothing when all outputs lose alike (`uniform`), Bernoulli per output when
    single outputs fail (`scattered`), per case when whole cases do (`broken`).
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
    """How many cases block a true drop of `drop` in [0, 1] with probability 80 %.

    inf where drop <= max_drop: then no number of cases does.
    """
    if drop <= max_drop:
        return math.inf
    s = math.sqrt(shift_variance(drop, sd_within, m, failures))
    seen = ((Z + Z_POWER) * s / drop) ** 2
    material = (Z_POWER * s / (drop - max_drop)) ** 2
    return max(1, math.ceil(max(seen, material)))


def power(
    n: int,
    drop: float,
    sd_within: float,
    m: float,
    max_drop: float = 0.02,
    failures: Failures = "scattered",
) -> float:
    """The probability that n cases of m samples block a true drop of `drop` in [0, 1]."""
    s = math.sqrt(shift_variance(drop, sd_within, m, failures) / n)
    if s == 0:
        return float(drop >= max_drop and drop > 0)
    return normal_cdf((drop - max(max_drop, Z * s)) / s)


def detectable_drop(n: int, noise: float, m: float, max_drop: float) -> float:
    """The smallest drop, scattered over outputs, that n cases block with probability 80 %.

    `noise` is the variance of one case's difference without a drop; inf where even a drop of 1 is
    too small to see.
    """

    def seen(drop: float) -> bool:
        s = math.sqrt((noise + drop * (1 - drop) / m) / n)
        return drop >= (Z + Z_POWER) * s and drop - max_drop >= Z_POWER * s

    if not seen(1.0):
        return math.inf
    low, high = 0.0, 1.0
    while high - low > 1e-6:  # `seen` is monotone: both sides of it grow slower than the drop
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def within_deviation(scores: Floats | Sequence[Sequence[float]]) -> float:
    """The standard deviation within cases, from scores (cases, samples), NaN where missing.

    The mean of the cases' variances, over cases with two samples or more; where none has two, the
    deviation of all scores, which is too large. NoValues of fewer than two scores.
    """
    grid = np.asarray(scores, dtype=np.float64)
    seen = ~np.isnan(grid)
    counts = seen.sum(axis=1)
    if np.count_nonzero(seen) < 2:
        raise NoValues("a deviation takes two scores or more")
    twice = counts >= 2
    if not twice.any():
        return float(np.std(grid[seen], ddof=1))
    grid, seen, counts = grid[twice], seen[twice], counts[twice]
    means = np.where(seen, grid, 0.0).sum(axis=1) / counts
    squares = (np.where(seen, grid - means[:, None], 0.0) ** 2).sum(axis=1)
    return math.sqrt(float((squares / (counts - 1)).mean()))
