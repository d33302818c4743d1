"""Assertions as trees: what `evaluation_score > 0.9 and not output.text contains 'sorry'` says.

`loomgit.config.assertions` parses them, `loomgit.harness` evaluates them; nothing is ever executed.
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
Tally = Literal["rate", "count"]
Order = Literal["<", "<=", ">", ">="]
Operator = Literal[
    "<", "<=", ">", ">=", "==", "!=",
    "contains", "matches", "in", "not contains", "not matches", "not in",
]  # fmt: skip

FUNCTIONS: tuple[Function, ...] = (
    "mean", "median", "std", "min", "max", "p50", "p90", "p95", "p99",
)  # fmt: skip
TALLIES: tuple[Tally, ...] = ("rate", "count")
ORDERS: tuple[Order, ...] = ("<", "<=", ">", ">=")
_NOWHERE = Place("")


class Part(Struct, frozen=True, eq=False):
    """A part of an assertion that knows its `place`: two are equal wherever they stand."""

    def _words(self) -> tuple[object, ...]:
        names = (name for name in self.__struct_fields__ if name != "place")
        return type(self), *(getattr(self, name) for name in names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self._words() == other._words()

    def __ne__(self, other: object) -> bool:  # Struct's own compares identities
        return not self == other

    def __hash__(self) -> int:
        return hash(self._words())


class Constant(Part, frozen=True, eq=False):
    """A number, a text, `true`, `false` or `null`, as written in the assertion."""

    value: bool | float | str | None
    place: Place = _NOWHERE


class Choice(Part, frozen=True, eq=False):
    """A list of constants, for `in`."""

    items: tuple[Constant, ...]
    place: Place = _NOWHERE


class Name(Part, frozen=True, eq=False):
    """A dotted name: `output.items.0.price` has the root `output` and the rest as its path."""

    root: str
    path: tuple[str, ...] = ()
    place: Place = _NOWHERE

    def __str__(self) -> str:
        return ".".join((self.root, *self.path))


class Statistic(Part, frozen=True, eq=False):
    """A function of one quantity over all samples: `mean(evaluation_scores)`."""

    function: Function
    of: Name
    place: Place = _NOWHERE


class Share(Part, frozen=True, eq=False):
    """How many samples satisfy a condition: `rate(...)` of all, or `count(...)` of them."""

    function: Tally
    of: Condition
    place: Place = _NOWHERE


Value: TypeAlias = Constant | Choice | Name | Statistic | Share


class Comparison(Struct, frozen=True):
    """A value against others: `0.5 < score.tone <= 0.9` has two links, most have one."""

    first: Value
    links: tuple[tuple[Operator, Value], ...]

    @property
    def pairs(self) -> Iterator[tuple[Value, Operator, Value]]:
        """The single comparisons, all of which must hold."""
        left = self.first
        for operator, right in self.links:
            yield left, operator, right
            left = right


class Truth(Struct, frozen=True):
    """A name that is true or false by itself: `passed`, `output.urgent`."""

    of: Name


class Negation(Struct, frozen=True):
    """`not`: true where the condition is not."""

    of: Condition


class Every(Struct, frozen=True):
    """`and`: two conditions or more, all of which must hold."""

    of: tuple[Condition, ...]


class Either(Struct, frozen=True):
    """`or`: two conditions or more, one of which must hold."""

    of: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Truth | Negation | Every | Either


def render(condition: Condition) -> str:
    """The condition as text that parses to it again, in the language's plainest form."""
    match condition:
        case Comparison(first, links):
            rest = (f" {operator} {render_value(value)}" for operator, value in links)
            return render_value(first) + "".join(rest)
        case Truth(name):
            return str(name)
        case Negation(inner):
            return f"not {_inside(inner, Every, Either)}"
        case Every(parts):
            return " and ".join(_inside(part, Every, Either) for part in parts)
        case Either(parts):
            return " or ".join(_inside(part, Either) for part in parts)


def render_value(value: Value) -> str:
    """A value as the assertion would write it."""
    match value:
        case Constant(constant):
            return _render_constant(constant)
        case Choice(items):
            return f"[{', '.join(_render_constant(item.value) for item in items)}]"
        case Statistic(function, of):
            return f"{function}({of})"
        case Share(function, of):
            return f"{function}({render(of)})"
        case Name():
            return str(value)


def _inside(condition: Condition, *loose: type[Every] | type[Either]) -> str:
    text = render(condition)
    return f"({text})" if isinstance(condition, loose) else text


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
    """Every name that the condition mentions, in its order, as often as it does."""
    match condition:
        case Comparison(first, links):
            for value in (first, *(value for _, value in links)):
                match value:
                    case Name():
                        yield value
                    case Statistic():
                        yield value.of
                    case Share():
                        yield from names_in(value.of)
        case Truth(name):
            yield name
        case Negation(inner):
            yield from names_in(inner)
        case Every(parts) | Either(parts):
            for part in parts:
                yield from names_in(part)


def evaluators_in(condition: Condition) -> Iterator[tuple[str, Name]]:
    """The evaluators that `score.NAME` and `scores.NAME` ask for, with where they stand."""
    for name in names_in(condition):
        if name.root in ("score", "scores"):
            yield ".".join(name.path), name
