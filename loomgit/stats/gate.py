"""The regression gate: decides whether a metric dropped significantly between two versions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from loomgit.stats.distributions import ALPHA, Z
from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.interval import Interval
from loomgit.stats.lazy_numpy import np
from loomgit.stats.means import bounded_mean
from loomgit.stats.pairs import (
    Paired,
    Shift,
    as_grid,
    case_shifts,
    count_samples,
    has_equal_scores,
    measure_missing,
    pair,
    population_shift,
    suite_shift,
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

MIN_SAMPLES_FOR_NO_WORSE = 50  # samples per side; with fewer samples, `no_worse` is not possible
CONFIRMATION_P = 0.25  # a degradation is confirmed if a second comparison has at most this p-value
MIN_RATIO_VALUE = 1e-9  # seconds or USD; replaces smaller values, before logarithms are computed


class MetricChange(Struct, frozen=True):
    """The change of one metric between two versions, and its outcome.

    A positive shift is an improvement. `interval` is the interval of the mean shift. In a result of
    `compare_rise`, the shift is the negative mean log ratio. `p` is the p-value of a one-sided test
    for a drop. `adjusted` is the p-value after the adjustment for several metrics
    (`decide_family`). Before the adjustment, it equals `p`.

    `floor` is a lower bound of the shift. The outcome `no_worse` depends on this bound.
    `detects` is the smallest drop that the comparison detects with a probability of 80 %, or inf if
    there is no such drop. `samples` is the number of samples on the side with fewer samples.
    `excluded` is the number of cases without a sample on one side.

    `missing` is the number of samples without a value. `missing_share` is the fraction of such
    samples on one side; if the sides differ, it is the larger fraction. `identical` is true if
    every case has the same scores on both sides.
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
        """The estimated mean shift. A positive shift is an improvement."""
        return self.interval.estimate

    @property
    def ratio(self) -> float:
        """The ratio candidate / baseline. It is valid only for a result of `compare_rise`."""
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
) -> MetricChange:
    """Compare the samples of the same cases under two versions.

    The i-th rows of both sides contain samples of the same case. Rows may differ in length, and a
    sample may be missing (NaN). The scope `suite` tests the mean over these cases. The scope
    `population` tests the mean over unseen cases. `span` is the length of the metric's range.

    If `exact` is given, p comes from a permutation test (scope `suite` only). If there are too many
    permutations to enumerate, the generator `exact` draws some of them. Raises NoValues if no case
    has samples on both sides, and OutOfRange if a shift exceeds `span` (scope `population` only).
    """
    paired = pair(base, candidate)
    worst = 0.0
    if not higher_is_better:
        paired, worst = replace(paired, base=-paired.base, candidate=-paired.candidate), -span
    return _compare(paired, max_drop, scope, span, exact, worst)


