"""The window of an incremental extraction: the records that a run reads, and its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.cursors import (
    KINDS_IN_WORDS,
    TIME_KINDS,
    CursorFault,
    CursorPoint,
    initial_point,
    kind_of,
    parse_position,
    possible_kinds,
    render_position,
    require_fitting_settings,
    show_value,
    subtract_lag,
)
from loomgit.domain.keys import find_key
from loomgit.domain.place import Problem
from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.watermarks import (
    DoneRecords,
    digest_values,
    record_digest,
    render_point,
)
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.cursors import CursorKind, CursorSetting, Position
    from loomgit.domain.definitions import Incremental, Pipeline
    from loomgit.domain.records import RowBatch
    from loomgit.domain.values import Json, JsonMapping


class CursorWindow:
    """The records of a source that a run reads: those that are not done.

    `watermark` is the point that earlier runs have reached, or None. `done` are the records at the
    watermark minus the lag, and above, that earlier runs have read.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        incremental: Incremental,
        watermark: CursorPoint | None = None,
        done: DoneRecords | None = None,
    ) -> None:
        self.cursor = incremental.cursor
        self.key: Sequence[str] = pipeline.extract.key
        self.done = done or DoneRecords()
        self._pipeline = pipeline
        self._incremental = incremental
        self._watermark = watermark
        self._start: CursorPoint | None = None
        if watermark is not None:
            self.require_kind(watermark.kind)
            self._start = subtract_lag(watermark, incremental.lag)

    @property
    def start(self) -> CursorPoint | None:
        """The point from which the run reads, or None before a run has set the watermark."""
        return self._start

    @property
    def watermark_text(self) -> str | None:
        """The point that earlier runs have reached, as text, or None."""
        return render_point(self._watermark)

    def start_for(self, kind: CursorKind) -> CursorPoint | None:
        """Return the point from which the run reads a cursor of this kind. None means all records.

        Raises ProblemsFound if the watermark or a setting does not fit this kind.
        """
        self.require_kind(kind)
        if self._watermark is not None and self._watermark.kind != kind:
            raise self.problem(
                "cursor",
                f"'{self.cursor}' is {KINDS_IN_WORDS[kind]}, but the watermark is "
                f"{KINDS_IN_WORDS[self._watermark.kind]}",
                "use --full-refresh to read all records again",
            )
        if self._start is not None:
            return self._start
        try:
            return initial_point(self._incremental, kind)
        except ValueError as fault:
            initial = self._incremental.initial
            message = f"'{initial}' is not a date or time that exists"
            raise self.problem("initial", message) from fault

    def highest_done(self, kind: CursorKind) -> Position | None:
        """Return the highest position of the records that are done, or None.

        Raises ProblemsFound if the records have a cursor of another kind.
        """
        try:
            return self.done.highest(kind)
        except ValueError as fault:
            raise self.problem(
                "cursor",
                f"'{self.cursor}' is {KINDS_IN_WORDS[kind]}, which it was not in earlier runs",
                "use --full-refresh to read all records again",
            ) from fault

    def require_kind(self, kind: CursorKind) -> None:
        """Raise ProblemsFound if `lag` or `initial` does not fit a cursor of this kind."""
        try:
            require_fitting_settings(self._incremental, kind)
        except CursorFault as fault:
            raise self.problem(fault.setting, fault.message, fault.hint) from fault

    def kind_of_first(self, value: Json, record: str) -> CursorKind:
        """Return the kind of the cursor, from the value in the first record.

        `record` is the name of the record in messages. Raises ProblemsFound if the value is not
        comparable, or does not fit the settings or the watermark.
        """
        kind = kind_of(value)
        if kind is None:
            raise self.problem("cursor", f"{record}: {show_value(value)} has no order")
        try:
            kinds = possible_kinds(self._incremental)
        except CursorFault as fault:
            raise self.problem(fault.setting, fault.message, fault.hint) from fault
        if self._watermark is not None:
            kinds = (self._watermark.kind,)
        for possible in kinds:
            if possible == kind or (possible == "text" and isinstance(value, str)):
                return possible
        return kind  # `start_for` reports that it does not fit

    def is_misread(self, value: Json, kind: CursorKind) -> bool:
        """Whether `value` is not text, although the cursor in the first record is text.

        The kind of a cursor must not depend on which record is the first. If `initial` is text, all
        values are text. If the watermark is text, numbers are text, too.
        """
        if kind != "text" or isinstance(self._incremental.initial, str):
            return False
        found = kind_of(value)
        return found in TIME_KINDS or (found == "number" and self._watermark is None)

    def mixed_problem(self, record: str, value: Json, kind: CursorKind) -> ProblemsFound:
        """Return the error for a record whose cursor is not of the same kind as the others."""
        return self.problem(
            "cursor",
            f"{record}: '{self.cursor}' is {show_value(value)}, but other records have "
            f"{KINDS_IN_WORDS[kind]}",
            "give all records a cursor of one type, or select them with extract.query",
        )

    def null_problem(self, record: str, row: JsonMapping) -> ProblemsFound:
        """Return the error for a record without a cursor."""
        if self.cursor not in row:
            return self.problem(
                "cursor",
                f"{record}: no field '{self.cursor}'",
                suggest_or_list(self.cursor, [*row], "it has"),
            )
        return self.problem(
            "cursor",
            f"{record}: '{self.cursor}' has no value",
            "give each record a cursor, or select the records with extract.query",
        )

    def problem(
        self, setting: CursorSetting, message: str, hint: str | None = None
    ) -> ProblemsFound:
        """Return an error at the position of a setting of `extract.incremental`."""
        key = f"extract.incremental.{setting}"
        return ProblemsFound([Problem(self._pipeline.place(key), f"{key}: {message}", hint)])


