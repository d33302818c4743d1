"""Syntax trees of assertions, such as `score.tone > 0.9 and not output.text contains 'sorry'`.

`loomgit.config.assertions` parses assertions, and `loomgit.harness` evaluates them. Loom never
executes an assertion as code.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

from loomgit.domain.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["unit", "distributional", "integration"]
Function = Literal["mean", "median", "std", "min", "max", "p50", "p90", "p95", "p99"]
CountFunction = Literal["rate", "count"]
OrderOperator = Literal["<", "<=", ">", ">="]
Operator = Literal[
    "<", "<=", ">", ">=", "==", "!=",
    "contains", "matches", "in", "not contains", "not matches", "not in",
]  # fmt: skip

FUNCTIONS: tuple[Function, ...] = (
    "mean", "median", "std", "min", "max", "p50", "p90", "p95", "p99",
)  # fmt: skip
COUNT_FUNCTIONS: tuple[CountFunction, ...] = ("rate", "count")
ORDERS: tuple[OrderOperator, ...] = ("<", "<=", ">", ">=")
_NOWHERE = Place("")


class Operand(Struct, frozen=True, eq=False):
    """A part of an assertion. `place` is its position (line, column). Equality ignores `place`."""

    def _content(self) -> tuple[object, ...]:
        names = (name for name in self.__struct_fields__ if name != "place")
        return type(self), *(getattr(self, name) for name in names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operand) and self._content() == other._content()

    def __ne__(self, other: object) -> bool:  # the inherited method compares identities
        return not self == other

    def __hash__(self) -> int:
        return hash(self._content())


class Constant(Operand, frozen=True, eq=False):
    """A literal in an assertion: a number, a text, `true`, `false` or `null`."""

    value: bool | float | str | None
    place: Place = _NOWHERE


class Choice(Operand, frozen=True, eq=False):
    """A list of constants: the right operand of `in`."""

    items: tuple[Constant, ...]
    place: Place = _NOWHERE


class Name(Operand, frozen=True, eq=False):
    """A dotted name. `output.items.0.price` has the root `output` and the path `items.0.price`."""

    root: str
    path: tuple[str, ...] = ()
    place: Place = _NOWHERE

    def __str__(self) -> str:
        return ".".join((self.root, *self.path))


class Statistic(Operand, frozen=True, eq=False):
    """A statistic of one quantity over all samples, such as `mean(evaluation_scores)`."""

    function: Function
    of: Name
    place: Place = _NOWHERE


class ShareOfReplies(Operand, frozen=True, eq=False):
    """The fraction (`rate(...)`) or number (`count(...)`) of samples that satisfy a condition."""

    function: CountFunction
    of: Condition
    place: Place = _NOWHERE


Value: TypeAlias = Constant | Choice | Name | Statistic | ShareOfReplies


class ComparisonChain(Struct, frozen=True):
    """One comparison, or a chain of several comparisons.

    `0.5 < score.tone <= 0.9` has the links `< score.tone` and `<= 0.9`.
    """

    first: Value
    links: tuple[tuple[Operator, Value], ...]

    @property
    def pairs(self) -> Iterator[tuple[Value, Operator, Value]]:
        """The individual comparisons (left, operator, right). All of them must hold."""
        left = self.first
        for operator, right in self.links:
            yield left, operator, right
            left = right


class BooleanName(Struct, frozen=True):
    """A name that is a condition by itself, such as `passed` or `output.urgent`."""

    of: Name


class Negation(Struct, frozen=True):
    """`not`: the opposite of a condition."""

    of: Condition


class Conjunction(Struct, frozen=True):
    """`and`: two or more conditions. All of them must hold."""

    of: tuple[Condition, ...]


class Disjunction(Struct, frozen=True):
    """`or`: two or more conditions. At least one of them must hold."""

    of: tuple[Condition, ...]


Condition: TypeAlias = ComparisonChain | BooleanName | Negation | Conjunction | Disjunction


def render(condition: Condition) -> str:
    """Render a condition as text, without unnecessary parentheses.

    The text parses to an equal condition.
    """
    match condition:
        case ComparisonChain(first, links):
            rest = (f" {operator} {render_value(value)}" for operator, value in links)
            return render_value(first) + "".join(rest)
        case BooleanName(name):
            return str(name)
        case Negation(inner):
            return f"not {_parenthesize(inner, Conjunction, Disjunction)}"
        case Conjunction(parts):
            return " and ".join(_parenthesize(part, Conjunction, Disjunction) for part in parts)
        case Disjunction(parts):
            return " or ".join(_parenthesize(part, Disjunction) for part in parts)


def render_value(value: Value) -> str:
    """Render a value in the syntax of assertions."""
    match value:
        case Constant(constant):
            return _render_constant(constant)
        case Choice(items):
            return f"[{', '.join(_render_constant(item.value) for item in items)}]"
        case Statistic(function, of):
            return f"{function}({of})"
        case ShareOfReplies(function, of):
            return f"{function}({render(of)})"
        case Name():
            return str(value)


def _parenthesize(condition: Condition, *types: type[Conjunction] | type[Disjunction]) -> str:
    """Render a condition, in parentheses if it is an instance of one of the `types`."""
    text = render(condition)
    return f"({text})" if isinstance(condition, types) else text


def _render_constant(value: bool | float | str | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return "'" + escaped.replace("\n", "\\n").replace("\t", "\\t") + "'"
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    return str(int(value)) if whole and math.isfinite(value) else repr(float(value))


def names_in(condition: Condition) -> Iterator[Name]:
    """Yield the names in a condition from left to right. A name can occur several times."""
    match condition:
        case ComparisonChain(first, links):
            for value in (first, *(value for _, value in links)):
                match value:
                    case Name():
                        yield value
                    case Statistic():
                        yield value.of
                    case ShareOfReplies():
                        yield from names_in(value.of)
        case BooleanName(name):
            yield name
        case Negation(inner):
            yield from names_in(inner)
        case Conjunction(parts) | Disjunction(parts):
            for part in parts:
                yield from names_in(part)


def evaluators_in(condition: Condition) -> Iterator[tuple[str, Name]]:
    """Yield (evaluator, name) for each `score.NAME` and `scores.NAME` in a condition.

    The evaluator is the text `NAME`. The `place` of the name is its position in the condition.
    """
    for name in names_in(condition):
        if name.root in ("score", "scores"):
            yield ".".join(name.path), name
