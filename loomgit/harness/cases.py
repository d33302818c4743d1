"""The test cases of a test file, and their order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.keys import digest
from loomgit.domain.records import Record
from loomgit.domain.samples import UNIT_PREFIX
from loomgit.harness.expected import expectations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.suites import UnitCase
    from loomgit.domain.values import Json, JsonObject

PREFIX = "expected_"


class TestCase(Struct, frozen=True):
    """A test case. Its id is the key of the record.

    `key` is the hash of everything that can change the scores of the case. `definition` is the hash
    of the question alone.
    """

    __test__ = False  # pytest must not collect this class

    record: Record
    key: str
    definition: str

    @property
    def id(self) -> str:
        """The id of the case in results."""
        return self.record.key


def unit_case(
    unit: UnitCase,
    evaluators: Iterable[EvaluatorSpec],
    identify: Callable[[Record], tuple[str, str]],
) -> TestCase:
    """Return the case of a unit test.

    The definition of the case contains the expected values, but no bounds and no assertions,
    because these judge the output without changing the question.
    """
    record = Record(0, f"{UNIT_PREFIX}{unit.name}", with_references(unit, evaluators))
    key, definition = identify(record)
    expected = [
        [line.path, line.value] for line in expectations(unit.expected) if line.bounded is None
    ]
    return TestCase(record, key, digest([definition, sorted(expected)]))


def with_references(unit: UnitCase, evaluators: Iterable[EvaluatorSpec]) -> JsonObject:
    """Return the input of a unit test, completed by the reference fields of the evaluators.

    Reference fields that are missing in the input are taken from `expected`.
    """
    fields: JsonObject = dict(unit.input)
    for spec in evaluators:
        field = spec.config.get("reference_field")
        if not isinstance(field, str) or field in fields:
            continue
        value = _expected_value(unit.expected, field)
        if value is not None:
            fields[field] = value[0]
    return fields


def _expected_value(expected: Mapping[str, Json], field: str) -> tuple[Json] | None:
    """Return the expected value of a field in a tuple, or None if the field has no expected value.
    The prefix `expected_` of the field's name is optional."""
    names = (field, f"{PREFIX}{field}", field.removeprefix(PREFIX))
    return next(((expected[name],) for name in names if name in expected), None)


def data_case(record: Record, identify: Callable[[Record], tuple[str, str]]) -> TestCase:
    """Return the case of a record of a data set."""
    return TestCase(record, *identify(record))


def shuffled(records: Sequence[Record]) -> list[Record]:
    """Return the records in a random order that never changes.

    The order follows a hash of each record's key. If a record is added or removed, the others keep
    their order, so two versions of a data set share most of their first n cases.
    """
    ordered = sorted(records, key=lambda record: _hash(record.key))
    return [replace(record, index=index) for index, record in enumerate(ordered)]


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
