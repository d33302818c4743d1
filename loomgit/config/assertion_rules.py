"""Whether an assertion makes sense for its kind of test: names, sorts of values, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.assertion_names import Sort, name_hint, sort_of
from loomgit.domain.assertions import (
    ORDERS,
    Choice,
    Comparison,
    Constant,
    Either,
    Every,
    Name,
    Negation,
    Share,
    Statistic,
    Truth,
)
from loomgit.domain.patterns import BadPattern, check_pattern
from loomgit.domain.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.assertions import Condition, Kind, Operator, Value

NUMBERS = ("score", "number")
OBSERVED = ("min", "max", "count")  # statistics that are compared as they are, without an interval


class Fault(Struct, frozen=True):
    """One thing that makes no sense."""

    place: Place
    message: str
    hint: str | None = None


def faults_of(tree: Condition, kind: Kind) -> list[Fault]:
    """Every fault of an assertion that parses."""
    return list(_condition(tree, kind, inside=""))


def _condition(tree: Condition, kind: Kind, inside: str) -> Iterator[Fault]:
    """`inside` is the function whose condition this is, where there is one."""
    match tree:
        case Comparison():
            yield from _comparison(tree, kind, inside)
        case Truth(name):
            yield from _truth(name, kind, inside)
        case Negation(inner):
            yield from _condition(inner, kind, inside)
        case Every(parts) | Either(parts):
            for part in parts:
                yield from _condition(part, kind, inside)


def _truth(name: Name, kind: Kind, inside: str) -> Iterator[Fault]:
    faults = list(_value(name, kind, inside))
    yield from faults
    sort = sort_of(name, kind)
    if not faults and sort not in ("truth", "any"):
        example = "== 'success'" if sort == "text" else "> 0.9"
        yield Fault(name.place, f"{name} is no condition", f"compare it, as {name} {example}")
    elif not faults and name.root == "output" and not name.path:
        yield Fault(name.place, "output is no condition", "compare it, or name a field of it")


def _comparison(tree: Comparison, kind: Kind, inside: str) -> Iterator[Fault]:
    values = [tree.first, *(value for _, value in tree.links)]
    faults = [fault for value in values for fault in _value(value, kind, inside)]
    yield from faults
    if faults:
        return
    for left, operator, right in tree.pairs:
        if isinstance(left, Constant | Choice) and isinstance(right, Constant | Choice):
            yield Fault(left.place, "compares two constants", "name what is to be compared")
        elif isinstance(left, Statistic | Share) or isinstance(right, Statistic | Share):
            yield from _statistic(left, operator, right, kind)
        else:
            yield from _pair(left, operator, right, kind)


def _value(value: Value, kind: Kind, inside: str) -> Iterator[Fault]:
    """The faults of one value where it stands."""
    match value:
        case Name():
            if sort_of(value, kind) is None:
                noun = "unknown name" if not value.path or _unknown_root(value, kind) else "no"
                message = f"{noun} '{str(value)[:60]}'" + ("" if noun != "no" else " here")
                yield Fault(value.place, message, name_hint(value, kind))
            elif kind == "distributional" and not inside:
                of = "rate" if sort_of(value, kind) in ("truth", "any") else "mean"
                example = f"{of}({value})" if value.root != "output" else f"rate({value} == ...)"
                message = f"{value} has many values here, one for each reply"
                yield Fault(value.place, message, f"write {example}")
        case Statistic(function, of) | Share(function, of):
            if kind != "distributional":
                noun = "one reply at a time" if kind == "unit" else "one run as a whole"
                message = f"{function}() needs many replies; this kind of test judges {noun}"
                yield Fault(value.place, message, "write it in a distributional test")
            elif inside:
                yield Fault(value.place, f"{function}() cannot stand inside {inside}()")
            elif isinstance(value, Share):
                yield from _condition(value.of, kind, function)
            else:
                yield from _quantity(value, kind)


def _unknown_root(name: Name, kind: Kind) -> bool:
    return sort_of(Name(name.root), kind) is None and sort_of(Name(name.root, ("x",)), kind) is None


def _quantity(value: Statistic, kind: Kind) -> Iterator[Fault]:
    faults = list(_value(value.of, kind, value.function))
    yield from faults
    if faults:
        return
    if sort_of(value.of, kind) == "truth":
        message = f"{value.of} is no number"
        yield Fault(value.of.place, message, f"write rate({value.of})")
    elif value.of.root == "output" and not value.of.path:
        yield Fault(value.of.place, "output is no number", "name a field, as output.confidence")


def _statistic(left: Value, operator: Operator, right: Value, kind: Kind) -> Iterator[Fault]:
    """A statistic is held against a number."""
    statistic, other = (left, right) if isinstance(left, Statistic | Share) else (right, left)
    assert isinstance(statistic, Statistic | Share)
    name = statistic.function
    number = isinstance(other, Constant) and _sort(other, kind) == "number"
    if not number:
        yield Fault(other.place, f"{name}() is compared with a number", f"write {name}(...) > 0.5")
    elif operator in ("==", "!=") and name not in OBSERVED:
        message = f"{name}() of samples is never just one number"
        yield Fault(statistic.place, message, "use <, <=, > or >=")
    elif operator not in (*ORDERS, "==", "!="):
        yield Fault(other.place, f"'{operator}' is not for {name}()", "use <, <=, > or >=")
    else:
        yield from _range(_sort(statistic, kind), name, other)


def _pair(left: Value, operator: Operator, right: Value, kind: Kind) -> Iterator[Fault]:
    sorts = _sort(left, kind), _sort(right, kind)
    word = operator.removeprefix("not ")
    if word == "in":
        if not isinstance(right, Choice) and sorts[1] not in ("any", "text"):
            yield Fault(right.place, "expected a list behind 'in'", "write ['a', 'b']")
        return
    for value in (left, right):
        if isinstance(value, Choice):
            yield Fault(value.place, f"a list stands behind 'in', not beside '{operator}'")
            return
    if word == "matches":
        yield from _matching(left, right, sorts[0])
    elif word == "contains":
        if sorts[0] not in ("any", "text"):
            yield Fault(left.place, f"{_shown(left)} is {_a(sorts[0])}: it contains nothing")
    elif operator in ORDERS and None in (_constant(left), _constant(right)):
        wrong = left if _constant(left) is None else right
        yield Fault(wrong.place, f"'{operator}' needs a number or a text")
    else:
        yield from _comparable(left, operator, right, sorts)


def _comparable(
    left: Value, operator: Operator, right: Value, sorts: tuple[Sort, Sort]
) -> Iterator[Fault]:
    null = any(isinstance(value, Constant) and value.value is None for value in (left, right))
    families = {_family(sort) for sort in sorts} - {"any"}
    if operator in ORDERS and "truth" in families:
        value = left if sorts[0] == "truth" else right
        yield Fault(value.place, f"'{operator}' needs a number or a text, not true or false")
    elif len(families) > 1 and not null:
        constant, other = (left, right) if isinstance(left, Constant) else (right, left)
        sort = sorts[1] if other is right else sorts[0]
        hint = None
        if isinstance(constant, Constant) and isinstance(constant.value, str):
            hint = "remove the quotes" if _is_number(constant.value) else None
        yield Fault(constant.place, f"{_shown(other)} is {_a(sort)}, which "
                    f"{_shown(constant)} is not", hint)  # fmt: skip
    else:
        for one, sort, other in ((left, sorts[0], right), (right, sorts[1], left)):
            yield from _range(sort, _shown(one), other)


def _matching(left: Value, right: Value, sort: Sort) -> Iterator[Fault]:
    if sort not in ("any", "text"):
        yield Fault(left.place, f"{_shown(left)} is {_a(sort)}, not a text to match")
    elif not isinstance(right, Constant) or not isinstance(right.value, str):
        yield Fault(right.place, "expected a regular expression in quotes behind 'matches'")
    else:
        try:
            check_pattern(right.value)
        except BadPattern as error:
            yield Fault(right.place, f"not a regular expression: {error}")


def _range(sort: Sort, name: str, other: Value) -> Iterator[Fault]:
    """A score beside 90 was meant as a percentage."""
    if sort != "score" or not isinstance(other, Constant):
        return
    number = other.value
    if isinstance(number, bool | str) or number is None or 0 <= number <= 1:
        return
    hint = f"did you mean {number / 100:g}?" if 1 < number <= 100 else None
    yield Fault(other.place, f"{name} lies between 0 and 1, never at {number:g}", hint)


def _sort(value: Value, kind: Kind) -> Sort:
    match value:
        case Name():
            return sort_of(value, kind) or "any"
        case Constant(constant):
            if isinstance(constant, bool):
                return "truth"
            if constant is None:
                return "any"
            return "text" if isinstance(constant, str) else "number"
        case Share(function):
            return "score" if function == "rate" else "number"
        case Statistic(_, of):
            return sort_of(of, kind) or "any"
        case Choice():
            return "any"


def _constant(value: Value) -> object:
    """The value itself where it is a constant; anything but None where it is not."""
    return value.value if isinstance(value, Constant) else value


def _family(sort: Sort) -> str:
    return "number" if sort in NUMBERS else sort


def _a(sort: Sort) -> str:
    return {"score": "a number", "number": "a number", "text": "a text", "truth": "true or false",
            "any": "anything"}[sort]  # fmt: skip


def _shown(value: Value) -> str:
    match value:
        case Name():
            return str(value)
        case Constant(str(text)):
            return f"'{text[:40]}'"
        case Constant(constant):
            return "null" if constant is None else str(constant).lower()
        case Statistic(function, _) | Share(function, _):
            return f"{function}()"
        case Choice():
            return "a list"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
