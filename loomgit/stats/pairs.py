"""The same cases under two versions, paired; and what their difference amounts to.

Arrays are (..., cases, samples), NaN where a sample is missing.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from loomgit.stats.faults import NoValues
from loomgit.stats.laws import Z, normal_cdf, student_cdf, student_quantile
from loomgit.stats.samples import ROUNDING, Floats

if TYPE_CHECKING:
    from collections.abc import Sequence


Grid: TypeAlias = "Sequence[Sequence[float]] | npt.NDArray[np.float64]"


class Paired(Struct, frozen=True):
    """Scores of the cases that both sides have: float arrays (cases, samples), NaN where missing.

    `excluded` counts cases left out since one side has no sample of them, `missing` the samples
    given as NaN, of all cases; `missing_share` is their share of the side that lacks more.
    """

    base: Floats
    candidate: Floats
    excluded: int
    missing: int
    missing_share: float

    @property
    def cases(self) -> int:
        """How many cases are compared."""
        return len(self.base)

    @property
    def samples(self) -> int:
        """How many samples the poorer side has over all cases: the n m of the gate."""
        return min(count_samples(self.base), count_samples(self.candidate))


def pair(base: Grid, candidate: Grid) -> Paired:
    """Pair two sides whose i-th rows are samples of the same case, of any number each.

    NoValues where no case has a sample on both sides; ValueError where the numbers of rows differ
    or a value is infinite.
    """
    sides = as_grid(base), as_grid(candidate)
    if sides[0].shape[0] != sides[1].shape[0]:
        raise ValueError(f"{sides[0].shape[0]} cases cannot pair with {sides[1].shape[0]}")
    if any(np.isinf(side).any() for side in sides):
        raise ValueError("an infinite value has no place in a comparison of means")
    held = [(~np.isnan(side)).any(axis=1) for side in sides]
    both = np.asarray(held[0] & held[1], dtype=bool)
    if not both.any():
        raise NoValues("no case has a sample on both sides")
    missing, share = measure_missing(base, candidate)
    excluded = int(np.count_nonzero(~both))
    if excluded:
        sides = sides[0][both], sides[1][both]
    return Paired(*sides, excluded=excluded, missing=missing, missing_share=share)


def as_grid(rows: Grid) -> Floats:
    """Rows of samples as an array (cases, samples), shorter ones filled with NaN.

    A flat array is one sample per case.
    """
    if isinstance(rows, np.ndarray):
        grid = np.asarray(rows, dtype=np.float64)
        return grid[:, None] if grid.ndim == 1 else grid
    columns = list(zip_longest(*rows, fillvalue=math.nan))
    if not columns:
        return np.empty((len(rows), 0))
    return np.ascontiguousarray(np.array(columns, dtype=np.float64).T)


def count_samples(grid: Floats) -> int:
    """How many samples of a grid are not missing."""
    return int(np.count_nonzero(~np.isnan(grid)))


def measure_missing(base: Grid, candidate: Grid) -> tuple[int, float]:
    """How many samples of both sides are missing, and their share of the side that lacks more.

    A share of both sides together would hide half of what one side has lost.
    """
    counts = [count_missing(rows) for rows in (base, candidate)]
    given = [sum(map(len, rows)) if not _is_flat(rows) else len(rows) for rows in (base, candidate)]
    return sum(counts), max(n / of if of else 0.0 for n, of in zip(counts, given, strict=True))


def _is_flat(rows: Grid) -> bool:
    return isinstance(rows, np.ndarray) and rows.ndim == 1


def count_missing(rows: Grid) -> int:
    """How many samples are given as NaN; a row that is merely shorter misses none."""
    if isinstance(rows, np.ndarray):
        return int(np.count_nonzero(np.isnan(rows)))
    return sum(math.isnan(value) for row in rows for value in row)


class Shift(Struct, frozen=True):
    """How far the mean moved, up being good, with the evidence that it dropped.

    `p` is one-sided against a drop; [low, high] holds 90 %; `se` is the standard error.
    """

    delta: float
    se: float
    p: float
    low: float
    high: float


def unchanged(paired: Paired) -> bool:
    """Whether every case has the same scores on both sides, in whatever order."""
    base, candidate = np.sort(paired.base, axis=1), np.sort(paired.candidate, axis=1)
    if base.shape == candidate.shape:
        equal = np.abs(base - candidate) <= ROUNDING
        if (equal | (np.isnan(base) & np.isnan(candidate))).all():
            return True
    pooled = np.concatenate([base, candidate], axis=1)
    widths = np.nanmax(pooled, axis=1) - np.nanmin(pooled, axis=1)
    return bool((widths <= ROUNDING).all())


def case_shifts(base: Floats, candidate: Floats) -> Floats:
    """The difference of each case's means, shape (..., cases)."""
    return _means(candidate)[0] - _means(base)[0]


def suite_moments(base: Floats, candidate: Floats) -> tuple[Floats, Floats]:
    """The mean shift and its standard error under relabelling within cases, shape (...).

    If the version made no difference, a case's samples could carry either label: the variance of
    its shift is the pooled variance times 1/m_b + 1/m_c. One 0/1 sample a side: McNemar's
    test; several: Cochran, Mantel and Haenszel's.
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
    """Did these very cases drop? Samples vary, the cases do not."""
    delta, se = (float(x) for x in suite_moments(paired.base, paired.candidate))
    if se == 0:
        return Shift(delta, 0.0, 1.0, delta, delta)
    return Shift(delta, se, normal_cdf(delta / se), delta - Z * se, delta + Z * se)


def population_shift(paired: Paired) -> Shift:
    """Would unseen cases drop? The paired t test on case means (Miller 2024, clustered errors).

    Where all cases moved alike t has no value: p is that of sign flips, 2^-n, and the interval is
    a point once that is 5 % or less. One case says nothing: p = 1 and no ends.
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
    """Did the mean over cases drop, if the sides have different cases? Welch's t on case means.

    Float arrays (cases, samples) with at least one sample a case. A side of one case says
    nothing: p = 1 and no ends; so do sides without any spread.
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
