"""The parts of a run: its spool, records file, quarantine, source, destination, stages and record.

The protocols describe what the runner needs. `loomgit.wiring` and `loomgit.workflows` supply the
implementations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.definitions import Pipeline
from loomgit.domain.ports import LoadReceipt, Sink, Source
from loomgit.domain.records import Record, RefusedRow, RowBatch
from loomgit.domain.runs import Cause, RecordsFile, Run, Status
from loomgit.domain.values import JsonObject
from loomgit.pipeline.run_statistics import RunStatistics
from loomgit.pipeline.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loomgit.domain.records import RecordOutcome


NO_LINES: Mapping[int, JsonObject] = MappingProxyType({})


class SpooledRecords(Protocol):
    """The extracted rows on disk, during a run."""

    @property
    def count(self) -> int:
        """The number of rows."""
        ...

    @property
    def refused(self) -> int:
        """The number of rows that cannot be stored exactly."""
        ...

    @property
    def sha256(self) -> str:
        """The SHA-256 of the stored lines, which identifies the snapshot."""
        ...

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all fields, in order of first appearance."""
        ...

    @property
    def filled(self) -> frozenset[str]:
        """The fields that have a value in at least one row."""
        ...

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows in the order of the source."""
        ...

    def items(self) -> Iterator[JsonObject | RefusedRow | RowBatch]:
        """Stream the rows in the order of the source, in the batches of the source."""
        ...


class RecordLog(Protocol):
    """The records file, which has one line for each record."""

    def write(self, rows: Iterable[JsonObject]) -> None:
        """Append lines."""
        ...

    def write_copied(self, first: int, keys: Sequence[str]) -> None:
        """Append lines for adjacent records that were loaded without a transform.

        `first` is the index of the first record.
        """
        ...

    def finish(
        self, *, loaded: bool = True, corrected: Mapping[int, JsonObject] = NO_LINES
    ) -> RecordsFile:
        """Flush the lines and return the file's metadata.

        If no record was loaded (`loaded` is False), the status `loaded` is replaced with `passed`.
        `corrected` are lines that replace earlier lines, by the index of the record.
        """
        ...


class RunJournal(Protocol):
    """The progress of a run on disk, so that the run can be resumed.

    A part is a batch of records. The indexes are those of the records in the spool.
    """

    @property
    def part_sizes(self) -> Mapping[int, int]:
        """The numbers of records of the parts that earlier attempts began, by part."""
        ...

    @property
    def part_extents(self) -> Mapping[int, tuple[int, int]]:
        """The first and the last index of the records of these parts, by part.

        A part without records is left out.
        """
        ...

    def part_of(self, index: int) -> int | None:
        """Return the part of an earlier attempt that contains a record, or None."""
        ...

    def is_reported(self, part: int) -> bool:
        """Whether an earlier attempt has loaded the part and reported its failed records."""
        ...

    def find(self, record: Record) -> RecordOutcome | None:
        """Return the outcome of a record from an earlier attempt, or None."""
        ...

    def reread(self, indexes: Container[int]) -> None:
        """Let `find` also return the outcomes of these records that this attempt has added."""
        ...

    def add(self, outcome: RecordOutcome) -> None:
        """Record the outcome of a record."""
        ...

    def begin_part(self, part: int, indexes: Sequence[int]) -> None:
        """Record the records of a part before the part is loaded. Call `sync` afterwards."""
        ...

    def sync(self) -> None:
        """Wait until everything that was recorded is on the disk. Any thread may call this."""
        ...

    def report_part(self, part: int) -> None:
        """Record that the part is loaded and its failed records are reported.

        A negative number stands for a row that was refused when the rows were published.
        """
        ...


class QuarantineLog(Protocol):
    """The quarantine: the store of rejected records."""

    def add(self, outcomes: Sequence[RecordOutcome]) -> None:
        """Append rejected records with their reasons."""
        ...


class RunIncrement(Protocol):
    """The incremental extraction of a run: it remembers the finished records."""

    def begin_part(self, part: int, records: Sequence[Record]) -> None:
        """Remember the records whose rows are about to be loaded as a part.

        They are in the order of the rows. Records that a later record replaces have no row. They
        come last.
        """
        ...

    def add_lost(self, records: Iterable[Record]) -> None:
        """Record records that an outage has lost, before the rest of their batch is loaded."""
        ...

    def begin_batch(self, part: int, batch: RowBatch) -> None:
        """Do the same as `begin_part` for rows that are copied."""
        ...

    def add(self, outcomes: Iterable[RecordOutcome]) -> None:
        """Record the outcomes of records."""
        ...

    def add_copied(self, first: int, count: int) -> None:
        """Record that copied rows are loaded. `first` is the index of the first one."""
        ...

    def find_note(self, spool: SpooledRecords) -> str:
        """Return a note about the extraction for the user, or ""."""
        ...

    def finish(self, spool: SpooledRecords, receipt: LoadReceipt | None, *, complete: bool) -> str:
        """Set the watermark at the end of a run, and return a warning for the user, or "".

        `receipt` is None if the destination keeps no row of the run. `complete` is false if an
        error or a stop interrupted the run. Raises LoomError.
        """
        ...


class RunEnd(Struct, frozen=True):
    """How a run ended. All values except `hint` become part of the run record.

    `complete` is true if no error and no stop interrupted the run. `hint` is advice for the user.
    """

    status: Status
    cause: Cause
    message: str
    complete: bool
    hint: str | None = None

    @property
    def can_resume(self) -> bool:
        """Whether a later attempt can process more records: the run is incomplete, or records were
        lost to an outage."""
        return not self.complete or self.cause == "world"


class RunParts(Struct, frozen=True):
    """Everything that a run needs. `loomgit.wiring` creates it.

    `open_spool` extracts the rows to a spool file, and blocks until this is done. If an earlier
    attempt has completed the spool, the rows are not extracted again. `keep_spool` is called after
    a complete extraction. `require_lock` raises WorldError if this run no longer excludes other
    runs from the destination. `check_fields`
    receives the key, the fields of the records, and the fields that have values. It raises
    ProblemsFound if the pipeline uses a field that is missing from all records. `open_sink` opens
    and checks the destination. It receives the key and some example records: the first records that
    are not refused. `record` builds the run record from the statistics in `tally`, the end of the
    run, and further values. `resume_hint` tells the user how to continue the run if it does not
    complete. If `in_batches` is true, the records are processed in batches: then
    `stages.transforms_batches` is true, and no evaluator waits for a model. `increment` is None if
    the extraction is not incremental.
    """

    pipeline: Pipeline
    source: Source
    open_spool: Callable[[Iterator[JsonObject | RefusedRow | RowBatch]], SpooledRecords]
    keep_spool: Callable[[], None]
    require_lock: Callable[[], None]
    open_sink: Callable[[tuple[str, ...], Sequence[Record]], Sink]
    stages: Stages
    tally: RunStatistics
    log: RecordLog
    journal: RunJournal
    quarantine: QuarantineLog | None
    check_fields: Callable[[Sequence[str], Sequence[str], Collection[str]], None]
    record: Callable[[RunStatistics, SpooledRecords, LoadReceipt, RunEnd, float, RecordsFile], Run]
    concurrency: int
    lineage: JsonObject
    resume_hint: str
    in_batches: bool = False
    increment: RunIncrement | None = None
