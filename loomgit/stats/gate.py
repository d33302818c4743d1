"""The regression gate: did a metric drop, by enough to matter, between two versions?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from loomgit.stats.faults import NoValues, OutOfRange
from loomgit.stats.interval import Interval
from loomgit.stats.laws import ALPHA, Z
from loomgit.stats.means import bounded_mean
from loomgit.stats.pairs import (
    Paired,
    Shift,
    as_grid,
    case_shifts,
    count_samples,
    measure_missing,
    pair,
    population_shift,
    suite_shift,
    unchanged,
    welch_shift,
)
from loomgit.stats.permutation import exact_p
from loomgit.stats.power import detectable_drop
from loomgit.stats.samples import ROUNDING

if TYPE_CHECKING:
    from loomgit.stats.interval import Method
    from loomgit.stats.pairs import Grid
    from loomgit.stats.samples import Floats

ChangeOutcome = Literal["improved", "no_worse", "degraded", "inconclusive"]
Scope = Literal["suite", "population"]

ENOUGH_FOR_NO_WORSE = 50  # samples a side; fewer say little, also where no score differs
CONFIRMING = 0.25  # the p that a fresh comparison must reach for a degradation to stand
SMALLEST_MEASURE = 1e-9  # seconds or USD: what is below counts as this in a ratio


class Change(Struct, frozen=True):
    """How one metric moved, up being good, and what follows.

    `interval` is that of the mean shift (for `compare_rise`, of minus the mean log ratio); `p` is
    one-sided against a drop and `adjusted` the same within its family (`decide_family`; p until
    then). `floor` is the lowest shift the evidence allows, which `no_worse` rests on; `detects`
    the smallest drop that would have been seen with probability 80 %, inf where none. `missing`
    counts the samples without a value, `missing_share` is their share of the side that lacks more.
    `identical`: every case has the same scores on both sides.
    """

    outcome: ChangeOutcome
    interval: Interval
    p: float
    adjusted: float
    floor: float
    detects: float
    max_drop: float
    cases: int
    samples: int
    excluded: int = 0
    missing: int = 0
    missing_share: float = 0.0
    identical: bool = False

    @property
    def delta(self) -> float:
        """The mean shift."""
        return self.interval.estimate

    @property
    def ratio(self) -> float:
        """Candidate over baseline, where the shift is that of `compare_rise`."""
        return math.exp(-self.delta)


def compare(
    base: Grid,
    candidate: Grid,
    *,
    max_drop: float = 0.02,
    scope: Scope = "suite",
    higher_is_better: bool = True,
    span: float = 1.0,
    exact: np.random.Generator | None = None,
) -> Change:
    """Compare the samples of the same cases (i-th row with i-th row) under two versions.

    NaN or a shorter row: a missing sample. Scope `suite` asks of these cases, `population` of
    unseen ones. `span` is the length of the metric's range. With `exact` (suite only) p is that of
    the permutations themselves, drawn from the generator where they are too many to enumerate.
    NoValues where no case has both sides; OutOfRange where a shift exceeds `span`.
    """
    paired = pair(base, candidate)
    worst = 0.0
    if not higher_is_better:
        paired, worst = replace(paired, base=-paired.base, candidate=-paired.candidate), -span
    return _compare(paired, max_drop, scope, span, exact, worst)


def compare_rise(
    base: Grid, candidate: Grid, *, max_rise: float = 0.1, exact: np.random.Generator | None = None
) -> Change:
    """Compare latencies or costs (>= 0) by the mean log ratio: blocks a rise of `max_rise` or more.

    `max_rise` is a share: 0.1 is 10 %. Zeros count as 1e-9; an infinite value (a time-out) as the
    largest finite one of both sides. OutOfRange for a negative value.
    """
    sides = as_grid(base), as_grid(candidate)
    finite = np.concatenate([side[np.isfinite(side)] for side in sides])
    if not finite.size:
        raise NoValues("no finite value was observed")
    if np.min(finite) < 0:
        raise OutOfRange(f"{np.min(finite):g} is below 0")
    most = max(float(np.max(finite)), SMALLEST_MEASURE)
    logs = (np.log(np.clip(side, SMALLEST_MEASURE, most)) for side in sides)
    paired = pair(*(-log for log in logs))
    missing, share = measure_missing(base, candidate)
    paired = replace(paired, missing=missing, missing_share=share)
    return _compare(paired, math.log1p(max_rise), "suite", math.inf, exact, None)


def compare_unpaired(
    base: Grid,
    candidate: Grid,
    *,
    max_drop: float = 0.02,
    higher_is_better: bool = True,
    lo: float = 0.0,
    hi: float = 1.0,
) -> Change:
    """Compare samples of different cases by Welch's t on case means: far weaker than pairs.

    Metrics in [lo, hi]. `no_worse` rests on the bounded intervals of both sides at alpha / 2.
    """
    grids = [as_grid(side) for side in (base, candidate)]
    missing = measure_missing(base, candidate)
    kept = [grid[(~np.isnan(grid)).any(axis=1)] for grid in grids]
    if not all(grid.size for grid in kept):
        raise NoValues("a side has no sample")
    excluded = sum(a.shape[0] - b.shape[0] for a, b in zip(grids, kept, strict=True))
    if not higher_is_better:
        kept, lo, hi = [-grid for grid in kept], -hi, -lo
    shift = welch_shift(kept[0], kept[1])
    before, after = (bounded_mean(np.nanmean(grid, axis=1), lo, hi, ALPHA / 2) for grid in kept)
    cases = min(grid.shape[0] for grid in kept)
    samples = min(count_samples(grid) for grid in kept)
    same = all(_constant(grid, float(kept[0][~np.isnan(kept[0])][0])) for grid in kept)
    return _change(
        shift, same, after.low - before.high, "welch", max_drop, cases, samples, excluded, missing
    )


def _constant(grid: Floats, value: float) -> bool:
    return bool(np.nanmax(np.abs(grid - value)) <= ROUNDING)


def _compare(
    paired: Paired,
    max_drop: float,
    scope: Scope,
    span: float,
    exact: np.random.Generator | None,
    worst: float | None,
) -> Change:
    same = unchanged(paired)
    method: Method = "permutation"
    if scope == "suite":
        shift = suite_shift(paired)
        floor = shift.low if worst is None else _floor(shift, paired, worst)
        if exact is not None and not same:
            shift = replace(shift, p=exact_p(paired, exact))
    else:
        shift = population_shift(paired)
        d = case_shifts(paired.base, paired.candidate)
        floor, method = bounded_mean(d, -span, span).low, "t"
    change = _change(
        shift,
        same,
        floor,
        method,
        max_drop,
        paired.cases,
        paired.samples,
        paired.excluded,
        (paired.missing, paired.missing_share),
    )
    # A rise has no outputs that fail.
    return replace(change, detects=math.inf) if same and worst is None else change


def _floor(shift: Shift, paired: Paired, worst: float) -> float:
    """The lowest shift that the evidence allows, as if one more output had failed altogether.

    Where single outputs fail now and then, a suite may show none of them: the normal bound, whose
    error comes from what was seen, then calls a drop of `max_drop` no worse in 6 to 28 % of
    simulated suites. With one more failure it is 5.5 % at most. `worst` is the score of a failure.
    """
    one = (float(np.nanmean(paired.base)) - worst) / paired.samples
    return shift.delta - one - Z * math.hypot(shift.se, one)


def _change(
    shift: Shift,
    same: bool,
    floor: float,
    method: Method,
    max_drop: float,
    cases: int,
    samples: int,
    excluded: int,
    missing: tuple[int, float],
) -> Change:
    p = 1.0 if same else shift.p
    noise = shift.se**2 * cases
    change = Change(
        outcome="inconclusive",
        interval=Interval(shift.delta, shift.low, shift.high, cases, method),
        p=p,
        adjusted=p,
        floor=floor,
        detects=_detects_failures(samples, max_drop)
        if same
        else detectable_drop(cases, noise, samples / cases, max_drop),
        max_drop=max_drop,
        cases=cases,
        samples=samples,
        excluded=excluded,
        missing=missing[0],
        missing_share=missing[1],
        identical=same,
    )
    return decide(change)


def _detects_failures(samples: int, max_drop: float) -> float:
    """The smallest rate of failing outputs that shows at least one failure with probability 80 %:
    1 - 0.2 ** (1 / samples); not less than `max_drop`."""
    return max(max_drop, 1 - math.pow(0.2, 1 / samples))


def decide(change: Change) -> Change:
    """The change with the outcome that its adjusted p, shift and bounds call for.

    Identical scores are no worse from 50 samples a side on: three cases that are right before and
    after a change say nothing of it.
    """
    if change.identical:
        enough = change.samples >= ENOUGH_FOR_NO_WORSE
        return replace(change, outcome="no_worse" if enough else "inconclusive")
    outcome: ChangeOutcome = "inconclusive"
    if change.adjusted <= ALPHA and change.delta <= -change.max_drop + ROUNDING:
        outcome = "degraded"
    elif change.interval.low > 0:
        outcome = "improved"
    elif change.floor > -change.max_drop and change.samples >= ENOUGH_FOR_NO_WORSE:
        outcome = "no_worse"
    return replace(change, outcome=outcome)


def confirm(change: Change, fresh: Change) -> Change:
    """The change after both sides ran again: it stays degraded only if fresh p <= 0.25.

    Without a real change, 1.3 % of gates block then.
    """
    if change.outcome == "degraded" and fresh.p > CONFIRMING:
        return replace(change, outcome="inconclusive")
    return change


def blocks(change: Change, *, strict: bool = False) -> bool:
    """Whether the change fails the gate; under `strict` what is not proven harmless does too."""
    return change.outcome == "degraded" or (strict and change.outcome == "inconclusive")
