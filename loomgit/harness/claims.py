"""Claims about many replies. A claim compares a statistic of one quantity with a threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.assertions import CountFunction, Function
from loomgit.harness.value_lookup import Absent, Unmeasured
from loomgit.stats.errors import NoValues
from loomgit.stats.interval import Interval
from loomgit.stats.lazy_numpy import np
from loomgit.stats.means import BCA_FROM, bca_mean, bounded_mean, t_mean, unbounded_mean
from loomgit.stats.quantiles import extreme, quantile_interval, unseen_share
from loomgit.stats.rates import rate_interval
from loomgit.stats.samples import ROUNDING, observed
from loomgit.stats.seeded_random import generator
from loomgit.stats.sequential import SequentialMean
from loomgit.stats.spread import std_interval
from loomgit.stats.thresholds import holds
from loomgit.stats.verdicts import (
    Outcome,
    Verdict,
    needed_n,
    verdict,
    worst_end,
    worst_for_spread,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.suites import Policy
    from loomgit.stats.samples import Floats
    from loomgit.stats.thresholds import Comparison

Operator: TypeAlias = "Comparison | Literal['==', '!=']"
Quantity: TypeAlias = "Callable[[CaseSamples, Sample], float | Absent | Unmeasured]"
QUANTILES = {"median": 0.5, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# These statistics are computed from a condition. If a reply meets the condition, its value is 1,
# else 0.
CONDITION_STATISTICS = ("rate", "count")
MAX_SHOWN_COUNT = 1_000_000  # a larger number of required replies is not shown exactly
MIN_DISTANCE = 1e-9  # a smaller distance from the threshold is a rounding error


class Claim(Struct, frozen=True):
    """The claim that `statistic(quantity) operator threshold` holds, as in `mean(score) > 0.8`.

    `quantity` returns a sample's value, a number in [`lo`, `hi`]. The claim is part of an
    assertion: `adverse` is 0 if low values make the assertion fail, and 1 if high values make it
    fail. If the quantity is a condition, a sample without a value gets the value `adverse`. `text`
    identifies the claim in messages, and is part of the seed for the claim's random numbers.
    """

    text: str
    statistic: Function | CountFunction
    quantity: Quantity
    operator: Operator
    threshold: float
    lo: float = 0.0
    hi: float = 1.0
    adverse: float = 0.0

    @property
    def sequential(self) -> bool:
        """Whether the claim can be tested after each batch of replies, not only after the last."""
        finite = math.isfinite(self.lo) and math.isfinite(self.hi)
        return self.statistic in ("mean", "rate") and finite and self.operator not in ("==", "!=")

    @property
    def comparison(self) -> Comparison:
        """The operator, which must be `<`, `<=`, `>` or `>=`."""
        assert self.operator not in ("==", "!=")
        return cast("Comparison", self.operator)


class Observations(Struct):
    """The values of a claim's quantity, with one row for each case and one value for each sample.

    NaN stands for a lost sample. It also stands for an absent value (missing from the reply), if
    the quantity is not a condition. Unmeasured values are not in the rows. `lost` counts the lost
    samples, `absent` the absent values, and `unmeasured` the unmeasured values. `reasons` maps each
    reason for an absent or unmeasured value to the number of values with this reason.
    """

    rows: list[list[float]] = field(default_factory=list)
    lost: int = 0
    absent: int = 0
    unmeasured: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def unit_values(self, claim: Claim, policy: Policy) -> Floats:
        """Return the values from which the statistic is computed, as a 1-D float array.

        NaN stands for a missing value. If the policy's scope is `suite` or the statistic is
        `count`, the array contains all values. Otherwise, it contains one value for each case. For
        means and rates, this is the mean of the case's row. For all other statistics, such as
        percentiles, it is the first known value of the row. The mean of the row would distort these
        statistics, because means vary less than single values.
        """
        if policy.scope == "suite" or claim.statistic == "count":
            flat = [value for row in self.rows for value in row]
            return np.asarray(flat, dtype=np.float64)
        rows = [[value for value in row if not math.isnan(value)] for row in self.rows if row]
        if claim.statistic in ("mean", "rate"):
            values = [sum(row) / len(row) if row else math.nan for row in rows]
        else:
            values = [row[0] if row else math.nan for row in rows]
        return np.asarray(values, dtype=np.float64)


def observe(claim: Claim, cases: Iterable[CaseSamples]) -> Observations:
    """Return the values of the claim's quantity in all samples of the cases.

    Raises SearchTimeout if a regular expression in a condition takes too long.
    """
    observations = Observations()
    for case in cases:
        row: list[float] = []
        for sample in case.samples:
            value = Unmeasured(sample.failure) if sample.lost else claim.quantity(case, sample)
            if sample.lost:
                observations.lost += 1
                row.append(math.nan)
            elif isinstance(value, Unmeasured):
                observations.unmeasured += 1
                _count(observations.reasons, value.reason)
            elif isinstance(value, Absent):
                observations.absent += 1
                _count(observations.reasons, value.reason)
                row.append(claim.adverse if claim.statistic in CONDITION_STATISTICS else math.nan)
            else:
                row.append(value)
        observations.rows.append(row)
    return observations


def merge(batches: Iterable[Observations]) -> Observations:
    """Combine the observations of several batches."""
    merged = Observations()
    for batch in batches:
        merged.rows += batch.rows
        merged.lost += batch.lost
        merged.absent += batch.absent
        merged.unmeasured += batch.unmeasured
        for reason, count in batch.reasons.items():
            merged.reasons[reason] = merged.reasons.get(reason, 0) + count
    return merged


def _count(reasons: dict[str, int], reason: str) -> None:
    reasons[reason] = reasons.get(reason, 0) + 1


class JudgedClaim(Struct, frozen=True):
    """A claim with its outcome.

    `outcome` takes the uncertainty of the estimate into account. `holds` is true if the point
    estimate itself satisfies the claim. If no value was observed, `interval` is None and `outcome`
    is `unverified` or `fail`.
    """

    claim: Claim
    outcome: Outcome | Literal["unverified"]
    holds: bool
    interval: Interval | None
    notes: tuple[str, ...] = ()


class SequentialClaim:
    """A claim that is tested after each batch of cases.

    The method of the test ensures that repeated tests do not raise the error rate.

    The claim passes only if it also passes after each missing value is replaced by the worst
    possible value.
    """

    __slots__ = ("_observed", "_policy", "_worst_case", "claim")

    def __init__(self, claim: Claim, policy: Policy) -> None:
        self.claim = claim
        self._policy = policy
        self._observed = self._mean()
        self._worst_case = self._mean()

    def _mean(self) -> SequentialMean:
        claim = self.claim
        return SequentialMean(claim.comparison, claim.threshold, lo=claim.lo, hi=claim.hi)

    @property
    def outcome(self) -> Outcome:
        """The current outcome, which is inconclusive while the claim is undecided."""
        if self._observed.outcome == "pass" and self._worst_case.outcome != "pass":
            return "inconclusive"
        return self._observed.outcome

    @property
    def open(self) -> bool:
        """Whether more replies could decide the claim. False if no reply has a value so far."""
        return self.outcome == "inconclusive" and self._observed.n > 0

    def update(self, batch: Observations) -> None:
        """Add the observations of the next batch."""
        values = batch.unit_values(self.claim, self._policy)
        worst = worst_end(self.claim.comparison, self.claim.lo, self.claim.hi)
        self._observed.update(values)
        self._worst_case.update(np.where(np.isnan(values), worst, values))

    def close(self) -> Verdict:
        """Return the final verdict after the last batch. Raises NoValues if no value was
        observed."""
        outcome, worst_case = self._observed.close(), self._worst_case.close()
        if outcome == "pass" and worst_case != "pass":
            outcome = "inconclusive"
        interval = self._observed.interval()
        is_met = holds(interval.estimate, self.claim.comparison, self.claim.threshold)
        return Verdict(outcome, is_met, interval, self._worst_case.n - self._observed.n)


def judge_claim(
    claim: Claim,
    observations: Observations,
    policy: Policy,
    test_id: str,
    closed: Verdict | None = None,
) -> JudgedClaim:
    """Judge a claim by its observations.

    `closed` is the final verdict on a sequential claim, and None for other claims. `test_id` is
    part of the seed for intervals that need random numbers.
    """
    values = observations.unit_values(claim, policy)
    if not np.count_nonzero(~np.isnan(values)):
        return _without_values(claim, observations)
    if claim.operator in ("==", "!=") or claim.statistic in ("min", "max", "count"):
        return _judge_observed(claim, values, observations)
    measure = _interval_function(claim, policy, test_id)
    try:
        result = closed or verdict(
            values, measure, claim.comparison, claim.threshold, _worst_values(claim, values)
        )
    except NoValues:
        return _without_values(claim, observations)
    judged = _without_rounding(claim, result)
    notes = (*_uncertainty_notes(judged, values, closed), *_missing_notes(claim, observations))
    return replace(judged, notes=notes)


def _without_rounding(claim: Claim, result: Verdict) -> JudgedClaim:
    """Return the judged claim.

    If the estimate differs from the threshold only by a rounding error, the estimate is set to the
    threshold.
    """
    interval, threshold = result.interval, claim.threshold
    if abs(interval.estimate - threshold) > ROUNDING * max(1.0, abs(threshold)):
        return JudgedClaim(claim, result.outcome, result.holds, interval)
    is_met = holds(threshold, claim.comparison, threshold)
    return JudgedClaim(claim, result.outcome, is_met, replace(interval, estimate=threshold))


def _worst_values(claim: Claim, values: Floats) -> float | Floats:
    """Return the values to assume for missing replies: the worst ones for the claim."""
    if claim.statistic == "std":
        known = observed(values)
        missing = values.size - known.size
        return worst_for_spread(known, missing, claim.comparison, claim.lo, claim.hi)
    return worst_end(claim.comparison, claim.lo, claim.hi)


def _without_values(claim: Claim, observations: Observations) -> JudgedClaim:
    default = "all replies are missing" if observations.lost else "there are no cases"
    reason = next(iter(observations.reasons), default)
    outcome: Literal["fail", "unverified"] = "fail" if observations.absent else "unverified"
    return JudgedClaim(claim, outcome, holds=False, interval=None, notes=(reason,))


def _judge_observed(claim: Claim, values: Floats, observations: Observations) -> JudgedClaim:
    """Judge a claim about a minimum, a maximum or a count by the observed values alone.

    These statistics have no confidence interval.
    """
    known = values[~np.isnan(values)]
    if claim.statistic == "count":
        total = float(known.sum())
        interval = Interval(total, total, total, known.size, "observed")
    else:
        assert claim.statistic in ("min", "max")
        interval = extreme(known, claim.statistic)
    estimate = interval.estimate
    is_met = (
        (estimate == claim.threshold) == (claim.operator == "==")
        if claim.operator in ("==", "!=")
        else holds(estimate, claim.comparison, claim.threshold)
    )
    notes = _missing_notes(claim, observations)
    if claim.statistic != "count":
        side = "below" if claim.statistic == "min" else "above"
        share = f"{unseen_share(known.size):.2g}"
        notes = (
            f"judged by the observed replies only: up to {share} of all replies may lie {side}",
            *notes,
        )
    return JudgedClaim(claim, "pass" if is_met else "fail", is_met, interval, notes)


def _interval_function(claim: Claim, policy: Policy, test_id: str) -> Callable[[Floats], Interval]:
    """Return the function that computes the interval of the claim's statistic."""
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
        binary = bool(((x == 0) | (x == 1)).all())
        return rate_interval(int(x.sum()), x.size) if binary else bounded_mean(x)

    if claim.statistic in QUANTILES:
        q = QUANTILES[claim.statistic]
        return lambda x: quantile_interval(x, q)
    return {"mean": mean, "std": std, "rate": rate}[claim.statistic]


