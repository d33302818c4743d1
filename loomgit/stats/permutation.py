"""Permutation tests of the difference between two versions.

If the version makes no difference, the labels `base` and `candidate` can be exchanged among the
samples of a case. An assignment of the labels is called a labelling.
"""

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

CHUNK = 2**20  # the number of labels in one batch of random labellings
RANDOM_LABELLINGS = 9_999  # maximum number of random labellings, if not all can be enumerated
# The maximum number of labels to draw. However, at least 999 labellings are always drawn.
BUDGET = 20_000_000
# The maximum number of labellings to enumerate for a case. A case with 6 samples per side has 924.
MAX_LABELLINGS = 1_000
MAX_SUMS = 50_000  # the maximum number of distinct sums in memory
TIE_DECIMALS = 9  # sums are rounded to this many decimal places to remove rounding errors


class Pool(Struct, frozen=True):
    """The samples of both sides as flat arrays (samples,), in the order of the cases.

    `case` is the index of each sample's case. `candidate` is true for each sample of the candidate.
    """

    values: Floats
    case: np.ndarray
    candidate: Flags

    def relabelled(self, rounds: int, rng: np.random.Generator) -> Iterator[Flags]:
        """Yield `rounds` random labellings, in batches.

        A batch is a bool array with one row per labelling and one column per sample. True stands
        for the label `candidate`. Each case gets this label as often as it has candidate samples.
        """
        n = self.values.size
        slots = np.flatnonzero(self.candidate)
        step = max(1, CHUNK // n)
        for start in range(0, rounds, step):
            size = min(step, rounds - start)
            keys = rng.random((size, n))
            keys += self.case
            # The samples are sorted by case, then by a random number. This shuffles the samples of
            # each case. Then the samples at the candidate's positions get the candidate's label.
            order = np.argsort(keys, axis=1)
            labels = np.zeros((size, n), dtype=np.bool_)
            np.put_along_axis(labels, order[:, slots], True, axis=1)
            yield labels


def pool(paired: Paired) -> Pool:
    """Return the samples of both sides in one pool, without the missing samples."""
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
    """Return the statistic of the true labelling, and its p-value.

    A labelling assigns the samples of each case to the two versions. `statistic` returns one number
    for each row of an array of labellings. The p-value is the fraction of labellings whose
    statistic is at least as large as that of the true labelling. The true labelling is counted too
    (Phipson and Smyth 2010). Therefore, the p-value is valid, and at least 1 / (rounds + 1).
    """
    true = float(statistic(pooled.candidate[None, :])[0])
    as_large = sum(
        int(np.count_nonzero(statistic(labels) >= true - ROUNDING))
        for labels in pooled.relabelled(rounds, rng)
    )
    return true, (1 + as_large) / (1 + rounds)


def exact_p(paired: Paired, rng: np.random.Generator) -> float:
    """Return the p-value of a permutation test for a drop of the mean.

    It is the proportion of labellings (assignments of a case's samples to the two versions) in
    which the mean drops at least as much as observed. All labellings are enumerated if the scores
    are discrete or there are few cases. Otherwise, up to 9,999 labellings are drawn. In both
    cases, the p-value is valid (not too small).
    """
    enumerated = _enumerated_p(paired)
    if enumerated is not None:
        return enumerated
    pooled = pool(paired)
    count_c = np.bincount(pooled.case, pooled.candidate)
    count_b = np.bincount(pooled.case) - count_c
    # The drop is the negative weighted sum of the values that have the candidate's label, plus a
    # constant that is the same for all labellings.
    weighted = pooled.values * (1 / count_b + 1 / count_c)[pooled.case] / paired.cases
    drops: Callable[[Flags], Floats] = lambda labels: -(labels @ weighted)  # noqa: E731 - one line
    rounds = min(RANDOM_LABELLINGS, max(999, BUDGET // pooled.values.size))
    return upper_p(pooled, drops, rng, rounds)[1]


def _enumerated_p(paired: Paired) -> float | None:
    """Return the exact p-value, or None if there are too many labellings to enumerate.

    The shift of a case is its mean candidate score minus its mean base score. The cases are added
    one at a time to the distribution of the sum of all shifts.
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
    """Return the possible shifts of a case, and the probability of each shift.

    Each labelling of the case's values results in a shift. All labellings are equally likely.
    """
    values = np.concatenate([b, c])
    chosen = np.array(list(combinations(range(values.size), c.size)))
    sums = values[chosen].sum(axis=1)
    shifts = sums / c.size - (values.sum() - sums) / b.size
    distinct, counts = np.unique(np.round(shifts, TIE_DECIMALS), return_counts=True)
    return distinct, counts / counts.sum()
