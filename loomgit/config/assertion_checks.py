"""Check whether an assertion uses only names, functions and value types that its test allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.assertion_names import ValueType, name_hint, value_type_of
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
    ShareOfReplies,
    Statistic,
)
from loomgit.domain.place import Place
from loomgit.domain.user_regex import InvalidPattern, check_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.assertions import Condition, Kind, Operator, Value

NUMBERS = ("score", "number")
EXACT_STATISTICS = ("min", "max", "count")  # their values are exact, so `==` and `!=` are allowed


class AssertionProblem(Struct, frozen=True):
    """A problem in an assertion with valid syntax, such as a name that the test does not allow."""

    place: Place
    message: str
    hint: str | None = None


def find_problems(tree: Condition, kind: Kind) -> list[AssertionProblem]:
    """Return all problems of a parsed assertion in a test of type `kind`."""
    return list(_check_condition(tree, kind, inside=""))


def _check_condition(tree: Condition, kind: Kind, inside: str) -> Iterator[AssertionProblem]:
    """Yield the problems of a condition.

    `inside` is the name of the function that contains the condition, or empty.
    """
    match tree:
        case ComparisonChain():
            yield from _check_comparison(tree, kind, inside)
        case BooleanName(name):
            yield from _check_truth(name, kind, inside)
        case Negation(inner):
            yield from _check_condition(inner, kind, inside)
        case Conjunction(parts) | Disjunction(parts):
            for part in parts:
                yield from _check_condition(part, kind, inside)


def _check_truth(name: Name, kind: Kind, inside: str) -> Iterator[AssertionProblem]:
    faults = list(_check_value(name, kind, inside))
    yield from faults
    sort = value_type_of(name, kind)
    if not faults and sort not in ("truth", "any"):
        example = f"{name} == 'success'" if sort == "text" else f"{name} > 0.9"
        hint = f"compare it, for example {example}"
        yield AssertionProblem(name.place, f"{name} is not a condition", hint)
    elif not faults and name.root == "output" and not name.path:
        hint = "compare it, or use one of its fields"
        yield AssertionProblem(name.place, "output is not a condition", hint)


def _check_comparison(tree: ComparisonChain, kind: Kind, inside: str) -> Iterator[AssertionProblem]:
    values = [tree.first, *(value for _, value in tree.links)]
    faults = [fault for value in values for fault in _check_value(value, kind, inside)]
    yield from faults
    if faults:
        return
    for left, operator, right in tree.pairs:
        if isinstance(left, Constant | Choice) and isinstance(right, Constant | Choice):
            hint = "compare a name, for example evaluation_score > 0.9"
            yield AssertionProblem(left.place, "the comparison is between two constants", hint)
        elif isinstance(left, Statistic | ShareOfReplies) or isinstance(
            right, Statistic | ShareOfReplies
        ):
            yield from _check_statistic(left, operator, right, kind)
        else:
            yield from _check_pair(left, operator, right, kind)


def _check_value(value: Value, kind: Kind, inside: str) -> Iterator[AssertionProblem]:
    """Yield the problems of one value.

    `inside` is the name of the function that contains the value, or empty.
    """
    match value:
        case Name():
            if value_type_of(value, kind) is None:
                message = f"unknown name '{str(value)[:60]}'"
                yield AssertionProblem(value.place, message, name_hint(value, kind))
            elif kind == "distributional" and not inside:
                statistic = "rate" if value_type_of(value, kind) in ("truth", "any") else "mean"
                example = f"{statistic}({value})"
                if value.root == "output":
                    example = f"rate({value} == ...)"
                message = f"{value} has many values here, one for each reply"
                yield AssertionProblem(value.place, message, f"write {example}")
        case Statistic(function) | ShareOfReplies(function):
            if kind != "distributional":
                subject = "one reply at a time" if kind == "unit" else "one run as a whole"
                message = f"{function}() needs many replies; this kind of test checks {subject}"
                yield AssertionProblem(value.place, message, "move it to a distributional test")
            elif inside:
                yield AssertionProblem(
                    value.place, f"{function}() cannot be used inside {inside}()"
                )
            elif isinstance(value, ShareOfReplies):
                yield from _check_condition(value.of, kind, function)
            else:
                yield from _check_argument(value, kind)


def _check_argument(value: Statistic, kind: Kind) -> Iterator[AssertionProblem]:
    faults = list(_check_value(value.of, kind, value.function))
    yield from faults
    if faults:
        return
    if value_type_of(value.of, kind) == "truth":
        message = f"{value.of} is not a number"
        yield AssertionProblem(value.of.place, message, f"write rate({value.of})")
    elif value.of.root == "output" and not value.of.path:
        hint = "use a field, for example output.confidence"
        yield AssertionProblem(value.of.place, "output is not a number", hint)


def _check_statistic(
    left: Value, operator: Operator, right: Value, kind: Kind
) -> Iterator[AssertionProblem]:
    """Yield the problems of a comparison that calls a function, such as `mean(costs) < 0.1`."""
    statistic, other = (
        (left, right) if isinstance(left, Statistic | ShareOfReplies) else (right, left)
    )
    assert isinstance(statistic, Statistic | ShareOfReplies)
    name = statistic.function
    number = isinstance(other, Constant) and _sort(other, kind) == "number"
    if not number:
        message = f"{name}() must be compared with a number"
        yield AssertionProblem(other.place, message, f"write {name}(...) > 0.5")
    elif operator in ("==", "!=") and name not in EXACT_STATISTICS:
        message = f"{name}() of samples is an estimate, so '{operator}' does not apply to it"
        yield AssertionProblem(statistic.place, message, "use <, <=, > or >=")
    elif operator not in (*ORDERS, "==", "!="):
        message = f"'{operator}' does not apply to {name}()"
        yield AssertionProblem(other.place, message, "use <, <=, > or >=")
    else:
        yield from _check_range(_sort(statistic, kind), name, other)


def _check_pair(
    left: Value, operator: Operator, right: Value, kind: Kind
) -> Iterator[AssertionProblem]:
    sorts = _sort(left, kind), _sort(right, kind)
    word = operator.removeprefix("not ")
    if word == "in":
        if not isinstance(right, Choice) and sorts[1] not in ("any", "text"):
            yield AssertionProblem(right.place, "expected a list after 'in'", "write ['a', 'b']")
        return
    for value in (left, right):
        if isinstance(value, Choice):
            yield AssertionProblem(value.place, f"a list can only follow 'in', not '{operator}'")
            return
    if word == "matches":
        yield from _check_match(left, right, sorts[0])
    elif word == "contains":
        if sorts[0] not in ("any", "text"):
            message = f"{_text_of(left)} is {_type_phrase(sorts[0])}, so 'contains' does not apply"
            yield AssertionProblem(left.place, message)
    elif operator in ORDERS and (_is_null(left) or _is_null(right)):
        null = left if _is_null(left) else right
        yield AssertionProblem(null.place, f"'{operator}' needs a number or text")
    else:
        yield from _check_types(left, operator, right, sorts)


def _check_types(
    left: Value, operator: Operator, right: Value, sorts: tuple[ValueType, ValueType]
) -> Iterator[AssertionProblem]:
    families = {_family(sort) for sort in sorts} - {"any"}
    if operator in ORDERS and "truth" in families:
        value = left if sorts[0] == "truth" else right
        yield AssertionProblem(
            value.place, f"'{operator}' needs a number or text, not true or false"
        )
    elif len(families) > 1 and not (_is_null(left) or _is_null(right)):
        constant, other = (left, right) if isinstance(left, Constant) else (right, left)
        sort = sorts[1] if other is right else sorts[0]
        hint = None
        if isinstance(constant, Constant) and isinstance(constant.value, str):
            hint = "remove the quotes" if _is_number(constant.value) else None
        message = f"{_text_of(other)} is {_type_phrase(sort)}, but {_text_of(constant)} is not"
        yield AssertionProblem(constant.place, message, hint)
    else:
        for value, sort, other in ((left, sorts[0], right), (right, sorts[1], left)):
            yield from _check_range(sort, _text_of(value), other)


def _check_match(left: Value, right: Value, sort: ValueType) -> Iterator[AssertionProblem]:
    if sort not in ("any", "text"):
        message = f"{_text_of(left)} is {_type_phrase(sort)}, so 'matches' does not apply"
        yield AssertionProblem(left.place, message)
    elif not isinstance(right, Constant) or not isinstance(right.value, str):
        yield AssertionProblem(
            right.place, "expected a regular expression in quotes after 'matches'"
        )
    else:
        try:
            check_pattern(right.value)
        except InvalidPattern as error:
            yield AssertionProblem(right.place, f"invalid regular expression: {error}")


def _check_range(sort: ValueType, name: str, other: Value) -> Iterator[AssertionProblem]:
    """Yield a problem if a score is compared with a number below 0 or above 1.

    `name` describes the score in the message. For a number such as 90, the hint suggests 0.9.
    """
    if sort != "score" or not isinstance(other, Constant):
        return
    number = other.value
    if isinstance(number, bool | str) or number is None or 0 <= number <= 1:
        return
    hint = f"did you mean {number / 100:g}?" if 1 < number <= 100 else None
    yield AssertionProblem(other.place, f"{name} is always from 0 to 1, never {number:g}", hint)


def _sort(value: Value, kind: Kind) -> ValueType:
    match value:
        case Name():
            return value_type_of(value, kind) or "any"
        case Constant(constant):
            if isinstance(constant, bool):
                return "truth"
            if constant is None:
                return "any"
            return "text" if isinstance(constant, str) else "number"
        case ShareOfReplies(function):
            return "score" if function == "rate" else "number"
        case Statistic(_, of):
            return value_type_of(of, kind) or "any"
        case Choice():
            return "any"


def _is_null(value: Value) -> bool:
    return isinstance(value, Constant) and value.value is None


def _family(sort: ValueType) -> str:
    return "number" if sort in NUMBERS else sort


def _type_phrase(sort: ValueType) -> str:
    return {"score": "a number", "number": "a number", "text": "text", "truth": "true or false",
            "any": "anything"}[sort]  # fmt: skip


def _text_of(value: Value) -> str:
    match value:
        case Name():
            return str(value)
        case Constant(str(text)):
            return f"'{text[:40]}'"
        case Constant(constant):
            return "null" if constant is None else str(constant).lower()
        case Statistic(function, _) | ShareOfReplies(function, _):
            return f"{function}()"
        case Choice():
            return "a list"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
