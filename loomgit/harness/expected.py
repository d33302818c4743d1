"""The fields that a unit test expects in an output, with their values or bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.assertions import ComparisonChain, Constant, Name, Operator, render_value
from loomgit.domain.values import Json, as_text
from loomgit.harness.assertions import NO, YES, Answer, Finding, decide, equal
from loomgit.harness.value_lookup import Absent, find_value, has_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.samples import Sample
    from loomgit.domain.values import JsonMapping

BOUNDS: Mapping[str, Operator] = {"min_": ">=", "max_": "<="}
REFERENCE = "expected_"  # the name prefix of reference fields, which evaluators read


class Expectation(Struct, frozen=True):
    """An entry in the `expected` map of a unit test: an output field and its value or bound.

    `path` contains the keys from the outermost map to the entry. If the last key is `min_X` or
    `max_X`, `bounded` is the name X. For any other key, it is None.
    """

    path: tuple[str, ...]
    value: Json
    bounded: str | None = None
    operator: Operator = "=="

    @property
    def text(self) -> str:
        """The expectation as printed: `confidence >= 0.9`."""
        name = ".".join((*self.path[:-1], self.bounded or self.path[-1]))
        return f"{name} {self.operator} {_render(self.value)}"

    def find(self, sample: Sample) -> Json | Absent:
        """Return the value of the expected or bounded field in the output."""
        literal = self.bounded is None or self._literal(sample)
        last = self.path[-1] if literal or self.bounded is None else self.bounded
        return find_value(sample.output, Name("output", (*self.path[:-1], last)), "output")

    def holds(self, sample: Sample) -> Finding:
        """Decide whether the output meets the expectation. An absent field equals null."""
        value = self.find(sample)
        if isinstance(value, Absent):
            return YES if self.value is None else Finding(Answer.ABSENT, (value.reason,))
        if self.bounded is None or self._literal(sample):
            return YES if equal(value, self.value) else NO
        assert isinstance(self.value, int | float | str)
        target = Name("output", (*self.path[:-1], self.bounded))
        comparison = ComparisonChain(target, ((self.operator, Constant(self.value)),))
        return decide(comparison, lambda _: value)

    def _literal(self, sample: Sample) -> bool:
        """Return whether the output has a field named `min_X` (or `max_X`), but no field X."""
        if self.bounded is None:
            return False
        bounded = (*self.path[:-1], self.bounded)
        return has_path(sample.output, self.path) and not has_path(sample.output, bounded)

    def concerns(self, sample: Sample) -> bool:
        """Return whether the expectation applies to the output.

        An entry named `expected_X` may be a reference that only evaluators use. Therefore, such an
        expectation applies only if the output has a field that is also named `expected_X`.
        """
        if not self.path[-1].startswith(REFERENCE):
            return True
        return has_path(sample.output, self.path)


def _render(value: Json) -> str:
    return as_text(value) if isinstance(value, list | dict) else render_value(Constant(value))


def expectations(expected: JsonMapping, parent: tuple[str, ...] = ()) -> Iterator[Expectation]:
    """Yield each expected field. A nested map describes the fields of an object in the output."""
    for key, value in expected.items():
        path = (*parent, key)
        prefix, field = key[:4], key[4:]
        if isinstance(value, dict) and value:
            yield from expectations(value, path)
        elif prefix in BOUNDS and field and _can_bound(value):
            yield Expectation(path, value, field, BOUNDS[prefix])
        else:
            yield Expectation(path, value)


def _can_bound(value: Json) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)
