"""Distribution shift between two versions of the same cases: a warning, never a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct

from loomgit.stats.pairs import pair
from loomgit.stats.permutation import Pool, pool, upper_p
from loomgit.stats.samples import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.pairs import Grid
    from loomgit.stats.samples import Flags, Floats

ROUNDS = 999
SURE = 0.01  # the p at which a shift is worth a warning
LARGE = 0.03  # the distance, in points of score or share of labels
LARGE_RELATIVE = 0.1  # the distance, as a share of the baseline's mean


class DriftReport(Struct, frozen=True):
    """How far two distributions lie apart, and whether that is worth a warning.

    `distance` is Wasserstein's W1 in the metric's unit, or total variation in [0, 1] for labels;
    `limit` the distance that matters. Fewer than about 100 outputs a side rarely show anything.
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
        """Whether the shift is both sure and large."""
        return self.p <= SURE and self.distance >= self.limit - ROUNDING


def score_drift(base: Grid, candidate: Grid, rng: np.random.Generator) -> DriftReport:
    """Whether scores in [0, 1] are distributed otherwise, cases paired row by row."""
    return _numeric(pool(pair(base, candidate)), rng, LARGE)


def length_drift(base: Grid, candidate: Grid, rng: np.random.Generator) -> DriftReport:
    """Whether lengths (or other amounts >= 0) are; a tenth of the baseline's mean matters."""
    pooled = pool(pair(base, candidate))
    limit = LARGE_RELATIVE * float(pooled.values[~pooled.candidate].mean())
    return _numeric(pooled, rng, limit)


def label_drift(
    base: Sequence[Sequence[str]], candidate: Sequence[Sequence[str]], rng: np.random.Generator
) -> DriftReport:
    """Whether labels are, cases paired row by row, one label a sample."""
    found = sorted({label for side in (base, candidate) for row in side for label in row})
    codes = {label: float(code) for code, label in enumerate(found)}
    sides = ([[codes[label] for label in row] for row in side] for side in (base, candidate))
    pooled = pool(pair(*sides))
    order = np.argsort(pooled.values, kind="stable")
    starts = np.flatnonzero(np.diff(pooled.values[order], prepend=-1.0))
    totals = np.diff(starts, append=order.size)
    sizes = _sizes(pooled)

    def variation(labels: Flags) -> Floats:
        counts = np.add.reduceat(labels[:, order].astype(np.int32), starts, axis=1)
        gaps: Floats = np.abs(counts / sizes[1] - (totals - counts) / sizes[0])
        totals_apart: Floats = gaps.sum(axis=1) / 2
        return totals_apart

    distance, p = upper_p(pooled, variation, rng, ROUNDS)
    return DriftReport("total variation", distance, p, LARGE, *sizes, ROUNDS)


def _numeric(pooled: Pool, rng: np.random.Generator, limit: float) -> DriftReport:
    order = np.argsort(pooled.values, kind="stable")
    gaps = np.diff(pooled.values[order])
    sizes = _sizes(pooled)
    step = 1 / sizes[0] + 1 / sizes[1]

    def wasserstein(labels: Flags) -> Floats:
        # Between neighbours the distribution functions differ by a constant: the area between.
        difference = labels[:, order[:-1]] * step - 1 / sizes[0]
        distances: Floats = np.abs(np.cumsum(difference, axis=1)) @ gaps
        return distances

    distance, p = upper_p(pooled, wasserstein, rng, ROUNDS)
    return DriftReport("W1", distance, p, limit, *sizes, ROUNDS)


def _sizes(pooled: Pool) -> tuple[int, int]:
    candidate = int(np.count_nonzero(pooled.candidate))
    return pooled.candidate.size - candidate, candidate
