"""Computes the verdict on an assertion over many replies from the outcomes of its claims."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from msgspec import Struct

from loomgit.domain.assertions import (
    FUNCTIONS,
    ComparisonChain,
    Condition,
    Conjunction,
    Constant,
    Disjunction,
    Negation,
    ShareOfReplies,
    Statistic,
    render,
    render_value,
)
from loomgit.domain.samples import CheckResult
from loomgit.harness.assertions import Answer, decide, kind_of, show_number
from loomgit.harness.claims import Claim
from loomgit.harness.value_lookup import Absent, Unmeasured, values_of_sample
from loomgit.harness.verdicts import settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.assertions import Name, Value
    from loomgit.domain.samples import CaseSamples, Sample, Verdict
    from loomgit.domain.suites import OnInconclusive
    from loomgit.harness.claims import JudgedClaim, Operator, Quantity
    from loomgit.stats.interval import Interval
    from loomgit.stats.verdicts import Outcome

ClaimOutcome: TypeAlias = "Outcome | Literal['unverified']"
TOLERANCE = 1e-9  # a smaller difference is a rounding error
UNDECIDED = "inconclusive results fail this test: the evidence supports neither verdict"
_MIRRORED: dict[str, Operator] = {
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
    "==": "==",
    "!=": "!=",
}
_SCORES = re.compile(rf"\b({'|'.join(FUNCTIONS)})\(\s*evaluation_scores?\s*\)")


class Statement(Struct, frozen=True):
    """One line in the result of a test over many replies: a condition that consists of claims.

    `text` is the line as printed. `written` is the assertion as it is written in the test file, or
    "" if this is equal to `text`. `condition` is the syntax tree of the assertion. It is None if
    the line is not an assertion but a single claim, such as a cost limit. `unit` (such as `$`) is
    printed before the value.
    """

    text: str
    claims: tuple[Claim, ...]
    condition: Condition | None = None
    written: str = ""
    unit: str = ""

    def check(self, judged: Sequence[JudgedClaim], inconclusive: OnInconclusive) -> CheckResult:
        """Return the result of this line. `judged` contains the line's judged claims, in order."""
        combined = _combine(self.condition, iter(judged))
        verdict: Verdict = "unverified"
        weak = False
        if combined.outcome != "unverified":
            verdict, weak = settle(
                combined.outcome, holds=combined.holds, inconclusive=inconclusive
            )
        notes = tuple(dict.fromkeys(note for claim in judged for note in claim.notes))
        if combined.outcome == "inconclusive" and inconclusive == "fail":
            notes = (UNDECIDED, *notes)
        interval = judged[0].interval if len(judged) == 1 else None
        if interval and interval.method == "observed":
            interval = None
        return CheckResult(
            text=self.text,
            verdict=verdict,
            actual=", ".join(self._actual(claim, alone=len(judged) == 1) for claim in judged),
            low=interval.low if interval and interval.bounded_below else None,
            high=interval.high if interval and interval.bounded_above else None,
            n=min((claim.interval.n for claim in judged if claim.interval), default=0),
            weak=weak,
            note="; ".join(notes),
            written=self.written,
        )

    def _actual(self, judged: JudgedClaim, *, alone: bool) -> str:
        if judged.interval is None:
            value = "unknown"
        else:
            value = self.unit + _show_estimate(judged.interval, judged.claim.threshold)
        return value if alone else f"{judged.claim.text} {value}"


def _show_estimate(interval: Interval, threshold: float) -> str:
    """Return the estimate as text.

    If rounding would move the number out of its interval, the text has three significant digits.
    """
    text = show_number(interval.estimate, threshold)
    try:
        inside = interval.low - TOLERANCE <= float(text) <= interval.high + TOLERANCE
    except ValueError:  # the estimate is infinite
        return text
    return text if inside else f"{interval.estimate:.3g}"


class _CombinedVerdict(Struct, frozen=True):
    outcome: ClaimOutcome
    holds: bool


def build_statement(text: str, condition: Condition) -> Statement:
    """Return the statement (result line) for an assertion over many replies.

    `mean(evaluation_scores) > 0.75` is printed as `mean_score > 0.75`.
    """
    printed = _SCORES.sub(r"\1_score", " ".join(text.split()))
    claims = tuple(_claims(condition, negated=False))
    return Statement(printed, claims, condition, written="" if printed == text else text)


