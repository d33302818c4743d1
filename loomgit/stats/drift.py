"""Tests whether the outputs of two versions for the same cases have different distributions.

A difference causes a warning and never blocks a merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loomgit.stats.lazy_numpy import np
from loomgit.stats.pairs import pair
from loomgit.stats.permutation import Pool, pool, upper_p
from loomgit.stats.samples import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.pairs import Grid
    from loomgit.stats.samples import Flags, Floats

ROUNDS = 999
MAX_P = 0.01  # the largest p at which a difference causes a warning
MIN_DISTANCE = 0.03  # the smallest distance that causes a warning, for scores and labels
# The smallest distance that causes a warning, for lengths. The unit is the baseline's mean.
LARGE_RELATIVE = 0.1


class DriftReport(Struct, frozen=True):
    """The distance between two distributions and its significance.

    `distance` is the Wasserstein distance W1 in the unit of the metric or, for labels, the total
    variation in [0, 1]. `p` is the p-value of a permutation test with `rounds` permutations.
    `limit` is the smallest distance that causes a warning. `base` and `candidate` are the numbers
    of outputs. If a side has fewer than about 100 outputs, a warning is rare.
    """

    statistic: Literal["W1", "total variation"]
    distance: float
    p: float
    limit: float
    base: int
    candidate: int
    rounds: int

    @property
    def warns(self) -> bool:
        """Whether the difference is both significant and large."""
        return self.p <= MAX_P and self.distance >= self.limit - ROUNDING


def score_drift(base: Grid, candidate: Grid, rng: np.random.Generator) -> DriftReport:
    """Test whether the distribution of scores in [0, 1] differs between two versions.

    The i-th rows of both sides contain samples of the same case.
    """
    return _numeric(pool(pair(base, candidate)), rng, MIN_DISTANCE)


def length_drift(base: Grid, candidate: Grid, rng: np.random.Generator) -> DriftReport:
    """Test whether the distribution of lengths (or other amounts >= 0) differs between versions.

    The i-th rows of both sides contain samples of the same case. The smallest distance that causes
    a warning is a tenth of the baseline's mean.
    """
    pooled = pool(pair(base, candidate))
    limit = LARGE_RELATIVE * float(pooled.values[~pooled.candidate].mean())
    return _numeric(pooled, rng, limit)


def label_drift(
    base: Sequence[Sequence[str]], candidate: Sequence[Sequence[str]], rng: np.random.Generator
) -> DriftReport:
    """Test whether the distribution of labels differs between two versions.

    The i-th rows of both sides contain labels of the same case, one for each sample. The distance
    is the total variation: the relative frequency of each label is compared between the versions,
    and the absolute differences are added and divided by 2.
    """
    distinct = sorted({label for side in (base, candidate) for row in side for label in row})
    codes = {label: float(code) for code, label in enumerate(distinct)}
    sides = ([[codes[label] for label in row] for row in side] for side in (base, candidate))
    pooled = pool(pair(*sides))
    order = np.argsort(pooled.values, kind="stable")
    starts = np.flatnonzero(np.diff(pooled.values[order], prepend=-1.0))
    totals = np.diff(starts, append=order.size)
    sizes = _sizes(pooled)

    def variation(labels: Flags) -> Floats:
        counts = np.add.reduceat(labels[:, order].astype(np.int32), starts, axis=1)
        gaps: Floats = np.abs(counts / sizes[1] - (totals - counts) / sizes[0])
        distances: Floats = gaps.sum(axis=1) / 2
        return distances

    distance, p = upper_p(pooled, variation, rng, ROUNDS)
    return DriftReport("total variation", distance, p, MIN_DISTANCE, *sizes, ROUNDS)


def _numeric(pooled: Pool, rng: np.random.Generator, limit: float) -> DriftReport:
    order = np.argsort(pooled.values, kind="stable")
    gaps = np.diff(pooled.values[order])
    sizes = _sizes(pooled)
    step = 1 / sizes[0] + 1 / sizes[1]

    def wasserstein(labels: Flags) -> Floats:
        # W1 is the area between the two distribution functions. Between neighbouring values, both
        # functions are constant, so the area is a sum of rectangles.
        difference = labels[:, order[:-1]] * step - 1 / sizes[0]
        distances: Floats = np.abs(np.cumsum(difference, axis=1)) @ gaps
        return distances

    distance, p = upper_p(pooled, wasserstein, rng, ROUNDS)
    return DriftReport("W1", distance, p, limit, *sizes, ROUNDS)


def _sizes(pooled: Pool) -> tuple[int, int]:
    candidate = int(np.count_nonzero(pooled.candidate))
    return pooled.candidate.size - candidate, candidate
