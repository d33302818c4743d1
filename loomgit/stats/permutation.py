"""Relabelling within cases: if the version made no difference, any sample could be either's."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from loomgit.stats.samples import ROUNDING, Flags, Floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loomgit.stats.pairs import Paired

CHUNK = 2**20  # labels drawn at once
DRAWN = 9_999  # labellings where enumerating them is too much
BUDGET = 20_000_000  # labels drawn in all
LABELLINGS = 1_000  # of one case, at most, to enumerate them: m = 6 has 924
SUPPORT = 50_000  # sums to keep at once
TIE = 9  # decimals in which two sums are one


class Pool(Struct, frozen=True):
    """The samples of both sides, flat and in the order of the cases.

    `values` (samples,), `case` the case of each, `candidate` its true label.
    """

    values: Floats
    case: np.ndarray
    candidate: Flags

    def relabelled(self, rounds: int, rng: np.random.Generator) -> Iterator[Flags]:
        """Draw labels within cases: chunks of a bool array (rounds, samples), true = candidate."""
        n = self.values.size
        slots = np.flatnonzero(self.candidate)
        step = max(1, CHUNK // n)
        for start in range(0, rounds, step):
            size = min(step, rounds - start)
            keys = rng.random((size, n))
            keys += self.case
            # Sorting by case and then at random puts a random sample of the case into each slot.
            order = np.argsort(keys, axis=1)
            labels = np.zeros((size, n), dtype=np.bool_)
            np.put_along_axis(labels, order[:, slots], True, axis=1)
            yield labels


def pool(paired: Paired) -> Pool:
    """Both sides of the pairs, without the missing samples."""
    grid = np.concatenate([paired.base, paired.candidate], axis=1)
    seen = ~np.isnan(grid)
    case = np.broadcast_to(np.arange(paired.cases)[:, None], grid.shape)
    label = np.broadcast_to(np.arange(grid.shape[1]) >= paired.base.shape[1], grid.shape)
    return Pool(grid[seen], case[seen], label[seen])


def upper_p(
    pooled: Pool,
    statistic: Callable[[Flags], Floats],
    rng: np.random.Generator,
    rounds: int,
) -> tuple[float, float]:
    """The statistic of the true labels, and how often relabelling makes it as large.

    `statistic` maps labels (rounds, samples) to (rounds,). The true labelling counts among the
    drawn (Phipson and Smyth 2010), so p is valid, and at least 1 / (rounds + 1).
    """
    true = float(statistic(pooled.candidate[None, :])[0])
    as_large = sum(
        int(np.count_nonzero(statistic(labels) >= true - ROUNDING))
        for labels in pooled.relabelled(rounds, rng)
    )
    return true, (1 + as_large) / (1 + rounds)


def exact_p(paired: Paired, rng: np.random.Generator) -> float:
    """How often relabelling within cases drops the mean as far as it dropped: never too small.

    Enumerated where scores are discrete or cases few, else from up to 9,999 labellings.
    """
    enumerated = _enumerated_p(paired)
    if enumerated is not None:
        return enumerated
    pooled = pool(paired)
    count_c = np.bincount(pooled.case, pooled.candidate)
    count_b = np.bincount(pooled.case) - count_c
    # Up to a constant, the drop is minus the weighted sum of what is labelled candidate.
    weighted = pooled.values * (1 / count_b + 1 / count_c)[pooled.case] / paired.cases
    drops: Callable[[Flags], Floats] = lambda labels: -(labels @ weighted)  # noqa: E731 - one line
    rounds = min(DRAWN, max(999, BUDGET // pooled.values.size))
    return upper_p(pooled, drops, rng, rounds)[1]


def _enumerated_p(paired: Paired) -> float | None:
    """The exact p by adding up the cases' shifts one after the other; None where they are many."""
    sums, weights, true = np.zeros(1), np.ones(1), 0.0
    for base, candidate in zip(paired.base, paired.candidate, strict=True):
        b, c = base[~np.isnan(base)], candidate[~np.isnan(candidate)]
        if math.comb(b.size + c.size, c.size) > LABELLINGS:
            return None
        shifts, share = _case_shifts(b, c)
        if sums.size * shifts.size > SUPPORT:
            return None
        true += float(c.mean() - b.mean())
        apart = np.round(np.add.outer(sums, shifts), TIE)
        sums, place = np.unique(apart, return_inverse=True)
        added = np.bincount(place.ravel(), np.multiply.outer(weights, share).ravel())
        weights = np.asarray(added, dtype=np.float64)
    tie = paired.cases * 10.0**-TIE
    return min(1.0, float(weights[sums <= true + tie].sum()))


def _case_shifts(b: Floats, c: Floats) -> tuple[Floats, Floats]:
    """The shifts that the labellings of one case give, with their probabilities."""
    values = np.concatenate([b, c])
    chosen = np.array(list(combinations(range(values.size), c.size)))
    sums = values[chosen].sum(axis=1)
    shifts = sums / c.size - (values.sum() - sums) / b.size
    distinct, counts = np.unique(np.round(shifts, TIE), return_counts=True)
    return distinct, counts / counts.sum()
