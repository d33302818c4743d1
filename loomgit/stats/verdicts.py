"""One-sample verdicts: an interval against a threshold passes, fails or is inconclusive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec import Struct

from loomgit.stats.interval import Interval
from loomgit.stats.laws import ALPHA, Z
from loomgit.stats.order import holds
from loomgit.stats.rates import smallest_sample
from loomgit.stats.samples import observed

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.stats.order import Comparison
    from loomgit.stats.samples import Floats, Values

Outcome = Literal["pass", "fail", "inconclusive"]


class Verdict(Struct, frozen=True):
    """What the evidence says (`outcome`) and what the bare estimate says (`holds`).

    `missing` counts values that were not measured; the interval is of the others.
    """

    outcome: Outcome
    holds: bool
    interval: Interval
    missing: int


def judge(interval: Interval, comparison: Comparison, threshold: float) -> Outcome:
    """Pass if the whole interval satisfies the comparison, fail if no point of it does."""
    up = comparison in (">", ">=")
    worst, best = (interval.low, interval.high) if up else (interval.high, interval.low)
    if holds(worst, comparison, threshold):
        return "pass"
    return "inconclusive" if holds(best, comparison, threshold) else "fail"


def verdict(
    values: Values,
    measure: Callable[[Floats], Interval],
    comparison: Comparison,
    threshold: float,
    worst: float,
) -> Verdict:
    """Judge what `measure` makes of the values that are not missing (NaN).

    A pass that would not be one were every missing value `worst` is inconclusive. `worst` is the
    bad end of the metric's range (`worst_end`); inf where cost or latency have none, so that a
    missing one forbids the pass of a mean. NoValues where all are missing.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    known = observed(x)
    interval = measure(known)
    outcome = judge(interval, comparison, threshold)
    missing = x.size - known.size
    if missing and outcome == "pass":
        feared = measure(np.where(np.isnan(x), worst, x))
        if judge(feared, comparison, threshold) != "pass":
            outcome = "inconclusive"
    return Verdict(outcome, holds(interval.estimate, comparison, threshold), interval, missing)


def worst_end(comparison: Comparison, lo: float, hi: float) -> float:
    """The end of [lo, hi] that satisfies the comparison least."""
    return lo if comparison in (">", ">=") else hi


def needed_n(
    deviation: float,
    estimate: float,
    threshold: float,
    lo: float = 0.0,
    hi: float = 1.0,
    alpha: float = ALPHA,
) -> float:
    """How many values it takes to decide a mean like this one, for "needs n >= ...".

    (1.645 s / |mean - threshold|)^2, and never fewer than equal values would take, against which
    only the unseen at the other end of [lo, hi] speaks (59 for `rate < 0.05` and none bad). inf
    where the mean is the threshold. `deviation` is the standard deviation of the values.
    """
    margin = abs(estimate - threshold)
    if margin == 0:
        return math.inf
    spread = max(1, math.ceil((Z * deviation / margin) ** 2))
    across = lo if estimate > threshold else hi
    if not math.isfinite(across) or not lo < threshold < hi:
        return spread
    return max(spread, smallest_sample((threshold - across) / (estimate - across), alpha))
