"""The fields that a unit test expects of an output: equal, at least, at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.assertions import Comparison, Constant, Name, Operator, render_value
from loomgit.domain.values import Json, as_text
from loomgit.harness.assertions import NO, YES, Answer, Finding, decide, equal
from loomgit.harness.facts import Absent, has, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.samples import Sample
    from loomgit.domain.values import JsonMapping

BOUNDS: Mapping[str, Operator] = {"min_": ">=", "max_": "<="}
REFERENCE = "expected_"  # begins the name of what is there for the evaluators


class Expectation(Struct, frozen=True):
    """One field of `expected` and what it should be.

    `bounded` is the field that a `min_X` or `max_X` speaks of, None for any other key.
    """

    path: tuple[str, ...]
    value: Json
    bounded: str | None = None
    operator: Operator = "=="

    @property
    def text(self) -> str:
        """The line as printed: `confidence >= 0.9`."""
        target = ".".join((*self.path[:-1], self.bounded or self.path[-1]))
        return f"{target} {self.operator} {_written(self.value)}"

    def find(self, sample: Sample) -> Json | Absent:
        """The value that the output has there."""
        literal = self.bounded is None or self._literal(sample)
        last = self.path[-1] if literal or self.bounded is None else self.bounded
        return walk(sample.output, Name("output", (*self.path[:-1], last)), "output")

    def holds(self, sample: Sample) -> Finding:
        """Whether the output is as expected; where null is, an absent field will do."""
        found = self.find(sample)
        if isinstance(found, Absent):
            return YES if self.value is None else Finding(Answer.ABSENT, (found.reason,))
        if self.bounded is None or self._literal(sample):
            return YES if equal(found, self.value) else NO
        assert isinstance(self.value, int | float | str)
        target = Name("output", (*self.path[:-1], self.bounded))
        comparison = Comparison(target, ((self.operator, Constant(self.value)),))
        return decide(comparison, lambda _: found)

    def _literal(self, sample: Sample) -> bool:
        """Whether `min_X` is itself a field of this output, which has no X."""
        if self.bounded is None:
            return False
        bounded = (*self.path[:-1], self.bounded)
        return has(sample.output, self.path) and not has(sample.output, bounded)

    def concerns(self, sample: Sample) -> bool:
        """Whether this is about the output: `expected_X` may be there for an evaluator alone."""
        if not self.path[-1].startswith(REFERENCE):
            return True
        return has(sample.output, self.path)


def _written(value: Json) -> str:
    return as_text(value) if isinstance(value, list | dict) else render_value(Constant(value))


def expectations(expected: JsonMapping, above: tuple[str, ...] = ()) -> Iterator[Expectation]:
    """The single fields that are expected; a map is about the fields of an object in the output."""
    for key, value in expected.items():
        path = (*above, key)
        prefix, field = key[:4], key[4:]
        if isinstance(value, dict) and value:
            yield from expectations(value, path)
        elif prefix in BOUNDS and field and _bounds(value):
            yield Expectation(path, value, field, BOUNDS[prefix])
        else:
            yield Expectation(path, value)


def _bounds(value: Json) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)
