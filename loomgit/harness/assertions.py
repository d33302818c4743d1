"""Decides whether a condition holds for one reply or one run, and shows the values behind it."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, TypeGuard

from msgspec import Struct

from loomgit.domain.assertions import (
    ORDERS,
    BooleanName,
    Choice,
    ComparisonChain,
    Conjunction,
    Constant,
    Disjunction,
    Name,
    Negation,
    names_in,
)
from loomgit.domain.gates import render_comparison
from loomgit.domain.user_regex import matches
from loomgit.domain.values import as_text
from loomgit.harness.value_lookup import Absent, Unmeasured
from loomgit.stats.thresholds import holds

if TYPE_CHECKING:
    from loomgit.domain.assertions import Condition, Operator, OrderOperator, Value
    from loomgit.domain.values import Json
    from loomgit.harness.value_lookup import LookupResult, ValueLookup

MAX_SHOWN_LENGTH = 80  # a longer value is cut off after this number of characters


class Answer(Enum):
    """Whether a condition holds.

    The answer is `ABSENT` if the reply lacks a value, and `UNMEASURED` if a value was not measured.
    """

    YES = "yes"
    NO = "no"
    ABSENT = "absent"
    UNMEASURED = "unmeasured"


class Finding(Struct, frozen=True):
    """The result of one condition. `reasons` explains missing values and values of a wrong
    type."""

    answer: Answer
    reasons: tuple[str, ...] = ()


YES, NO = Finding(Answer.YES), Finding(Answer.NO)
_WORST_FIRST = (Answer.NO, Answer.ABSENT, Answer.UNMEASURED, Answer.YES)
_BEST_FIRST = (Answer.YES, Answer.UNMEASURED, Answer.ABSENT, Answer.NO)
_OPPOSITE = {Answer.YES: Answer.NO, Answer.NO: Answer.YES}


def decide(condition: Condition, lookup: ValueLookup) -> Finding:
    """Decide whether the condition holds for the values that `lookup` returns.

    If a value is absent, neither a comparison nor its negation holds. Raises SearchTimeout if a
    regular expression takes too long.
    """
    match condition:
        case ComparisonChain():
            findings = [_compare(*pair, lookup) for pair in condition.pairs]
            return _join(findings, _WORST_FIRST)
        case BooleanName(name):
            return _truth(name, lookup(name))
        case Negation(inner):
            finding = decide(inner, lookup)
            answer = _OPPOSITE.get(finding.answer, finding.answer)
            return Finding(answer, finding.reasons)
        case Conjunction(parts):
            return _join([decide(part, lookup) for part in parts], _WORST_FIRST)
        case Disjunction(parts):
            return _join([decide(part, lookup) for part in parts], _BEST_FIRST)


def _join(findings: list[Finding], order: tuple[Answer, ...]) -> Finding:
    answer = min((finding.answer for finding in findings), key=order.index)
    reasons = (reason for f in findings if f.answer == answer for reason in f.reasons)
    return Finding(answer, tuple(dict.fromkeys(reasons)))


def _find_missing(*values: LookupResult) -> Finding | None:
    for value in values:
        if isinstance(value, Absent):
            return Finding(Answer.ABSENT, (value.reason,))
    for value in values:
        if isinstance(value, Unmeasured):
            return Finding(Answer.UNMEASURED, (value.reason,))
    return None


def _truth(name: Name, value: LookupResult) -> Finding:
    if missing := _find_missing(value):
        return missing
    if isinstance(value, bool):
        return YES if value else NO
    assert not isinstance(value, Absent | Unmeasured)
    return Finding(Answer.ABSENT, (f"{name} is {kind_of(value)}, neither true nor false",))


def _compare(left: Value, operator: Operator, right: Value, lookup: ValueLookup) -> Finding:
    first, second = _look_up(left, lookup), _look_up(right, lookup)
    positive = operator.removeprefix("not ")
    if operator in ("==", "!=") and None in (first, second):  # an absent value equals null
        first, second = (None if isinstance(v, Absent) else v for v in (first, second))
    if missing := _find_missing(first, second):
        return missing
    assert not isinstance(first, Absent | Unmeasured)
    assert not isinstance(second, Absent | Unmeasured)
    match positive:
        case "==" | "!=":
            return YES if equal(first, second) == (positive == "==") else NO
        case "contains":
            finding = _contains(first, second, left)
        case "in":
            finding = _contains(second, first, right)
        case "matches":
            finding = YES if matches(str(second), as_text(first)) else NO
        case _:
            return _compare_order(left, operator, right, first, second)
    return finding if positive == operator else Finding(
        _OPPOSITE.get(finding.answer, finding.answer), finding.reasons
    )  # fmt: skip


def _look_up(value: Value, lookup: ValueLookup) -> LookupResult:
    match value:
        case Constant(constant):
            return constant
        case Choice(items):
            return [item.value for item in items]
        case Name():
            return lookup(value)
    raise AssertionError(f"a statistic cannot be computed from a single sample: {value}")


def _contains(container: Json, part: Json, name: Value) -> Finding:
    if isinstance(container, str):
        return YES if as_text(part) in container else NO
    if isinstance(container, list):
        return YES if any(equal(item, part) for item in container) else NO
    if isinstance(container, dict):
        return YES if part in container else NO
    reason = f"{_describe(name)} is {kind_of(container)}, neither a text nor a list"
    return Finding(Answer.ABSENT, (reason,))


def _compare_order(
    left: Value, operator: Operator, right: Value, first: Json, second: Json
) -> Finding:
    assert operator in ORDERS
    if _is_number(first) and _is_number(second):
        return YES if holds(float(first), operator, float(second)) else NO
    if isinstance(first, str) and isinstance(second, str):
        return YES if _compare_texts(first, operator, second) else NO
    is_left = isinstance(left, Name)
    name, value, other = (left, first, second) if is_left else (right, second, first)
    reason = (
        f"{_describe(name)} is {kind_of(value)}, which cannot be compared with {kind_of(other)}"
    )
    return Finding(Answer.ABSENT, (reason,))


def _compare_texts(first: str, operator: OrderOperator, second: str) -> bool:
    match operator:
        case ">":
            return first > second
        case ">=":
            return first >= second
        case "<":
            return first < second
        case "<=":
            return first <= second


def equal(first: Json, second: Json) -> bool:
    """Return whether two values are equal. 1 equals 1.0, and true does not equal 1."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    return first == second


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind_of(value: Json) -> str:
    """Return a description of a value for a message: `the number 3`, `a list of length 2`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value:g}"
    if isinstance(value, str):
        return f"the text {show(value)}"
    return f"a list of length {len(value)}" if isinstance(value, list) else "an object"


def _describe(value: Value) -> str:
    return str(value) if isinstance(value, Name) else "the constant"


def show(value: LookupResult) -> str:
    """Return a value in one line, cut to MAX_SHOWN_LENGTH characters."""
    if isinstance(value, Absent | Unmeasured):
        return "absent" if isinstance(value, Absent) else "not measured"
    if _is_number(value):
        return show_number(float(value))
    text = f"'{value}'" if isinstance(value, str) else as_text(value)
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_LENGTH else f"{line[: MAX_SHOWN_LENGTH - 1]}…"


def show_number(value: float, limit: float | None = None) -> str:
    """Return a number as readable text.

    A whole number has no decimals if `limit` is None or also whole. Any other number has two
    decimals, or as many as are needed to distinguish the number from `limit` or from zero.
    """
    if not math.isfinite(value):
        return "infinite" if value > 0 else "-infinite"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value)) if limit is None or limit == int(limit) else f"{value:.2f}"
    if limit is not None and math.isfinite(limit) and abs(value) >= 0.01:
        return render_comparison(value, limit, 2)[0]
    return f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def values_in(condition: Condition, lookup: ValueLookup) -> str:
    """Return the values of the names in a condition as text: `cost 0.01, latency 2.5`.

    If there is only one name, the text is only its value: `0.72`.
    """
    names = list(dict.fromkeys(names_in(condition)))
    shown = {name: show(lookup(name)) for name in names}
    if len(names) == 1:
        return shown[names[0]]
    return ", ".join(f"{name} {text}" for name, text in shown.items())
