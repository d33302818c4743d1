"""A claim about many replies: a statistic of one quantity, held against a number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.assertions import Function, Tally
from loomgit.harness.facts import Absent, Unmeasured
from loomgit.stats.draws import generator
from loomgit.stats.faults import NoValues
from loomgit.stats.interval import Interval
from loomgit.stats.means import BCA_FROM, bca_mean, bounded_mean, t_mean, unbounded_mean
from loomgit.stats.order import holds
from loomgit.stats.quantiles import extreme, quantile_interval, unseen_share
from loomgit.stats.rates import rate_interval
from loomgit.stats.samples import ROUNDING
from loomgit.stats.sequential import SequentialMean
from loomgit.stats.spread import std_interval
from loomgit.stats.verdicts import Outcome, Verdict, needed_n, verdict, worst_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.suites import Policy
    from loomgit.stats.order import Comparison
    from loomgit.stats.samples import Floats

Operator: TypeAlias = "Comparison | Literal['==', '!=']"
Quantity: TypeAlias = "Callable[[CaseSamples, Sample], float | Absent | Unmeasured]"
QUANTILES = {"median": 0.5, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
COUNTED = ("rate", "count")  # of conditions: their quantity is 1 where the condition holds, else 0
MANY = 1_000_000  # more replies than anybody draws
CLOSEST = 1e-9  # what is nearer to its threshold differs by rounding


class Claim(Struct, frozen=True):
    """`statistic` of `quantity`, which lies in [lo, hi], stands in `operator` to `threshold`.

    `adverse` says which values speak against the assertion that the claim is a part of: 0 the low
    ones, 1 the high ones; an absent value of a condition counts as that. `text` names it in seeds
    and messages.
    """

    text: str
    statistic: Function | Tally
    quantity: Quantity
    operator: Operator
    threshold: float
    lo: float = 0.0
    hi: float = 1.0
    adverse: float = 0.0

    @property
    def sequential(self) -> bool:
        """Whether the claim can be decided while replies are drawn."""
        finite = math.isfinite(self.lo) and math.isfinite(self.hi)
        return self.statistic in ("mean", "rate") and finite and self.operator not in ("==", "!=")

    @property
    def comparison(self) -> Comparison:
        """The operator, where it is one of order."""
        assert self.operator not in ("==", "!=")
        return cast("Comparison", self.operator)


class Observed(Struct):
    """What a claim's quantity was: a row of values for each case, NaN where a sample was lost.

    `absent` counts values that the replies lacked, `unmeasured` those that nobody measured.
    """

    rows: list[list[float]] = field(default_factory=list)
    lost: int = 0
    absent: int = 0
    unmeasured: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def units(self, claim: Claim, policy: Policy) -> Floats:
        """What the statistic is of: every value, or of a population one for each case.

        A case's value is its mean; for a quantile or a spread, which means would narrow, its first.
        """
        if policy.scope == "suite" or claim.statistic == "count":
            flat = [value for row in self.rows for value in row]
            return np.asarray(flat, dtype=np.float64)
        rows = [[value for value in row if not math.isnan(value)] for row in self.rows if row]
        if claim.statistic in ("mean", "rate"):
            kept = [sum(row) / len(row) if row else math.nan for row in rows]
        else:
            kept = [row[0] if row else math.nan for row in rows]
        return np.asarray(kept, dtype=np.float64)


def observe(claim: Claim, cases: Iterable[CaseSamples]) -> Observed:
    """Read the claim's quantity off every sample of the cases. TooSlow as conditions raise it."""
    seen = Observed()
    for case in cases:
        row: list[float] = []
        for sample in case.samples:
            value = Unmeasured(sample.failure) if sample.lost else claim.quantity(case, sample)
            if sample.lost:
                seen.lost += 1
                row.append(math.nan)
            elif isinstance(value, Unmeasured):
                seen.unmeasured += 1
                _count(seen.reasons, value.reason)
            elif isinstance(value, Absent):
                seen.absent += 1
                _count(seen.reasons, value.reason)
                row.append(claim.adverse if claim.statistic in COUNTED else math.nan)
            else:
                row.append(value)
        seen.rows.append(row)
    return seen


