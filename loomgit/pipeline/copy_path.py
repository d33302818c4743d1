"""Copies rows from the spool to the destination in large batches, without an object per record.

This is possible if a pipeline has neither a transform nor evaluators, so that each row of the
source is loaded as it is.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.keys import record_key
from loomgit.domain.records import RefusedRow, RowBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.values import Json, JsonObject

PART_ROWS = 10_000  # maximum number of rows in a part
PART_CHARACTERS = 8_000_000  # a part ends when its texts have this length


def loads_rows_unchanged(pipeline: Pipeline, key: Sequence[str]) -> bool:
    """Whether the row to load is the row of the source, and no record can be rejected by a gate."""
    load = pipeline.load
    return (
        pipeline.transform.type == "none"
        and not pipeline.evaluate.evaluators
        and load.schema is None
        and not load.include
        and not load.lineage_columns
        and bool(key)
    )


def copied_parts(
    items: Iterable[JsonObject | RefusedRow | RowBatch],
) -> Iterator[tuple[int, RowBatch | RefusedRow]]:
    """Yield the rows in parts, each with the index of its first row. A refused row is a part.

    The rows of a part have the same fields. `items` are the rows of the spool.
    """
    first = size = 0
    names: tuple[str, ...] = ()
    rows: list[Sequence[Json]] = []
    for item in items:
        is_refused = isinstance(item, RefusedRow)
        batch = None if is_refused else _as_batch(item)  # type: ignore[arg-type]  # not refused
        if rows and (
            batch is None
            or batch.names != names
            or len(rows) + len(batch.rows) > PART_ROWS
            or size > PART_CHARACTERS
        ):
            yield first, RowBatch(names, rows)
            first, rows, size = first + len(rows), [], 0
        if isinstance(item, RefusedRow):
            yield first, item
            first += 1
        elif batch is not None:
            names = batch.names
            rows += batch.rows
            size += _count_characters(batch)
    if rows:
        yield first, RowBatch(names, rows)


def _count_characters(batch: RowBatch) -> int:
    """Return the total length of the texts in a batch. Lists and objects count as their text."""
    count = 0
    for values in zip(*batch.rows, strict=True):
        kinds = set(map(type, values))
        if kinds == {str}:
            count += sum(map(len, values))
        elif kinds <= {str, NoneType}:
            count += sum(map(len, filter(None, values)))
        elif kinds & {str, list, dict}:
            count += sum(len(str(value)) for value in values)
    return count


def _as_batch(item: JsonObject | RowBatch) -> RowBatch:
    return item if isinstance(item, RowBatch) else RowBatch(tuple(item), [list(item.values())])


def batch_keys(batch: RowBatch, key: Sequence[str]) -> list[str] | None:
    """Return the key of each record in a batch; see `record_key`.

    The result is None if a key field is missing, or has no value in one of the rows.
    """
    if not set(key) <= set(batch.names):
        return None
    positions = [batch.names.index(name) for name in key]
    columns = [[row[position] for row in batch.rows] for position in positions]
    kinds = [set(map(type, values)) for values in columns]
    if any(NoneType in found for found in kinds):
        return None
    if any(str in found and "" in values for found, values in zip(kinds, columns, strict=True)):
        return None
    if len(columns) > 1:
        return [record_key(row, key) for row in batch.objects()]
    if kinds[0] == {int}:
        return list(map(str, columns[0]))
    return [
        value if isinstance(value, str) else orjson.dumps(value).decode() for value in columns[0]
    ]


def rows_of(part: RowBatch | RefusedRow) -> Iterator[JsonObject | RefusedRow]:
    """Yield each row of a part as a mapping from the names of its fields to their values."""
    if isinstance(part, RefusedRow):
        yield part
    else:
        yield from part.objects()
