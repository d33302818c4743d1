"""The records that an incremental run has finished, and those that it has lost to outages."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from loomgit.domain.cursor_window import digest_of
from loomgit.domain.cursors import CursorPoint, parse_position
from loomgit.domain.keys import find_key, record_key
from loomgit.domain.records import RefusedRow
from loomgit.domain.watermarks import refused_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.cursor_window import CursorWindow
    from loomgit.domain.cursors import CursorKind
    from loomgit.domain.values import JsonMapping
    from loomgit.domain.watermarks import DoneRecords
    from loomgit.pipeline.run_parts import SpooledRecords


class FinishedRecords:
    """The records of a run that are done, by their indexes in the spool.

    Each record needs one byte of memory.
    """

    def __init__(self) -> None:
        self._done = bytearray()

    def __len__(self) -> int:
        return sum(self._done)

    def add(self, first: int, count: int = 1) -> None:
        """Record that `count` records from the index `first` are done."""
        done = self._done
        if len(done) < first + count:
            done.extend(bytes(first + count - len(done)))
        done[first : first + count] = b"\1" * count

    def forget_replaced(self, spool: SpooledRecords, key: Sequence[str]) -> None:
        """Forget the records that come after a record with the same key that is not done.

        A later run then loads these records again, in their order. Otherwise, it would replace the
        row of the last one with that of an earlier one. `key` are the configured key fields.
        """
        if len(self) == spool.count:
            return
        fields = find_key(spool.fields, key)
        lost: set[str] = set()
        for index, row in enumerate(spool.rows()):
            if isinstance(row, RefusedRow):
                continue
            with suppress(KeyError):  # a record without a key has failed
                name = record_key(row, fields)
                if not self._is_done(index):
                    lost.add(name)
                elif name in lost:
                    self._done[index] = 0

    def lowest_lost(
        self, spool: SpooledRecords, window: CursorWindow, kind: CursorKind | None
    ) -> CursorPoint | None:
        """Return the lowest point of the records that are not done, or None if all are done."""
        if len(self) == spool.count:
            return None
        lost = (
            point
            for index, row in enumerate(spool.rows())
            if not self._is_done(index)
            and not isinstance(row, RefusedRow)
            and (point := find_point(row, window, kind)) is not None
        )
        return min(lost, default=None, key=position_of)

    def add_to(
        self,
        done: DoneRecords,
        spool: SpooledRecords,
        window: CursorWindow,
        kind: CursorKind | None,
        start: CursorPoint | None,
    ) -> None:
        """Add the records that are done to `done`, except the records below `start`."""
        for row in self._rows(spool):
            if isinstance(row, RefusedRow):
                done.add(None, refused_digest(row))
                continue
            point = find_point(row, window, kind)
            if point is not None and (start is None or position_of(point) >= start.position):
                done.add(*digest_of(row, window, point))

    def _rows(self, spool: SpooledRecords) -> Iterator[JsonMapping | RefusedRow]:
        for index, row in enumerate(spool.rows()):
            if self._is_done(index):
                yield row

    def _is_done(self, index: int) -> bool:
        return index < len(self._done) and self._done[index] == 1


def find_point(
    row: JsonMapping, window: CursorWindow, kind: CursorKind | None
) -> CursorPoint | None:
    """Return the point of a record, or None if it has no cursor of this kind.

    This is possible for a record of the quarantine, from before a change of the cursor.
    """
    if kind is None:
        return None
    try:
        return CursorPoint(kind, parse_position(row.get(window.cursor), kind))
    except ValueError:
        return None


def position_of(point: CursorPoint) -> Any:  # noqa: ANN401 - the positions of a kind are comparable
    """Return the position of a point, as a sort key."""
    return point.position