def merge(parts: Iterable[Observed]) -> Observed:
    """What was observed in several batches, as one."""
    whole = Observed()
    for part in parts:
        whole.rows += part.rows
        whole.lost += part.lost
        whole.absent += part.absent
        whole.unmeasured += part.unmeasured
        for reason, count in part.reasons.items():
            whole.reasons[reason] = whole.reasons.get(reason, 0) + count
    return whole


def _count(reasons: dict[str, int], reason: str) -> None:
    reasons[reason] = reasons.get(reason, 0) + 1


class Judged(Struct, frozen=True):
    """What became of a claim: the outcome by the evidence, and by the estimate alone (`holds`).

    `interval` is None where nothing was observed; then `outcome` is `unverified` or `fail`.
    """

    claim: Claim
    outcome: Outcome | Literal["unverified"]
    holds: bool
    interval: Interval | None
    notes: tuple[str, ...] = ()


class Question:
    """A claim that is asked again after every batch of cases, without paying for the asking.

    A pass counts only if it would be one with every lost sample at the worst end of the range.
    """

    __slots__ = ("_feared", "_known", "_policy", "claim")

    def __init__(self, claim: Claim, policy: Policy) -> None:
        self.claim = claim
        self._policy = policy
        self._known = self._mean()
        self._feared = self._mean()

    def _mean(self) -> SequentialMean:
        claim = self.claim
        return SequentialMean(claim.comparison, claim.threshold, lo=claim.lo, hi=claim.hi)

    @property
    def outcome(self) -> Outcome:
        """The verdict so far, inconclusive while it is open."""
        if self._known.outcome == "pass" and self._feared.outcome != "pass":
            return "inconclusive"
        return self._known.outcome

    @property
    def open(self) -> bool:
        """Whether more replies could decide it: not where none so far had any value."""
        return self.outcome == "inconclusive" and self._known.n > 0

    def update(self, seen: Observed) -> None:
        """Take in the next batch."""
        units = seen.units(self.claim, self._policy)
        bad = worst_end(self.claim.comparison, self.claim.lo, self.claim.hi)
        self._known.update(units)
        self._feared.update(np.where(np.isnan(units), bad, units))

    def close(self) -> Verdict:
        """The last word when no more is drawn. NoValues where nothing was observed."""
        outcome, feared = self._known.close(), self._feared.close()
        if outcome == "pass" and feared != "pass":
            outcome = "inconclusive"
        interval = self._known.interval()
        kept = holds(interval.estimate, self.claim.comparison, self.claim.threshold)
        return Verdict(outcome, kept, interval, self._feared.n - self._known.n)


def judge_claim(
    claim: Claim, seen: Observed, policy: Policy, test_id: str, closed: Verdict | None = None
) -> Judged:
    """Judge a claim on what was observed; `closed` is the word of a sequence, where there was one.

    `test_id` seeds the intervals that need random numbers.
    """
    units = seen.units(claim, policy)
    if not np.count_nonzero(~np.isnan(units)):
        return _nothing(claim, seen)
    if claim.operator in ("==", "!=") or claim.statistic in ("min", "max", "count"):
        return _as_observed(claim, units, seen)
    measure = _measure(claim, policy, test_id)
    try:
        found = closed or verdict(units, measure, claim.comparison, claim.threshold, _worst(claim))
    except NoValues:
        return _nothing(claim, seen)
    judged = _at_the_threshold(claim, found)
    return replace(judged, notes=(*_doubts(judged, units, closed), *_gaps(claim, seen)))


def _at_the_threshold(claim: Claim, found: Verdict) -> Judged:
    """The verdict; an estimate that misses the threshold by binary fractions alone is on it."""
    interval, threshold = found.interval, claim.threshold
    if abs(interval.estimate - threshold) > ROUNDING * max(1.0, abs(threshold)):
        return Judged(claim, found.outcome, found.holds, interval)
    kept = holds(threshold, claim.comparison, threshold)
    return Judged(claim, found.outcome, kept, replace(interval, estimate=threshold))


def _worst(claim: Claim) -> float:
    if claim.statistic == "std":  # far from the rest is worst, whichever way; `hi` serves
        return claim.hi
    return worst_end(claim.comparison, claim.lo, claim.hi)


def _nothing(claim: Claim, seen: Observed) -> Judged:
    reason = next(iter(seen.reasons), "no reply came back" if seen.lost else "there are no cases")
    outcome: Literal["fail", "unverified"] = "fail" if seen.absent else "unverified"
    return Judged(claim, outcome, holds=False, interval=None, notes=(reason,))


