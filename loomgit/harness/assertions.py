"""Whether a condition holds of one reply or one run, with the values that decide it."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, TypeGuard

from msgspec import Struct

from loomgit.domain.assertions import (
    ORDERS,
    Choice,
    Comparison,
    Constant,
    Either,
    Every,
    Name,
    Negation,
    Truth,
    names_in,
)
from loomgit.domain.gates import show_pair
from loomgit.domain.patterns import matches
from loomgit.domain.values import as_text
from loomgit.harness.facts import Absent, Unmeasured
from loomgit.stats.order import holds

if TYPE_CHECKING:
    from loomgit.domain.assertions import Condition, Operator, Order, Value
    from loomgit.domain.values import Json
    from loomgit.harness.facts import Fact, Facts

LONGEST = 80  # characters of a value that a line shows


class Answer(Enum):
    """Whether a condition holds: yes, no, the reply lacks the value, or nobody measured it."""

    YES = "yes"
    NO = "no"
    ABSENT = "absent"
    UNMEASURED = "unmeasured"


class Finding(Struct, frozen=True):
    """An answer with its reasons, where a value was missing or of the wrong kind."""

    answer: Answer
    reasons: tuple[str, ...] = ()


YES, NO = Finding(Answer.YES), Finding(Answer.NO)
_WORST_FIRST = (Answer.NO, Answer.ABSENT, Answer.UNMEASURED, Answer.YES)
_BEST_FIRST = (Answer.YES, Answer.UNMEASURED, Answer.ABSENT, Answer.NO)
_OPPOSITE = {Answer.YES: Answer.NO, Answer.NO: Answer.YES}


def decide(condition: Condition, facts: Facts) -> Finding:
    """Whether the condition holds of these facts.

    A value that is absent makes neither a comparison nor its opposite hold. Raises TooSlow for a
    regular expression that takes too long.
    """
    match condition:
        case Comparison():
            findings = [_compare(*pair, facts) for pair in condition.pairs]
            return _join(findings, _WORST_FIRST)
        case Truth(name):
            return _truth(name, facts(name))
        case Negation(inner):
            finding = decide(inner, facts)
            answer = _OPPOSITE.get(finding.answer, finding.answer)
            return Finding(answer, finding.reasons)
        case Every(parts):
            return _join([decide(part, facts) for part in parts], _WORST_FIRST)
        case Either(parts):
            return _join([decide(part, facts) for part in parts], _BEST_FIRST)


def _join(findings: list[Finding], order: tuple[Answer, ...]) -> Finding:
    answer = min((finding.answer for finding in findings), key=order.index)
    reasons = (reason for f in findings if f.answer == answer for reason in f.reasons)
    return Finding(answer, tuple(dict.fromkeys(reasons)))


def _missing(*facts: Fact) -> Finding | None:
    for fact in facts:
        if isinstance(fact, Absent):
            return Finding(Answer.ABSENT, (fact.reason,))
    for fact in facts:
        if isinstance(fact, Unmeasured):
            return Finding(Answer.UNMEASURED, (fact.reason,))
    return None


def _truth(name: Name, fact: Fact) -> Finding:
    if missing := _missing(fact):
        return missing
    if isinstance(fact, bool):
        return YES if fact else NO
    assert not isinstance(fact, Absent | Unmeasured)
    return Finding(Answer.ABSENT, (f"{name} is {kind_of(fact)}, neither true nor false",))


def _compare(left: Value, operator: Operator, right: Value, facts: Facts) -> Finding:
    one, two = _fact(left, facts), _fact(right, facts)
    word = operator.removeprefix("not ")
    if operator in ("==", "!=") and None in (one, two):  # what is absent is null
        one, two = (None if isinstance(fact, Absent) else fact for fact in (one, two))
    if missing := _missing(one, two):
        return missing
    assert not isinstance(one, Absent | Unmeasured)
    assert not isinstance(two, Absent | Unmeasured)
    match word:
        case "==" | "!=":
            return YES if equal(one, two) == (word == "==") else NO
        case "contains":
            finding = _contains(one, two, left)
        case "in":
            finding = _contains(two, one, right)
        case "matches":
            finding = YES if matches(str(two), as_text(one)) else NO
        case _:
            return _ordered(left, operator, right, one, two)
    return finding if word == operator else Finding(
        _OPPOSITE.get(finding.answer, finding.answer), finding.reasons
    )  # fmt: skip


def _fact(value: Value, facts: Facts) -> Fact:
    match value:
        case Constant(constant):
            return constant
        case Choice(items):
            return [item.value for item in items]
        case Name():
            return facts(value)
    raise AssertionError(f"a statistic is of many samples: {value}")


def _contains(whole: Json, part: Json, name: Value) -> Finding:
    if isinstance(whole, str):
        return YES if as_text(part) in whole else NO
    if isinstance(whole, list):
        return YES if any(equal(item, part) for item in whole) else NO
    if isinstance(whole, dict):
        return YES if part in whole else NO
    reason = f"{_shown(name)} is {kind_of(whole)}, neither a text nor a list"
    return Finding(Answer.ABSENT, (reason,))


def _ordered(left: Value, operator: Operator, right: Value, one: Json, two: Json) -> Finding:
    assert operator in ORDERS
    if _is_number(one) and _is_number(two):
        return YES if holds(float(one), operator, float(two)) else NO
    if isinstance(one, str) and isinstance(two, str):
        return YES if _in_order(one, operator, two) else NO
    wrong, value = (left, one) if isinstance(left, Name) else (right, two)
    other = two if wrong is left else one
    reason = f"{_shown(wrong)} is {kind_of(value)}, which cannot be compared with {kind_of(other)}"
    return Finding(Answer.ABSENT, (reason,))


def _in_order(one: str, operator: Order, two: str) -> bool:
    match operator:
        case ">":
            return one > two
        case ">=":
            return one >= two
        case "<":
            return one < two
        case "<=":
            return one <= two


def equal(one: Json, two: Json) -> bool:
    """Whether two values are the same: numbers as numbers (1 is 1.0), true is not 1."""
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(equal(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, bool) or isinstance(two, bool):
        return one is two
    return one == two


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind_of(value: Json) -> str:
    """What a value is, in the words of a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value:g}"
    if isinstance(value, str):
        return f"the text {show(value)}"
    return f"a list of {len(value)}" if isinstance(value, list) else "an object"


def _shown(value: Value) -> str:
    return str(value) if isinstance(value, Name) else "the constant"


def show(fact: Fact) -> str:
    """A value as a line shows it, cut where it is long."""
    if isinstance(fact, Absent | Unmeasured):
        return "not there" if isinstance(fact, Absent) else "not measured"
    if _is_number(fact):
        return show_number(float(fact))
    text = f"'{fact}'" if isinstance(fact, str) else as_text(fact)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def show_number(value: float, limit: float | None = None) -> str:
    """A number as a person reads it: two decimals, more where they are needed to tell it from
    `limit` or from zero."""
    if not math.isfinite(value):
        return "infinite" if value > 0 else "-infinite"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value)) if limit is None or limit == int(limit) else f"{value:.2f}"
    if limit is not None and math.isfinite(limit) and abs(value) >= 0.01:
        return show_pair(value, limit, 2)[0]
    return f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def values_in(condition: Condition, facts: Facts) -> str:
    """The values that the names have: `0.72`, or `cost 0.01, latency 2.5` of several."""
    names = list(dict.fromkeys(names_in(condition)))
    shown = {name: show(facts(name)) for name in names}
    if len(names) == 1:
        return shown[names[0]]
    return ", ".join(f"{name} {text}" for name, text in shown.items())
