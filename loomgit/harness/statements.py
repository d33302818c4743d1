"""An assertion over many replies: its claims, and what they come to together."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from msgspec import Struct

from loomgit.domain.assertions import (
    FUNCTIONS,
    Comparison,
    Condition,
    Constant,
    Either,
    Every,
    Negation,
    Share,
    Statistic,
    render,
    render_value,
)
from loomgit.domain.samples import Check
from loomgit.harness.assertions import Answer, decide, kind_of, show_number
from loomgit.harness.claims import Claim
from loomgit.harness.facts import Absent, Unmeasured, facts_of_sample
from loomgit.harness.verdicts import settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.assertions import Name, Value
    from loomgit.domain.samples import CaseSamples, Sample, Verdict
    from loomgit.domain.suites import OnInconclusive
    from loomgit.harness.claims import Judged, Operator, Quantity
    from loomgit.stats.interval import Interval
    from loomgit.stats.verdicts import Outcome

Word: TypeAlias = "Outcome | Literal['unverified']"
CLOSE = 1e-9  # what rounding in arithmetic makes of equal values
UNDECIDED = "inconclusive, which fails here: the evidence decides neither way"
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
    """One line of a test over many replies: `text` as printed, `written` as the file has it.

    `condition` is None where the line is a single claim that no assertion stands behind.
    """

    text: str
    claims: tuple[Claim, ...]
    condition: Condition | None = None
    written: str = ""
    unit: str = ""

    def check(self, judged: Sequence[Judged], how: OnInconclusive) -> Check:
        """The line of the result, from what became of the claims, in their order."""
        found = _fold(self.condition, iter(judged))
        verdict: Verdict = "unverified"
        weak = False
        if found.word != "unverified":
            verdict, weak = settle(found.word, holds=found.holds, how=how)
        notes = tuple(dict.fromkeys(note for one in judged for note in one.notes))
        if found.word == "inconclusive" and how == "fail":
            notes = (UNDECIDED, *notes)
        only = judged[0].interval if len(judged) == 1 else None
        if only and only.method == "observed":
            only = None
        return Check(
            text=self.text,
            verdict=verdict,
            actual=", ".join(self._actual(one, alone=len(judged) == 1) for one in judged),
            low=only.low if only and only.bounded_below else None,
            high=only.high if only and only.bounded_above else None,
            n=min((one.interval.n for one in judged if one.interval), default=0),
            weak=weak,
            note="; ".join(notes),
            written=self.written,
        )

    def _actual(self, judged: Judged, *, alone: bool) -> str:
        if judged.interval is None:
            value = "not known"
        else:
            value = self.unit + _between(judged.interval, judged.claim.threshold)
        return value if alone else f"{judged.claim.text} {value}"


def _between(interval: Interval, threshold: float) -> str:
    """The estimate, with as many digits as keep it inside of its interval."""
    text = show_number(interval.estimate, threshold)
    try:
        inside = interval.low - CLOSE <= float(text) <= interval.high + CLOSE
    except ValueError:  # infinite
        return text
    return text if inside else f"{interval.estimate:.3g}"


class _Found(Struct, frozen=True):
    word: Word
    holds: bool


def statement(text: str, condition: Condition) -> Statement:
    """The line of an assertion: `mean(evaluation_scores) > 0.75` prints as `mean_score > 0.75`."""
    printed = _SCORES.sub(r"\1_score", " ".join(text.split()))
    claims = tuple(_claims(condition, negated=False))
    return Statement(printed, claims, condition, written="" if printed == text else text)


def _claims(condition: Condition, *, negated: bool) -> Iterator[Claim]:
    match condition:
        case Comparison():
            for left, operator, right in condition.pairs:
                yield _claim(left, cast("Operator", operator), right, negated=negated)
        case Negation(inner):
            yield from _claims(inner, negated=not negated)
        case Every(parts) | Either(parts):
            for part in parts:
                yield from _claims(part, negated=negated)
        case _:
            raise AssertionError(f"no claim about many replies: {render(condition)}")


def _claim(left: Value, operator: Operator, right: Value, *, negated: bool) -> Claim:
    if isinstance(left, Constant):
        left, operator, right = right, _MIRRORED[operator], left
    assert isinstance(left, Statistic | Share)
    assert isinstance(right, Constant)
    assert isinstance(right.value, int | float)
    read = quantity(left.of) if isinstance(left, Statistic) else _condition(left.of)
    lo, hi = _range(left)
    upwards = operator in (">", ">=") or operator == "=="
    return Claim(
        text=_SCORES.sub(r"\1_score", render_value(left)),
        statistic=left.function,
        quantity=read,
        operator=operator,
        threshold=float(right.value),
        lo=lo,
        hi=hi,
        adverse=float(upwards == negated),
    )


def _range(value: Statistic | Share) -> tuple[float, float]:
    if isinstance(value, Share) or value.of.root in (
        "evaluation_score", "evaluation_scores", "score", "scores",
    ):  # fmt: skip
        return 0.0, 1.0
    known = value.of.root in ("cost", "costs", "latency", "latencies")
    return (0.0 if known else -math.inf), math.inf


def quantity(name: Name) -> Quantity:
    """What a name is in each sample, where that is a number."""

    def read(case: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
        fact = facts_of_sample(case, sample)(name)
        if isinstance(fact, Absent | Unmeasured):
            return fact
        if isinstance(fact, int | float) and not isinstance(fact, bool):
            return float(fact)
        return Absent(f"{name} is {kind_of(fact)}, not a number")

    return read


def _condition(condition: Condition) -> Quantity:
    def read(case: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
        finding = decide(condition, facts_of_sample(case, sample))
        match finding.answer:
            case Answer.ABSENT:
                return Absent("; ".join(finding.reasons))
            case Answer.UNMEASURED:
                return Unmeasured("; ".join(finding.reasons))
            case answer:
                return float(answer is Answer.YES)

    return read


def _fold(condition: Condition | None, judged: Iterator[Judged]) -> _Found:
    """What the claims come to, taken in the order in which `_claims` yields them."""
    match condition:
        case None:
            return _of(next(judged))
        case Comparison():
            return _all([_of(next(judged)) for _ in condition.links])
        case Negation(inner):
            return _turned(_fold(inner, judged))
        case Every(parts):
            return _all([_fold(part, judged) for part in parts])
        case Either(parts):
            return _any([_fold(part, judged) for part in parts])
        case _:
            raise AssertionError(f"no claim about many replies: {render(condition)}")


def _of(judged: Judged) -> _Found:
    return _Found(judged.outcome, judged.holds)


def _any(found: list[_Found]) -> _Found:
    """One suffices: what probably holds says more than what nobody measured."""
    order = ("pass", "inconclusive", "unverified", "fail")
    best = min(found, key=lambda one: (one.word == "inconclusive" and not one.holds,
                                       order.index(one.word)))  # fmt: skip
    if best.word == "fail":
        best = next((one for one in found if one.word == "inconclusive"), best)
    return best


def _all(found: list[_Found]) -> _Found:
    """All are needed: one that probably fails says more than one that nobody measured."""
    return _turned(_any([_turned(one) for one in found]))


def _turned(found: _Found) -> _Found:
    opposite: dict[Word, Word] = {"pass": "fail", "fail": "pass"}
    return _Found(opposite.get(found.word, found.word), not found.holds)
