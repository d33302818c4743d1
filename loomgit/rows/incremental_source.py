"""Reads only the records of a source that earlier runs have not read (`extract.incremental`).

A database leaves out rows below the start of the window where it can compare the cursor. This
module then decides about each row. Therefore, the result does not depend on the source.
"""

from __future__ import annotations

from functools import partial
from heapq import nsmallest
from typing import TYPE_CHECKING

from loomgit.domain.cursor_window import digest_of, name_record
from loomgit.domain.cursors import CursorPoint, parse_position
from loomgit.domain.records import RefusedRow, RowBatch
from loomgit.domain.watermarks import refused_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loomgit.domain.cursor_window import CursorReading, CursorWindow
    from loomgit.domain.cursors import CursorKind, Position
    from loomgit.domain.ports import BatchSource, Source
    from loomgit.domain.values import Json, JsonMapping, JsonObject


class NewRecords:
    """Decides for each row of a source whether the run reads it, and records the progress.

    `shown` is the name of the source in messages.
    """

    def __init__(self, window: CursorWindow, reading: CursorReading, shown: str) -> None:
        self._window = window
        self._reading = reading
        self._shown = shown
        self._known = window.done.counts()
        self._highest_known: Position | None = None
        self._start: CursorPoint | None = None
        self._kind: CursorKind | None = None
        self._number = 0

    def find(self, value: Json, row: Callable[[], JsonMapping]) -> Position | None:
        """Return the position of a row that the run reads, or None for a row that is done.

        `value` is the cursor of the row, which `row` returns.

        Raises ProblemsFound if the row has no cursor, or a cursor that is not comparable with those
        of the other rows.
        """
        self._number += 1
        window, reading = self._window, self._reading
        if value is None or value == "":  # a CSV file cannot distinguish them
            raise window.null_problem(self._name(row()), row())
        kind = self._kind or self._begin(window.kind_of_first(value, self._name(row())))
        try:
            position = parse_position(value, kind)
        except ValueError as fault:
            raise window.mixed_problem(self._name(row()), value, kind) from fault
        if window.is_misread(value, kind):
            raise window.mixed_problem(self._name(row()), value, kind)
        start = self._start
        if start is not None and position < start.position:  # type: ignore[operator]  # of one kind
            return None
        highest = self._highest_known
        if highest is not None and position <= highest:  # type: ignore[operator]
            _, digest = digest_of(row(), window, CursorPoint(kind, position))
            if self._known.get(digest, 0):
                self._known[digest] -= 1
                reading.skipped(position)
                return None
        return position

    def _begin(self, kind: CursorKind) -> CursorKind:
        """Begin with the kind of the first row's cursor, and return the kind."""
        self._start = self._window.start_for(kind)
        self._highest_known = self._window.highest_done(kind)
        self._kind = self._reading.kind = kind
        return kind

    def has_refused(self, row: RefusedRow) -> bool:
        """Whether an earlier run has reported this row, which cannot be read."""
        self._number += 1
        digest = refused_digest(row)
        if not self._known.get(digest, 0):
            return False
        self._known[digest] -= 1
        self._reading.known_refused.append(digest)
        return True

    def _name(self, row: JsonMapping) -> str:
        return name_record(self._number, row, self._window.key, self._shown)


class IncrementalSource:
    """A source with only the records that earlier runs have not read.

    If `limit` is not None, the source has at most this number of records: those with the lowest
    cursors, so that a later run finds the others.
    """

    def __init__(
        self,
        source: Source,
        window: CursorWindow,
        reading: CursorReading,
        *,
        shown: str,
        limit: int | None,
    ) -> None:
        self._source = source
        self._window = window
        self._reading = reading
        self._shown = shown
        self._limit = limit

    def check(self) -> None:
        """Raise UserError or WorldError if the source cannot be read."""
        self._source.check()

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the new rows. Raises ProblemsFound if a cursor is null or not comparable."""
        found = self._new_rows()
        if self._limit is not None:
            found = iter(nsmallest(self._limit, found, key=_order))
        count = 0
        for position, row in found:
            count += 1
            if position is not None:
                self._reading.saw(position)
            yield row
        if count != self._limit:
            self._reading.reached_end()

    def _new_rows(self) -> Iterator[tuple[Position | None, JsonObject | RefusedRow]]:
        records = NewRecords(self._window, self._reading, self._shown)
        for row in self._source.rows():
            if isinstance(row, RefusedRow):
                if not records.has_refused(row):
                    yield None, row
                continue
            position = records.find(row.get(self._window.cursor), partial(dict, row))
            if position is not None:
                yield position, row


class IncrementalBatchSource(IncrementalSource):
    """An incremental source that can also yield its rows in batches."""

    _source: BatchSource

    def batches(self) -> Iterator[RowBatch | RefusedRow]:
        """Yield the same rows as `rows`, in batches. Raises the same errors."""
        records = NewRecords(self._window, self._reading, self._shown)
        for item in self._source.batches():
            if isinstance(item, RefusedRow):
                if not records.has_refused(item):
                    yield item
                continue
            names = item.names
            cursor = names.index(self._window.cursor)  # `check` has found the column
            new: list[Sequence[Json]] = []
            for values in item.rows:
                row = partial(_as_mapping, names, values)
                position = records.find(values[cursor], row)
                if position is not None:
                    self._reading.saw(position)
                    new.append(values)
            if new:
                yield RowBatch(names, new)
        self._reading.reached_end()


def _as_mapping(names: Sequence[str], values: Sequence[Json]) -> JsonMapping:
    return dict(zip(names, values, strict=True))


def _order(item: tuple[Position | None, JsonObject | RefusedRow]) -> tuple[bool, Position]:
    """Return the sort key of a row. Rows without a position come first."""
    position = item[0]
    return (position is not None, 0 if position is None else position)