class CursorReading:
    """The progress of a run that reads the source.

    `highest` is the highest position up to which all records are read or done. `highest_skipped` is
    the highest position of a record that is done. `known_refused` are the digests of the rows that
    could not be read, and that earlier runs have reported.
    """

    def __init__(self) -> None:
        self.kind: CursorKind | None = None
        self.highest: Position | None = None
        self.highest_skipped: Position | None = None
        self.known_refused: list[bytes] = []

    def saw(self, position: Position) -> None:
        """Record that a record with this position was read."""
        self.highest = _higher(self.highest, position)

    def skipped(self, position: Position) -> None:
        """Record that a record with this position was skipped, because it is done."""
        self.highest_skipped = _higher(self.highest_skipped, position)

    def reached_end(self) -> None:
        """Record that the run has read or skipped all records of the source."""
        if self.highest_skipped is not None:
            self.saw(self.highest_skipped)

    @property
    def point(self) -> CursorPoint | None:
        """The highest point of the records that were read, or None."""
        if self.kind is None or self.highest is None:
            return None
        return CursorPoint(self.kind, self.highest)


def _higher(highest: Position | None, position: Position) -> Position:
    if highest is None or position > highest:  # type: ignore[operator]  # of one kind
        return position
    return highest


def name_record(number: int, row: JsonMapping, key: Sequence[str], source: str) -> str:
    """Return the name of a record in messages: its number from 1, its key, and its source."""
    names = key or (["id"] if "id" in row else [])
    shown = ", ".join(f"{name} {show_value(row.get(name))}" for name in names)
    return f"record {number}{f' ({shown})' if shown else ''} of {source}"


def digest_batch(
    batch: RowBatch, window: CursorWindow, kind: CursorKind
) -> list[tuple[str, bytes] | None]:
    """Return the same as `digest_of` for each row of a batch. None stands for an invalid cursor."""
    names = batch.names
    key = [names.index(name) for name in find_key(names, window.key) if name in names]
    cursor = names.index(window.cursor)
    found: list[tuple[str, bytes] | None] = []
    for values in batch.rows:
        try:
            text = render_position(parse_position(values[cursor], kind), kind)
        except ValueError:
            found.append(None)
            continue
        digest = digest_values(text, [values[position] for position in key])
        if digest is None:
            digest = record_digest(dict(zip(names, values, strict=True)), window.key, text)
        found.append((text, digest))
    return found


def digest_of(row: JsonMapping, window: CursorWindow, point: CursorPoint) -> tuple[str, bytes]:
    """Return the text of a record's position, and the record's digest."""
    text = render_position(point.position, point.kind)
    return text, record_digest(row, window.key, text)
