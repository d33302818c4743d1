"""Verdicts on one set of values: pass, fail or inconclusive, from an interval and a threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loomgit.stats.distributions import ALPHA, Z
from loomgit.stats.interval import Interval
from loomgit.stats.lazy_numpy import np
from loomgit.stats.rates import smallest_sample
from loomgit.stats.samples import observed
from loomgit.stats.thresholds import holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.stats.samples import Floats, Values
    from loomgit.stats.thresholds import Comparison

Outcome = Literal["pass", "fail", "inconclusive"]


class Verdict(Struct, frozen=True):
    """The verdict on one claim.

    `outcome` depends on the whole interval. `holds` is true if the estimate in the interval
    satisfies the claim. `missing` is the number of missing values. The interval is computed without
    these values.
    """

    outcome: Outcome
    holds: bool
    interval: Interval
    missing: int


def judge(interval: Interval, comparison: Comparison, threshold: float) -> Outcome:
    """Compare an interval with a threshold, and return the outcome.

    The outcome is pass if all values in the interval satisfy the comparison, and fail if none of
    them does. In all other cases, the outcome is inconclusive.
    """
    is_minimum = comparison in (">", ">=")
    worst, best = (interval.low, interval.high) if is_minimum else (interval.high, interval.low)
    if holds(worst, comparison, threshold):
        return "pass"
    return "inconclusive" if holds(best, comparison, threshold) else "fail"


def verdict(
    values: Values,
    measure: Callable[[Floats], Interval],
    comparison: Comparison,
    threshold: float,
    worst: float | Floats,
) -> Verdict:
    """Return the verdict on the values. `measure` computes the interval that is judged.

    Missing values (NaN) are left out first. If the outcome is pass, the values are judged again
    with `worst` in place of each missing value. If the second outcome is not pass, the verdict is
    inconclusive. Raises NoValues if all values are missing.

    `worst` is the bad end of the metric's range (`worst_end`). For cost and latency, it is inf,
    because they have no maximum. It can also be an array with one value for each missing value.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    known = observed(x)
    interval = measure(known)
    outcome = judge(interval, comparison, threshold)
    missing = x.size - known.size
    if missing and outcome == "pass":
        x = x.copy()
        x[np.isnan(x)] = worst
        if judge(measure(x), comparison, threshold) != "pass":
            outcome = "inconclusive"
    return Verdict(outcome, holds(interval.estimate, comparison, threshold), interval, missing)


def worst_end(comparison: Comparison, lo: float, hi: float) -> float:
    """Return the worst end of [lo, hi] for the comparison: `lo` for > and >=, else `hi`."""
    return lo if comparison in (">", ">=") else hi


def worst_for_spread(
    known: Floats, missing: int, comparison: Comparison, lo: float, hi: float
) -> Floats:
    """Return the values in [lo, hi] that are worst for a standard deviation, shape (missing,).

    For < and <=, they give the largest standard deviation. The variance is convex in each value, so
    every returned value is `lo` or `hi`. All possible numbers of `hi` are tried. For > and >=, all
    values are the mean of the known values, which gives the smallest standard deviation.
    """
    if comparison in (">", ">="):
        return np.full(missing, known.mean())
    if not np.isfinite((lo, hi)).all():
        return np.full(missing, hi)
    high = np.arange(missing + 1)
    total = known.sum() + high * hi + (missing - high) * lo
    squares = (known**2).sum() + high * hi**2 + (missing - high) * lo**2
    variance = squares - total**2 / (known.size + missing)
    values = np.full(missing, lo)
    values[: int(variance.argmax())] = hi
    return values


def needed_n(
    deviation: float,
    estimate: float,
    threshold: float,
    lo: float = 0.0,
    hi: float = 1.0,
    alpha: float = ALPHA,
) -> float:
    """Return how many values are needed for a verdict on this mean (hint `needs n >= ...`).

    The number is (1.645 s / |mean - threshold|)^2, where s is `deviation`, the standard deviation
    of the values. Even if all values are equal, a minimum number is needed, because unseen values
    may lie at the other end of [lo, hi]. The result is never below this minimum. For example, the
    minimum for `rate < 0.05` is 59 if no value is bad. The result is inf if the mean equals the
    threshold.
    """
    margin = abs(estimate - threshold)
    if margin == 0:
        return math.inf
    spread = max(1, math.ceil((Z * deviation / margin) ** 2))
    other_end = lo if estimate > threshold else hi
    if not math.isfinite(other_end) or not lo < threshold < hi:
        return spread
    return max(spread, smallest_sample((threshold - other_end) / (estimate - other_end), alpha))