def _uncertainty_notes(
    judged: JudgedClaim, values: Floats, closed: Verdict | None
) -> Iterable[str]:
    """Yield notes that explain why the outcome is uncertain."""
    claim, interval = judged.claim, judged.interval
    assert interval is not None
    if interval.approximate and judged.outcome != "fail":
        yield f"the interval is approximate ({interval.method})"
    if judged.outcome != "inconclusive":
        return
    if claim.statistic in QUANTILES and not (interval.bounded_above and interval.bounded_below):
        yield f"{interval.n} replies do not bound the {claim.statistic}"
    elif claim.statistic in ("mean", "rate"):
        n = _required_count(claim, values[~np.isnan(values)], interval.estimate)
        shown = f"n >= {n:,.0f}" if n <= MAX_SHOWN_COUNT else "more than a million replies"
        yield f"needs {shown} to be sure"
    if closed is not None:
        yield "the limit max_samples is reached"


def _required_count(claim: Claim, known: Floats, estimate: float) -> float:
    """Return the number of replies that would decide a claim about a mean.

    The result is infinite if the estimate is too close to the threshold.
    """
    if not MIN_DISTANCE <= abs(estimate - claim.threshold) < math.inf:
        return math.inf
    deviation = float(known.std(ddof=1)) if known.size > 1 else 0.0
    return needed_n(deviation, estimate, claim.threshold, claim.lo, claim.hi)


def _missing_notes(claim: Claim, observations: Observations) -> tuple[str, ...]:
    notes = []
    if observations.lost:
        notes.append(f"{observations.lost} lost")
    reason = max(observations.reasons, key=lambda r: observations.reasons[r], default="")
    if observations.absent:
        is_condition = claim.statistic in CONDITION_STATISTICS
        effect = ", which counts against the assertion" if is_condition else ""
        notes.append(f"{observations.absent} lack the value{effect} ({reason})")
    if observations.unmeasured:
        notes.append(f"{observations.unmeasured} not measured ({reason})")
    return tuple(notes)
