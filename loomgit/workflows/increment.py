"""The incremental extraction of a run: reads the watermark, and sets it after the load.

A run reads the records that are not done (`loomgit.domain.watermarks`). A complete run sets the
watermark to the highest cursor that it has read, but not above the lowest cursor of a record that
it has lost to an outage. A run that is not complete does not move the watermark. The records that
it has loaded are remembered, so that a later run does not load them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.cursor_window import CursorReading, CursorWindow, digest_batch, digest_of
from loomgit.domain.cursors import (
    as_parameter,
    first_parameter,
    kind_of,
    parse_position,
    subtract_lag,
)
from loomgit.domain.runs import WatermarkChange
from loomgit.domain.watermarks import (
    MOST_REMEMBERED,
    DoneRecords,
    LoadedParts,
    SourceProgress,
    Watermark,
    render_point,
)
from loomgit.errors import UserError, WorldError
from loomgit.workflows.finished_records import FinishedRecords, find_point, position_of
from loomgit.workflows.source_warning import find_source_warning
from loomgit.workflows.started_increment import StartedIncrement, find_started, save_started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from loomgit.domain.cursors import CursorPoint
    from loomgit.domain.definitions import Incremental, Pipeline
    from loomgit.domain.ports import LoadReceipt
    from loomgit.domain.records import Record, RecordOutcome, RefusedRow, RowBatch
    from loomgit.domain.values import JsonObject
    from loomgit.domain.watermarks import WatermarkStore
    from loomgit.pipeline.run_parts import SpooledRecords

    SpoolItems = Iterator[JsonObject | RefusedRow | RowBatch]
    OpenSpool = Callable[[SpoolItems], SpooledRecords]

_FULL_REFRESH = "use `loom run --full-refresh` to read all records again"


class Increment:
    """The incremental extraction of one run; see the docstring of this module.

    If `only_remembers` is true, the run reads no source but records of the quarantine. It does not
    move the watermark. The records that it loads are remembered.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        incremental: Incremental,
        store: WatermarkStore,
        target: str,
        *,
        full_refresh: bool,
        only_remembers: bool,
    ) -> None:
        self.pipeline = pipeline
        self._incremental = incremental
        self._store = store
        self._target = target
        self._full_refresh = full_refresh
        self._only_remembers = only_remembers
        self._uid = ""
        self._stored = SourceProgress()
        self._watermark = Watermark(incremental.cursor)
        self._other_runs: tuple[str, ...] = ()
        self._folder: Path | None = None
        self._finished = FinishedRecords()
        self._after: str | None = None
        self._again: set[str] = set()  # the keys of lost records, whose later records are not done
        self.reading = CursorReading()
        self.window = CursorWindow(pipeline, incremental)
        self.loaded: LoadedParts | None = None

    # -- the start of a run

    def load(self) -> None:
        """Read the watermark. Raises UserError if the run cannot continue from it, or WorldError.

        Raises UserError also if the destination was removed since a run has loaded into it.
        """
        self._stored = stored = self._store.load()
        self._other_runs = tuple(stored.parts)
        ignores = self._full_refresh
        watermark = None if ignores else stored.watermark
        if watermark is None:
            watermark = Watermark(self._incremental.cursor)
        if watermark.cursor != self._incremental.cursor:
            raise self.window.problem(
                "cursor",
                f"the watermark belongs to the cursor '{watermark.cursor}'",
                _FULL_REFRESH,
            )
        has_loaded = watermark.has_rows or (bool(stored.parts) and not ignores)
        if has_loaded and not stored.has_destination and not self._only_remembers:
            raise UserError(
                f"{self.pipeline.place('load.destination')}: load.destination: "
                f"{self.pipeline.load.destination} was removed since runs have loaded into it",
                hint=f"restore it, or {_FULL_REFRESH}",
            )
        done = DoneRecords.unpack(watermark.done)
        for run in () if ignores else stored.parts:
            for part in stored.parts[run]:
                done.add_all(DoneRecords.unpack(part))
        self._begin_with(watermark, done)

    def find_warning(self, now: datetime) -> str:
        """Return a warning if the watermark is probably not the intended one, or ""."""
        if self._only_remembers or self._full_refresh:
            return ""
        return find_source_warning(self.pipeline, self._watermark, self._stored, now)

    def _begin_with(self, watermark: Watermark, done: DoneRecords) -> None:
        self._watermark = watermark
        self._after = watermark.value
        self.reading = CursorReading()
        if self._only_remembers:
            self.reading.kind = watermark.kind
        self.window = CursorWindow(self.pipeline, self._incremental, watermark.point, done)

    def _bounded(self, done: DoneRecords, verb: str) -> DoneRecords:
        """Return the records, or no records if they are too many and the mode is `upsert`.

        To load them again changes nothing then. Raises UserError in mode `append`.
        """
        if len(done) <= MOST_REMEMBERED:
            return done
        if self.pipeline.load.mode == "upsert":
            return DoneRecords()
        raise UserError(
            f"{self.pipeline.place('extract.incremental')}: extract.incremental: to {verb} each "
            f"record once, Loom would have to remember more than {MOST_REMEMBERED:,} records",
            hint="continue an unfinished run with --resume, use a shorter lag or a cursor whose "
            "values differ more, or use mode: upsert",
        )

    def begin(self, uid: str, folder: Path, *, has_spool: bool) -> None:
        """Begin an attempt, while the destination is locked. Reads the watermark again.

        `uid` is the uid of the first attempt, and `folder` is the folder of the run. If `has_spool`
        is true, an earlier attempt has completed the extraction. Raises UserError if another run
        has loaded records since then, because this run would load them again.
        """
        self._uid, self._folder = uid, folder
        self._store.check()
        self.load()
        if self._store.stores_parts:
            self.loaded = LoadedParts(uid, self.pipeline.name, self._target)
        started = find_started(folder) if has_spool else None
        if started is None:
            self._begin_with(self._watermark, self._bounded(self.window.done, "read"))
            return
        others = {*self._stored.parts} - {uid, *started.other_runs}
        if self._stored_run not in (started.stored_run, uid) or others:
            raise UserError(
                f"the run cannot be resumed: another run of {self.pipeline.name} has loaded "
                "records since",
                hint="start a new run without --resume: it reads the records that are missing",
            )
        self._other_runs = started.other_runs
        self._begin_with(started.watermark, DoneRecords.unpack(started.watermark.done))
        reading = self.reading
        reading.kind, reading.known_refused = started.kind, [*started.known_refused]
        if started.kind is not None and started.highest is not None:
            reading.highest = parse_position(started.highest, started.kind)

    def published_before(self, folder: Path) -> bool:
        """Whether the run with this folder has published rows, but not set the watermark.

        No process works on the run. Its rows would be loaded twice in the mode `append`.
        """
        store = self._store
        if store.stores_parts or self.pipeline.load.mode != "append":
            return False
        started = find_started(folder)
        if started is None or not store.has_published(folder):
            return False
        return started.stored_run == self._stored_run

    @property
    def _stored_run(self) -> str:
        stored = self._stored.watermark
        return "" if stored is None else stored.run

    @property
    def parameter(self) -> date | int | float | str | None:
        """The value of `{{ watermark }}` in a query: the lowest cursor that the run reads."""
        start = self.window.start
        return first_parameter(self._incremental) if start is None else as_parameter(start)

    # -- the extraction

    def checking(self, open_spool: OpenSpool) -> OpenSpool:
        """Return `open_spool`, extended by a check of the records before any is processed.

        It raises UserError if the records to remember are too many.
        """

        def opened(rows: SpoolItems) -> SpooledRecords:
            spool = open_spool(rows)
            self._require_memory(spool)
            return spool

        return opened

    def _require_memory(self, spool: SpooledRecords) -> None:
        if self.reading.point is None or self.pipeline.load.mode != "append":
            return
        if len(self.window.done) + spool.count > MOST_REMEMBERED:
            everything = FinishedRecords()
            everything.add(0, spool.count)
            self._bounded(self._remembered(spool, everything, self._highest()), "load")

    def keeping(self, keep_spool: Callable[[], None]) -> Callable[[], None]:
        """Return `keep_spool`, extended: it first stores the result of the extraction."""

        def keep() -> None:
            self._keep()
            keep_spool()

        return keep

    def _keep(self) -> None:
        assert self._folder is not None  # see `begin`
        done = self.window.done
        started = StartedIncrement(
            replace(self._watermark, done=done.pack() if len(done) else b""),
            self._stored_run,
            self._other_runs,
            self.reading.kind,
            render_point(self.reading.point),
            tuple(self.reading.known_refused),
        )
        save_started(self._folder, started)

    def find_note(self, spool: SpooledRecords) -> str:
        """Return the note "nothing new" if the run has read no record, else ""."""
        value = self._watermark.value
        if spool.count or value is None or self._only_remembers:
            return ""
        return f"nothing new since {value}"

    # -- the records

    def begin_part(self, part: int, records: Sequence[Record]) -> None:
        """Remember the records whose rows are about to be loaded as a part.

        They are in the order of the rows. Records that a later record replaces have no row. They
        come last.
        """
        if self.loaded is not None:
            again = self._again
            self.loaded.add(
                part,
                [None if r.key in again else self._identify(r.input) for r in records],
            )

    def add_lost(self, records: Iterable[Record]) -> None:
        """Record records that an outage has lost, before the others of their batch are loaded.

        If a new run follows instead of a resumed one, it must also load later records with their
        keys again, so that their rows stay the last ones. See `FinishedRecords.forget_replaced`.
        """
        if self.pipeline.load.mode == "upsert":
            self._again.update(record.key for record in records)

    def begin_batch(self, part: int, batch: RowBatch) -> None:
        """Do the same as `begin_part` for rows that are copied."""
        if self.loaded is not None:
            kind = self.reading.kind
            assert kind is not None  # the rows of a batch come from the source
            self.loaded.add(part, digest_batch(batch, self.window, kind))

    def add(self, outcomes: Iterable[RecordOutcome]) -> None:
        """Record the outcomes of records. A record that was lost to an outage is not done."""
        for outcome in outcomes:
            is_done = outcome.failure is None if self._only_remembers else outcome.is_final
            if is_done:
                self._finished.add(outcome.record.index)
            if self._only_remembers and self.reading.kind is None:
                value = outcome.record.input.get(self._incremental.cursor)
                self.reading.kind = kind_of(value)

    def add_copied(self, first: int, count: int) -> None:
        """Record that copied rows are loaded. `first` is the index of the first one."""
        self._finished.add(first, count)

    def _identify(self, row: JsonObject) -> tuple[str, bytes] | None:
        """Return the position and the digest of a record, or None if it has no valid cursor."""
        if self.reading.kind is None and self._only_remembers:
            self.reading.kind = kind_of(row.get(self._incremental.cursor))
        point = find_point(row, self.window, self.reading.kind)
        return None if point is None else digest_of(row, self.window, point)

    # -- the end of a run

    def finish(self, spool: SpooledRecords, receipt: LoadReceipt | None, *, complete: bool) -> str:
        """Set the watermark at the end of a run, and return a warning for the user, or "".

        `receipt` is None if the destination keeps no row of the run. `complete` is false if an
        error or a stop interrupted the run. Raises UserError or WorldError.
        """
        has_rows = self._watermark.has_rows or (receipt is not None and receipt.rows > 0)
        count = spool.count - len(self._finished)
        if self.pipeline.load.mode == "upsert":
            self._finished.forget_replaced(spool, self.pipeline.extract.key)
        if self._only_remembers or not complete:
            # A table has stored the records of each part already.
            if receipt is not None and not self._store.stores_parts and len(self._finished):
                done = DoneRecords()
                done.add_all(self.window.done)
                self._finished.add_to(done, spool, self.window, self.reading.kind, None)
                self._save(self._watermark.point, done, (), has_rows=has_rows)
            return ""
        point = self._highest()
        lost = self._finished.lowest_lost(spool, self.window, self.reading.kind)
        if lost is not None and point is not None:
            before = self._watermark.point
            point = min(point, lost, key=position_of)
            point = point if before is None else max(point, before, key=position_of)
        done = self._remembered(spool, self._finished, point)
        if lost is not None and len(done) > MOST_REMEMBERED and self.pipeline.load.mode == "append":
            raise WorldError("records were lost to outages, and the watermark was not set")
        if point is not None or len(done):
            self._save(point, done, (self._uid, *self._other_runs), has_rows=has_rows)
        if lost is None:
            return ""
        records = "1 record was" if count == 1 else f"{count:,} records were"
        return (
            f"the watermark is {render_point(point)}, because {records} lost to an outage; the "
            "next run reads the lost records again"
        )

    @property
    def change(self) -> WatermarkChange | None:
        """The watermark before and after the run. None if the run does not use it."""
        if self._only_remembers:
            return None
        return WatermarkChange(self._incremental.cursor, self._watermark.value, self._after)

    def _highest(self) -> CursorPoint | None:
        """Return the highest point that this run or an earlier one has read."""
        point, before = self.reading.point, self._watermark.point
        if point is None or before is None:
            return point or before
        return max(before, point, key=position_of)

    def _remembered(
        self, spool: SpooledRecords, finished: FinishedRecords, point: CursorPoint | None
    ) -> DoneRecords:
        """Return the records that are done, from `point` minus the lag."""
        start = None if point is None else subtract_lag(point, self._incremental.lag)
        done = self.window.done.since(start, self.reading.known_refused)
        finished.add_to(done, spool, self.window, self.reading.kind, start)
        return done

    def _save(
        self, point: CursorPoint | None, done: DoneRecords, runs: Sequence[str], *, has_rows: bool
    ) -> None:
        """Store the watermark, unless nothing has changed."""
        done = self._bounded(done, "load")
        source = self.pipeline.extract.source
        if self._only_remembers:  # the run has read the quarantine
            source = self._watermark.source
        watermark = Watermark(
            self._incremental.cursor,
            self.reading.kind or self._watermark.kind,
            render_point(point),
            done.pack() if len(done) else b"",
            self._uid,
            has_rows,
            source,
        )
        self._after = watermark.value
        stored = self._stored.watermark
        has_parts = self._stored.parts or len(self._finished)
        if has_parts or stored is None or replace(watermark, run=stored.run) != stored:
            self._store.save(watermark, runs)