def _claims(condition: Condition, *, negated: bool) -> Iterator[Claim]:
    match condition:
        case ComparisonChain():
            for left, operator, right in condition.pairs:
                yield _claim(left, cast("Operator", operator), right, negated=negated)
        case Negation(inner):
            yield from _claims(inner, negated=not negated)
        case Conjunction(parts) | Disjunction(parts):
            for part in parts:
                yield from _claims(part, negated=negated)
        case _:
            raise AssertionError(
                f"the condition has no statistic such as mean(...): {render(condition)}"
            )


def _claim(left: Value, operator: Operator, right: Value, *, negated: bool) -> Claim:
    if isinstance(left, Constant):
        left, operator, right = right, _MIRRORED[operator], left
    assert isinstance(left, Statistic | ShareOfReplies)
    assert isinstance(right, Constant)
    assert isinstance(right.value, int | float)
    read = quantity(left.of) if isinstance(left, Statistic) else _condition(left.of)
    lo, hi = _range(left)
    favors_high = operator in (">", ">=", "==")
    return Claim(
        text=_SCORES.sub(r"\1_score", render_value(left)),
        statistic=left.function,
        quantity=read,
        operator=operator,
        threshold=float(right.value),
        lo=lo,
        hi=hi,
        adverse=float(favors_high == negated),
    )


def _range(value: Statistic | ShareOfReplies) -> tuple[float, float]:
    if isinstance(value, ShareOfReplies) or value.of.root in (
        "evaluation_score", "evaluation_scores", "score", "scores",
    ):  # fmt: skip
        return 0.0, 1.0
    is_amount = value.of.root in ("cost", "costs", "latency", "latencies")
    return (0.0 if is_amount else -math.inf), math.inf


def quantity(name: Name) -> Quantity:
    """Return a function that reads the value of a name, such as `cost`, from a sample.

    The function returns Absent if the value is not a number.
    """

    def read(case: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
        value = values_of_sample(case, sample)(name)
        if isinstance(value, Absent | Unmeasured):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        return Absent(f"{name} is {kind_of(value)}, not a number")

    return read


def _condition(condition: Condition) -> Quantity:
    def read(case: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
        finding = decide(condition, values_of_sample(case, sample))
        match finding.answer:
            case Answer.ABSENT:
                return Absent("; ".join(finding.reasons))
            case Answer.UNMEASURED:
                return Unmeasured("; ".join(finding.reasons))
            case answer:
                return float(answer is Answer.YES)

    return read


def _combine(condition: Condition | None, judged: Iterator[JudgedClaim]) -> _CombinedVerdict:
    """Return the verdict on a condition.

    `judged` yields the judged claims, in the same order as `_claims`.
    """
    match condition:
        case None:
            return _single(next(judged))
        case ComparisonChain():
            return _all([_single(next(judged)) for _ in condition.links])
        case Negation(inner):
            return _opposite(_combine(inner, judged))
        case Conjunction(parts):
            return _all([_combine(part, judged) for part in parts])
        case Disjunction(parts):
            return _any([_combine(part, judged) for part in parts])
        case _:
            raise AssertionError(
                f"the condition has no statistic such as mean(...): {render(condition)}"
            )


def _single(judged: JudgedClaim) -> _CombinedVerdict:
    return _CombinedVerdict(judged.outcome, judged.holds)


def _any(verdicts: list[_CombinedVerdict]) -> _CombinedVerdict:
    """Return the verdict on parts joined by `or`, which is the best of their verdicts.

    The order, from best to worst, is: pass, inconclusive but probably true, unverified,
    inconclusive but probably false, fail.
    """
    order = ("pass", "inconclusive", "unverified", "fail")
    best = min(verdicts, key=lambda v: (v.outcome == "inconclusive" and not v.holds,
                                        order.index(v.outcome)))  # fmt: skip
    if best.outcome == "fail":
        best = next((v for v in verdicts if v.outcome == "inconclusive"), best)
    return best


def _all(verdicts: list[_CombinedVerdict]) -> _CombinedVerdict:
    """Return the verdict on parts joined by `and`, which is the worst of their verdicts.

    The order, from worst to best, is: fail, inconclusive but probably false, unverified,
    inconclusive but probably true, pass.
    """
    return _opposite(_any([_opposite(verdict) for verdict in verdicts]))


def _opposite(verdict: _CombinedVerdict) -> _CombinedVerdict:
    opposite: dict[ClaimOutcome, ClaimOutcome] = {"pass": "fail", "fail": "pass"}
    return _CombinedVerdict(opposite.get(verdict.outcome, verdict.outcome), not verdict.holds)