def _as_observed(claim: Claim, units: Floats, seen: Observed) -> Judged:
    """A verdict about these replies alone: extremes and counts cannot be estimated."""
    known = units[~np.isnan(units)]
    if claim.statistic == "count":
        total = float(known.sum())
        interval = Interval(total, total, total, known.size, "observed")
    else:
        assert claim.statistic in ("min", "max")
        interval = extreme(known, claim.statistic)
    estimate = interval.estimate
    kept = (
        (estimate == claim.threshold) == (claim.operator == "==")
        if claim.operator in ("==", "!=")
        else holds(estimate, claim.comparison, claim.threshold)
    )
    notes = _gaps(claim, seen)
    if claim.statistic != "count":
        side = "below" if claim.statistic == "min" else "above"
        share = f"{unseen_share(known.size):.2g}"
        notes = (f"as observed: up to {share} of all replies may lie {side}", *notes)
    return Judged(claim, "pass" if kept else "fail", kept, interval, notes)


def _measure(claim: Claim, policy: Policy, test_id: str) -> Callable[[Floats], Interval]:
    """The interval that the statistic has: statistics.md, section 1, as functions."""
    lo, hi = claim.lo, claim.hi

    def mean(x: Floats) -> Interval:
        if not np.isfinite(x).all():
            return bounded_mean(x, lo, hi)
        if policy.ci == "t":
            return t_mean(x)
        rng = generator(test_id, claim.text)
        if policy.ci == "bca":
            return bca_mean(x, rng)
        if math.isfinite(hi):
            return bounded_mean(x, lo, hi)
        if lo == 0.0:
            return unbounded_mean(x, rng)
        return bca_mean(x, rng) if x.size >= BCA_FROM else bounded_mean(x, lo, hi)

    def std(x: Floats) -> Interval:
        if np.isinf(x).any():
            return Interval(math.inf, 0.0, math.inf, x.size, "bayesian bootstrap")
        return std_interval(x, generator(test_id, claim.text), lo, hi)

    def rate(x: Floats) -> Interval:
        whole = bool(((x == 0) | (x == 1)).all())
        return rate_interval(int(x.sum()), x.size) if whole else bounded_mean(x)

    if claim.statistic in QUANTILES:
        q = QUANTILES[claim.statistic]
        return lambda x: quantile_interval(x, q)
    return {"mean": mean, "std": std, "rate": rate}[claim.statistic]


def _doubts(judged: Judged, units: Floats, closed: Verdict | None) -> Iterable[str]:
    """What keeps the verdict from being sure."""
    claim, interval = judged.claim, judged.interval
    assert interval is not None
    if interval.approximate and judged.outcome != "fail":
        yield f"the interval is approximate ({interval.method})"
    if judged.outcome != "inconclusive":
        return
    if claim.statistic in QUANTILES and not (interval.bounded_above and interval.bounded_below):
        yield f"{interval.n} replies do not bound the {claim.statistic}"
    elif claim.statistic in ("mean", "rate"):
        n = _needed(claim, units[~np.isnan(units)], interval.estimate)
        shown = f"n >= {n:,.0f}" if n <= MANY else "more than a million replies"
        yield f"needs {shown} to be sure"
    if closed is not None:
        yield "as many as max_samples allows were drawn"


def _needed(claim: Claim, known: Floats, estimate: float) -> float:
    """How many replies would decide a claim about a mean."""
    if not CLOSEST <= abs(estimate - claim.threshold) < math.inf:
        return math.inf
    deviation = float(known.std(ddof=1)) if known.size > 1 else 0.0
    return needed_n(deviation, estimate, claim.threshold, claim.lo, claim.hi)


def _gaps(claim: Claim, seen: Observed) -> tuple[str, ...]:
    notes = []
    if seen.lost:
        notes.append(f"{seen.lost} lost")
    reason = max(seen.reasons, key=lambda r: seen.reasons[r], default="")
    if seen.absent:
        how = " and count against it" if claim.statistic in COUNTED else ""
        notes.append(f"{seen.absent} have no such value{how} ({reason})")
    if seen.unmeasured:
        notes.append(f"{seen.unmeasured} not measured ({reason})")
    return tuple(notes)
