"""Pairs the scores of two versions by case, and tests the shift of their mean.

Arrays have the shape (..., cases, samples), with NaN for a missing sample.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from loomgit.stats.distributions import Z, normal_cdf, student_cdf, student_quantile
from loomgit.stats.errors import NoValues
from loomgit.stats.lazy_numpy import np
from loomgit.stats.samples import ROUNDING, Floats

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


Grid: TypeAlias = "Sequence[Sequence[float]] | npt.NDArray[np.float64]"


class Paired(Struct, frozen=True):
    """The scores of the cases that have samples on both sides.

    `base` and `candidate` are float arrays (cases, samples), with NaN for a missing sample.
    `excluded` is the number of cases that have no sample on at least one side. `missing` is the
    number of samples that were given as NaN, including those of excluded cases. Each side has a
    fraction of such samples, and `missing_share` is the larger of the two fractions.
    """

    base: Floats
    candidate: Floats
    excluded: int
    missing: int
    missing_share: float

    @property
    def cases(self) -> int:
        """The number of compared cases."""
        return len(self.base)

    @property
    def samples(self) -> int:
        """The total number of samples of the side that has fewer samples."""
        return min(count_samples(self.base), count_samples(self.candidate))


def pair(base: Grid, candidate: Grid) -> Paired:
    """Pair the samples of two sides. The i-th rows of both sides belong to the same case.

    Rows may differ in length. Raises NoValues if no case has a sample on both sides. Raises
    ValueError if the sides have different numbers of rows, or if a value is infinite.
    """
    sides = as_grid(base), as_grid(candidate)
    if sides[0].shape[0] != sides[1].shape[0]:
        raise ValueError(f"different numbers of cases: {sides[0].shape[0]} and {sides[1].shape[0]}")
    if any(np.isinf(side).any() for side in sides):
        raise ValueError("a comparison of means cannot use infinite values")
    sampled = [(~np.isnan(side)).any(axis=1) for side in sides]
    both = np.asarray(sampled[0] & sampled[1], dtype=bool)
    if not both.any():
        raise NoValues("no case has a sample on both sides")
    missing, share = measure_missing(base, candidate)
    excluded = int(np.count_nonzero(~both))
    if excluded:
        sides = sides[0][both], sides[1][both]
    return Paired(*sides, excluded=excluded, missing=missing, missing_share=share)


def as_grid(rows: Grid) -> Floats:
    """Return rows of samples as an array (cases, samples). Shorter rows are filled with NaN.

    A flat array has one sample per case.
    """
    if isinstance(rows, np.ndarray):
        grid = np.asarray(rows, dtype=np.float64)
        return grid[:, None] if grid.ndim == 1 else grid
    columns = list(zip_longest(*rows, fillvalue=math.nan))
    if not columns:
        return np.empty((len(rows), 0))
    return np.ascontiguousarray(np.array(columns, dtype=np.float64).T)


def count_samples(grid: Floats) -> int:
    """Return the number of samples in a grid that are not missing."""
    return int(np.count_nonzero(~np.isnan(grid)))


def measure_missing(base: Grid, candidate: Grid) -> tuple[int, float]:
    """Return the total number of missing samples, and the larger of the two missing fractions.

    The fraction is computed for each side separately. If only one side had missing samples, a
    fraction over both sides would be only about half as large.
    """
    counts = [count_missing(rows) for rows in (base, candidate)]
    totals = [
        sum(map(len, rows)) if not _is_flat(rows) else len(rows) for rows in (base, candidate)
    ]
    shares = [n / total if total else 0.0 for n, total in zip(counts, totals, strict=True)]
    return sum(counts), max(shares)


def _is_flat(rows: Grid) -> bool:
    return isinstance(rows, np.ndarray) and rows.ndim == 1


def count_missing(rows: Grid) -> int:
    """Return the number of samples given as NaN.

    Samples that are absent because a row is shorter than others are not counted.
    """
    if isinstance(rows, np.ndarray):
        return int(np.count_nonzero(np.isnan(rows)))
    return sum(math.isnan(value) for row in rows for value in row)


class Shift(Struct, frozen=True):
    """The shift of a mean, and the evidence for a drop. A positive shift is an improvement.

    `delta` is the shift, `se` its standard error, and [`low`, `high`] its 90 % interval. `p` is the
    p-value of the one-sided test for a drop.
    """

    delta: float
    se: float
    p: float
    low: float
    high: float


def has_equal_scores(paired: Paired) -> bool:
    """Return whether every case has the same scores on both sides, in any order.

    The numbers of samples may differ between the sides only if, in every case, all samples of both
    sides have the same score.
    """
    base, candidate = np.sort(paired.base, axis=1), np.sort(paired.candidate, axis=1)
    if base.shape == candidate.shape:
        equal = np.abs(base - candidate) <= ROUNDING
        if (equal | (np.isnan(base) & np.isnan(candidate))).all():
            return True
    pooled = np.concatenate([base, candidate], axis=1)
    widths = np.nanmax(pooled, axis=1) - np.nanmin(pooled, axis=1)
    return bool((widths <= ROUNDING).all())


def case_shifts(base: Floats, candidate: Floats) -> Floats:
    """Return the shift of each case: the candidate's mean score minus the base's mean score.

    The array has the shape (..., cases).
    """
    return _means(candidate)[0] - _means(base)[0]


def suite_moments(base: Floats, candidate: Floats) -> tuple[Floats, Floats]:
    """Return the shift of the mean and its standard error, as arrays of shape (...).

    The standard error assumes that the version makes no difference, so each sample of a case could
    come from either version. The variance of a case's shift is then the pooled variance times 1/m_b
    + 1/m_c, where m_b and m_c are the numbers of samples. For one 0/1 sample per side, this is
    McNemar's test. For several samples, it is the test of Cochran, Mantel and Haenszel.
    """
    (mean_b, count_b), (mean_c, count_c) = _means(base), _means(candidate)
    total = count_b + count_c
    pooled = ((mean_b * count_b + mean_c * count_c) / total)[..., None]
    squares = _squares(base - pooled) + _squares(candidate - pooled)
    variances = squares / (total - 1) * (1 / count_b + 1 / count_c)
    delta: Floats = (mean_c - mean_b).mean(axis=-1)
    se: Floats = np.sqrt(variances.sum(axis=-1)) / variances.shape[-1]
    return delta, se


def _means(grid: Floats) -> tuple[Floats, Floats]:
    counts = np.full(grid.shape[:-1], float(grid.shape[-1]))
    missing = np.isnan(grid)
    if missing.any():
        counts -= missing.sum(axis=-1)
        grid = np.where(missing, 0.0, grid)
    return grid.sum(axis=-1) / counts, counts


def _squares(deviations: Floats) -> Floats:
    squares: Floats = np.nansum(deviations**2, axis=-1)
    return squares


def suite_shift(paired: Paired) -> Shift:
    """Test for a drop of the mean over these cases.

    The samples are random, but the cases are fixed. The test says nothing about other cases.
    """
    delta, se = (float(x) for x in suite_moments(paired.base, paired.candidate))
    if se == 0:
        return Shift(delta, 0.0, 1.0, delta, delta)
    return Shift(delta, se, normal_cdf(delta / se), delta - Z * se, delta + Z * se)


def population_shift(paired: Paired) -> Shift:
    """Test whether the mean also drops on unseen cases, by a paired t test on the case means.

    Source: Miller 2024, clustered errors. If all cases have the same shift, t is undefined, and
    other rules apply: The p-value is 2^-n if the shift is a drop (as in a sign test), else 1. For n
    >= 5, the interval is this single value. For n < 5, the interval is unbounded. A single case
    proves nothing, so for n = 1 the p-value is always 1.
    """
    d = case_shifts(paired.base, paired.candidate)
    n, delta = d.size, float(d.mean())
    se = float(d.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if se <= ROUNDING:
        half = 0.0 if n >= 5 else math.inf
        p = 2.0**-n if delta < -ROUNDING and n > 1 else 1.0
        return Shift(delta, 0.0, p, delta - half, delta + half)
    half = student_quantile(0.95, n - 1) * se
    return Shift(delta, se, student_cdf(delta / se, n - 1), delta - half, delta + half)


def welch_shift(base: Floats, candidate: Floats) -> Shift:
    """Test for a drop of the mean if the two sides have different cases. Returns the shift.

    This is Welch's t test on the means of the cases. The sides are float arrays (cases, samples)
    with at least one sample per case. If a side has only one case, p is 1 and the interval is
    unbounded. The same applies if, on each side, all cases have the same mean.
    """
    sides = [_means(side)[0] for side in (base, candidate)]
    delta = float(sides[1].mean() - sides[0].mean())
    if min(side.size for side in sides) < 2:
        return Shift(delta, 0.0, 1.0, -math.inf, math.inf)
    parts = [float(side.var(ddof=1)) / side.size for side in sides]
    se = math.sqrt(sum(parts))
    if se <= ROUNDING:
        return Shift(delta, 0.0, 1.0, -math.inf, math.inf)
    spare = sum(part**2 / (side.size - 1) for part, side in zip(parts, sides, strict=True))
    df = se**4 / spare
    half = student_quantile(0.95, df) * se
    return Shift(delta, se, student_cdf(delta / se, df), delta - half, delta + half)
