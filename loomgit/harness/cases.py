"""Which cases a test file asks for, in which order, how often; pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.keys import digest
from loomgit.domain.records import Record
from loomgit.domain.samples import UNIT
from loomgit.harness.expected import expectations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.suites import UnitCase
    from loomgit.domain.values import Json, JsonObject

PREFIX = "expected_"


class TestCase(Struct, frozen=True):
    """A case to be asked: `key` hashes all that can change its scores, `definition` the question
    alone; its id is the record's key."""

    __test__ = False  # the name is the field's word, not a test of ours

    record: Record
    key: str
    definition: str

    @property
    def id(self) -> str:
        """What the case is called in results."""
        return self.record.key


def unit_case(
    unit: UnitCase,
    evaluators: Iterable[EvaluatorSpec],
    identify: Callable[[Record], tuple[str, str]],
) -> TestCase:
    """A unit test's case: its question is also what it expects. Limits and assertions are not in
    it: they decide over the same output."""
    record = Record(0, f"{UNIT}{unit.name}", referenced(unit, evaluators))
    key, definition = identify(record)
    wanted = [
        [line.path, line.value] for line in expectations(unit.expected) if line.bounded is None
    ]
    return TestCase(record, key, digest([definition, sorted(wanted)]))


def referenced(unit: UnitCase, evaluators: Iterable[EvaluatorSpec]) -> JsonObject:
    """The input, with the reference fields that it lacks taken from what is expected."""
    given: JsonObject = dict(unit.input)
    for spec in evaluators:
        field = spec.config.get("reference_field")
        if not isinstance(field, str) or field in given:
            continue
        found = _expected(unit.expected, field)
        if found is not None:
            given[field] = found[0]
    return given


def _expected(expected: Mapping[str, Json], field: str) -> tuple[Json] | None:
    """What is expected under a field's name, with or without `expected_` before it."""
    names = (field, f"{PREFIX}{field}", field.removeprefix(PREFIX))
    return next(((expected[name],) for name in names if name in expected), None)


def data_case(record: Record, identify: Callable[[Record], tuple[str, str]]) -> TestCase:
    """The case of a data set's record."""
    return TestCase(record, *identify(record))


def shuffled(records: Sequence[Record]) -> list[Record]:
    """The records in an order that has nothing to do with theirs, and is the same every time.

    By a hash of each record's key: a record that comes or goes moves no other, so that two
    versions of a data set share the cases of their first n.
    """
    ordered = sorted(records, key=lambda record: _rank(record.key))
    return [replace(record, index=index) for index, record in enumerate(ordered)]


def _rank(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
