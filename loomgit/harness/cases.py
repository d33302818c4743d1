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
    """A test case: a record that a test sends through the pipeline.

    `key` is a hash of everything that can change the scores of the case. `definition` is a hash of
    only the input and the evaluation settings (evaluators, judge).
    """

    __test__ = False  # pytest must not collect this class

    record: Record
    key: str
    definition: str

    @property
    def id(self) -> str:
        """The id of the case in results: the key of its record."""
        return self.record.key


def unit_case(
    unit: UnitCase,
    evaluators: Iterable[EvaluatorSpec],
    identify: Callable[[Record], tuple[str, str]],
) -> TestCase:
    """Return the test case of a unit test.

    `identify` returns the key and the definition of a record. The definition of the case also
    covers the expected values. It does not cover bounds (`min_X`, `max_X`) and assertions, because
    they have no effect on the scores.
    """
    record = Record(0, f"{UNIT_PREFIX}{unit.name}", with_references(unit, evaluators))
    key, definition = identify(record)
    expected = [
        [line.path, line.value] for line in expectations(unit.expected) if line.bounded is None
    ]
    return TestCase(record, key, digest([definition, sorted(expected)]))


def with_references(unit: UnitCase, evaluators: Iterable[EvaluatorSpec]) -> JsonObject:
    """Return the input of a unit test, plus the reference fields that the evaluators read.

    If the input lacks a reference field, its value is copied from `expected`.
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
    """Return a tuple with the expected value of a field, or None if `expected` lacks the field.

    The result is a tuple, so that an expected null differs from a missing field. If `expected` has
    no field with exactly this name, the function looks for the name with the prefix `expected_`,
    and then for the name without this prefix.
    """
    names = (field, f"{PREFIX}{field}", field.removeprefix(PREFIX))
    return next(((expected[name],) for name in names if name in expected), None)


def data_case(record: Record, identify: Callable[[Record], tuple[str, str]]) -> TestCase:
    """Return the test case of one record in a data set.

    `identify` returns the key and the definition of a record.
    """
    return TestCase(record, *identify(record))


def shuffled(records: Sequence[Record]) -> list[Record]:
    """Return the records in a pseudo-random order that is the same in every run.

    The records are sorted by a hash of their keys, and their indices are renumbered. If a record is
    added or removed, the other records keep their order. Therefore, the first n records are mostly
    the same in two versions of a data set.
    """
    ordered = sorted(records, key=lambda record: _hash(record.key))
    return [replace(record, index=index) for index, record in enumerate(ordered)]


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