def compare_rise(
    base: Grid, candidate: Grid, *, max_rise: float = 0.1, exact: np.random.Generator | None = None
) -> MetricChange:
    """Compare latencies or costs (>= 0) by the mean log ratio of the cases.

    The outcome is degraded if there is a significant rise of at least `max_rise` (0.1 is 10 %).
    Values below 1e-9 are raised to 1e-9. Infinite values (timeouts) are replaced by the largest
    finite value of both sides. Raises OutOfRange for a negative value. Raises NoValues if no value
    is finite, or if no case has values on both sides.
    """
    sides = as_grid(base), as_grid(candidate)
    finite = np.concatenate([side[np.isfinite(side)] for side in sides])
    if not finite.size:
        raise NoValues("no finite value was observed")
    if np.min(finite) < 0:
        raise OutOfRange(f"{np.min(finite):g} is below 0")
    most = max(float(np.max(finite)), MIN_RATIO_VALUE)
    logs = (np.log(np.clip(side, MIN_RATIO_VALUE, most)) for side in sides)
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
) -> MetricChange:
    """Compare samples of different cases by Welch's t test on the means of the cases.

    The test has much less power than a paired comparison. The metric is in [lo, hi].
    `bounded_mean` uses these limits to compute an interval for the mean of each side, with the
    error rate alpha / 2. The outcome can be `no_worse` only if the two intervals exclude a drop of
    `max_drop`. Raises NoValues if a side has no sample.
    """
    grids = [as_grid(side) for side in (base, candidate)]
    missing = measure_missing(base, candidate)
    sampled = [grid[(~np.isnan(grid)).any(axis=1)] for grid in grids]
    if not all(grid.size for grid in sampled):
        raise NoValues("a side has no sample")
    excluded = sum(a.shape[0] - b.shape[0] for a, b in zip(grids, sampled, strict=True))
    if not higher_is_better:
        sampled, lo, hi = [-grid for grid in sampled], -hi, -lo
    shift = welch_shift(sampled[0], sampled[1])
    before, after = (bounded_mean(np.nanmean(grid, axis=1), lo, hi, ALPHA / 2) for grid in sampled)
    cases = min(grid.shape[0] for grid in sampled)
    samples = min(count_samples(grid) for grid in sampled)
    first = float(sampled[0][~np.isnan(sampled[0])][0])
    same = all(_constant(grid, first) for grid in sampled)
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
) -> MetricChange:
    same = has_equal_scores(paired)
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
    # If all scores are identical, `detects` is the smallest detectable rate of failed outputs.
    # Costs and latencies (`worst` is None) have no such rate.
    return replace(change, detects=math.inf) if same and worst is None else change


def _floor(shift: Shift, paired: Paired, worst: float) -> float:
    """Return a lower bound of the shift. It assumes one more failed output than was observed.

    `worst` is the score of a failed output. The additional failure is needed because outputs may
    fail so rarely that a small suite contains no failure, and the standard error covers only the
    observed scores. In simulations with a drop of `max_drop`, the outcome was wrong (`no_worse`) in
    6 to 28 % of the suites without the additional failure, and in at most 5.5 % with it.
    """
    failure = (float(np.nanmean(paired.base)) - worst) / paired.samples
    return shift.delta - failure - Z * math.hypot(shift.se, failure)


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
) -> MetricChange:
    p = 1.0 if same else shift.p
    noise = shift.se**2 * cases
    change = MetricChange(
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
    """Return the smallest failure rate that the comparison detects.

    This is 1 - 0.2 ** (1 / samples): at this rate, the probability that at least one sample fails
    is 80 %. If `max_drop` is larger, the result is `max_drop`.
    """
    return max(max_drop, 1 - math.pow(0.2, 1 / samples))


def decide(change: MetricChange) -> MetricChange:
    """Return the change with the outcome that follows from its adjusted p-value, shift and bounds.

    If all scores are identical, `no_worse` requires at least 50 samples per side. For example,
    three cases that are correct on both sides prove nothing.
    """
    if change.identical:
        enough = change.samples >= MIN_SAMPLES_FOR_NO_WORSE
        return replace(change, outcome="no_worse" if enough else "inconclusive")
    outcome: ChangeOutcome = "inconclusive"
    if change.adjusted <= ALPHA and change.delta <= -change.max_drop + ROUNDING:
        outcome = "degraded"
    elif change.interval.low > 0:
        outcome = "improved"
    elif change.floor > -change.max_drop and change.samples >= MIN_SAMPLES_FOR_NO_WORSE:
        outcome = "no_worse"
    return replace(change, outcome=outcome)


def confirm(change: MetricChange, fresh: MetricChange) -> MetricChange:
    """Return the change, corrected by a second measurement (`fresh`) of both sides.

    A degraded change becomes inconclusive if the p-value of `fresh` is above 0.25. Without a real
    change, the probability that the gate blocks is thus reduced from 5 % to 1.3 % (5 % x 25 %).
    """
    if change.outcome == "degraded" and fresh.p > CONFIRMATION_P:
        return replace(change, outcome="inconclusive")
    return change


def blocks(change: MetricChange, *, strict: bool = False) -> bool:
    """Return whether the change fails the gate.

    A degraded change fails it. If `strict` is true, an inconclusive change fails it too.
    """
    return change.outcome == "degraded" or (strict and change.outcome == "inconclusive")
