"""Permutation tests: if the version makes no difference, labels can be exchanged within a case."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.stats.lazy_numpy import np
from loomgit.stats.samples import ROUNDING, Flags, Floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loomgit.stats.pairs import Paired

CHUNK = 2**20  # labels in one batch
RANDOM_LABELLINGS = 9_999  # random labellings if there are too many labellings to enumerate
BUDGET = 20_000_000  # labels drawn in total
MAX_LABELLINGS = 1_000  # the maximum for the enumeration of one case; m = 6 has 924
MAX_SUMS = 50_000  # the maximum number of distinct sums in memory
TIE_DECIMALS = 9  # decimal places to which two equal sums agree


class Pool(Struct, frozen=True):
    """The samples of both sides as flat arrays (samples,), in the order of the cases.

    `case` is the case of each value, and `candidate` is true if the value is from the candidate.
    """

    values: Floats
    case: np.ndarray
    candidate: Flags

    def relabelled(self, rounds: int, rng: np.random.Generator) -> Iterator[Flags]:
        """Draw labels within cases, in batches: bool arrays (rounds, samples), true = candidate."""
        n = self.values.size
        slots = np.flatnonzero(self.candidate)
        step = max(1, CHUNK // n)
        for start in range(0, rounds, step):
            size = min(step, rounds - start)
            keys = rng.random((size, n))
            keys += self.case
            # A sort by case and then by a random number puts a random sample of the case into each
            # slot of the case.
            order = np.argsort(keys, axis=1)
            labels = np.zeros((size, n), dtype=np.bool_)
            np.put_along_axis(labels, order[:, slots], True, axis=1)
            yield labels


def pool(paired: Paired) -> Pool:
    """Return the samples of both sides, without the missing ones."""
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
    """Return the statistic of the true labels, and the p-value.

    The p-value is the share of the labellings with at least this statistic. `statistic` maps labels
    (rounds, samples) to (rounds,). The true labelling counts as one of the drawn labellings
    (Phipson and Smyth 2010). p is therefore valid and at least 1 / (rounds + 1).
    """
    true = float(statistic(pooled.candidate[None, :])[0])
    as_large = sum(
        int(np.count_nonzero(statistic(labels) >= true - ROUNDING))
        for labels in pooled.relabelled(rounds, rng)
    )
    return true, (1 + as_large) / (1 + rounds)


def exact_p(paired: Paired, rng: np.random.Generator) -> float:
    """Return the p-value of a permutation test: the proportion of relabellings in which the mean
    drops at least as much as observed. Labels are exchanged within a case only. The p-value is
    never underestimated. All labellings are enumerated if the scores are discrete or there are few
    cases; otherwise up to 9,999 labellings are drawn.
    """
    enumerated = _enumerated_p(paired)
    if enumerated is not None:
        return enumerated
    pooled = pool(paired)
    count_c = np.bincount(pooled.case, pooled.candidate)
    count_b = np.bincount(pooled.case) - count_c
    # Up to a constant, the drop is minus the weighted sum of the values with the label candidate.
    weighted = pooled.values * (1 / count_b + 1 / count_c)[pooled.case] / paired.cases
    drops: Callable[[Flags], Floats] = lambda labels: -(labels @ weighted)  # noqa: E731 - one line
    rounds = min(RANDOM_LABELLINGS, max(999, BUDGET // pooled.values.size))
    return upper_p(pooled, drops, rng, rounds)[1]


def _enumerated_p(paired: Paired) -> float | None:
    """Return the exact p-value, or None if there are too many labellings.

    The distribution of the sum of shifts is built up case by case.
    """
    sums, weights, true = np.zeros(1), np.ones(1), 0.0
    for base, candidate in zip(paired.base, paired.candidate, strict=True):
        b, c = base[~np.isnan(base)], candidate[~np.isnan(candidate)]
        if math.comb(b.size + c.size, c.size) > MAX_LABELLINGS:
            return None
        shifts, share = _case_shifts(b, c)
        if sums.size * shifts.size > MAX_SUMS:
            return None
        true += float(c.mean() - b.mean())
        outer_sums = np.round(np.add.outer(sums, shifts), TIE_DECIMALS)
        sums, positions = np.unique(outer_sums, return_inverse=True)
        merged = np.bincount(positions.ravel(), np.multiply.outer(weights, share).ravel())
        weights = np.asarray(merged, dtype=np.float64)
    tie = paired.cases * 10.0**-TIE_DECIMALS
    return min(1.0, float(weights[sums <= true + tie].sum()))


def _case_shifts(b: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Return the possible shifts of one case under relabelling, with their probabilities."""
    values = np.concatenate([b, c])
    chosen = np.array(list(combinations(range(values.size), c.size)))
    sums = values[chosen].sum(axis=1)
    shifts = sums / c.size - (values.sum() - sums) / b.size
    distinct, counts = np.unique(np.round(shifts, TIE_DECIMALS), return_counts=True)
    return distinct, counts / counts.sum()
