"""The runner: extraction to a spool, records through their stages, batches into the destination.

A batch is the unit of loading; extraction, calls and loading hold a few batches in memory, however
long the source is. The runner prints nothing: it yields events, the last of which has the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.definitions import Pipeline
from loomgit.domain.keys import find_key
from loomgit.domain.ports import LoadReceipt, Sink, Source
from loomgit.domain.records import Record, RefusedRow, first_usable, make_record
from loomgit.domain.runs import Cause, RecordsFile, Run, Status
from loomgit.domain.values import JsonMapping, JsonObject
from loomgit.errors import BudgetExceeded, LoomError, ProblemsFound, WorldError
from loomgit.pipeline.events import Extracted, Progressed, RunFinished, Warned
from loomgit.pipeline.flow import OrderedFlow
from loomgit.pipeline.lines import describe
from loomgit.pipeline.loaded_row import loaded_row
from loomgit.pipeline.stages import Stages
from loomgit.pipeline.tally import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from loomgit.domain.records import Outcome
    from loomgit.pipeline.events import Event

WINDOW_BATCHES = 4
MAX_ERROR_RATE = 0.05  # more records lost to outages than that, and the run is not whole


class Spool(Protocol):
    """The extracted rows, kept on disk while they are worked on."""

    @property
    def count(self) -> int:
        """How many rows."""
        ...

    @property
    def refused(self) -> int:
        """How many of them cannot be kept exactly."""
        ...

    @property
    def sha256(self) -> str:
        """The hash of their lines: the snapshot's id."""
        ...

    @property
    def fields(self) -> tuple[str, ...]:
        """All names that occur, in order of first appearance."""
        ...

    @property
    def filled(self) -> frozenset[str]:
        """Those with a value in some row."""
        ...

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows in their order."""
        ...


class RecordLog(Protocol):
    """Where the line of each record goes."""

    def write(self, rows: Iterable[JsonObject]) -> None:
        """Append lines."""
        ...

    def finish(self, *, loaded: bool = True) -> RecordsFile:
        """Flush, and say what was written. If nothing was `loaded`, no line says so."""
        ...


class QuarantineLog(Protocol):
    """Where rejected records go."""

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Append rejected records with their reasons."""
        ...


class End(Struct, frozen=True):
    """How a run ended, for its record."""

    status: Status
    cause: Cause
    message: str
    complete: bool
    hint: str | None = None


class Parts(Struct, frozen=True):
    """Everything a run works with, made ready by the wiring.

    `open_spool` extracts (blocking). `check_fields` gets the key, the fields of the records and
    those that have values; it raises ProblemsFound if the pipeline uses a field that no record
    has. `open_sink` opens the destination for rows like those of the first records that are not
    refused, and checks it. `record` builds the run record from the tally and the end.
    """

    pipeline: Pipeline
    source: Source
    open_spool: Callable[[Iterator[JsonObject | RefusedRow]], Spool]
    open_sink: Callable[[tuple[str, ...], Sequence[Record]], Sink]
    stages: Stages
    tally: Tally
    log: RecordLog
    quarantine: QuarantineLog | None
    check_fields: Callable[[Sequence[str], Sequence[str], Collection[str]], None]
    record: Callable[[Tally, Spool, LoadReceipt, End, float, RecordsFile], Run]
    concurrency: int
    lineage: JsonObject


class Runner:
    """Runs one pipeline once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stopping = False
        self._flow: OrderedFlow[Record, Outcome] | None = None
        self._receipt = LoadReceipt()
        self._batch: list[Outcome] = []
        self._part = 0
        self._taken = 0  # rows that the sink took
        self._published = True  # what was loaded stays
        self._outages = 0  # records in a row that failed by infrastructure
        self._cut = False  # the extraction was stopped before its end
        self._sink_broke = False

    def stop(self) -> None:
        """Take no new work, let what is in flight end, keep what is done."""
        self._stopping = True
        if self._flow is not None:
            self._flow.stop()

    async def run(self) -> AsyncIterator[Event]:
        """The events of the run; its failures are in the record that RunFinished brings.

        Raises UserError or ProblemsFound where nothing was begun: what must be changed first.
        """
        started = time.perf_counter()
        parts = self._parts
        with parts.tally.watches["extract"]:
            spool = await asyncio.to_thread(self._extract)
        yield Extracted(spool.count, spool.refused, parts.tally.watches["extract"].seconds)
        key = find_key(spool.fields, parts.pipeline.extract.key)
        if spool.count > spool.refused and not self._stopping:
            parts.check_fields(key, spool.fields, spool.filled)
        first = await asyncio.to_thread(first_usable, self._records(spool, key))
        sink = await asyncio.to_thread(parts.open_sink, key, first)
        parts.stages.load_into(lambda record, fields: sink.refusal(self._row(record, fields, key)))
        broken: BaseException | None = None
        end = End("success", "", "", complete=True)
        try:
            async for event in self._work(spool, sink, key):
                yield event
        except GeneratorExit:
            await asyncio.to_thread(sink.abort)
            raise
        except LoomError as error:
            end = _failed(error)
        except BaseException as error:  # noqa: BLE001 - a begun run ends with a record, always
            broken = error
            end = self._broken(error, spool)
        if end.complete:
            end = self._judge(spool)
        else:
            await self._rescue(sink, key)
        end = await self._close(sink, end)
        if not spool.count and end.complete:
            yield Warned("the source has no records")
        elif parts.pipeline.load.mode == "replace" and not self._taken:
            yield Warned("nothing to load: the destination is left as it was")
        if count := parts.tally.repaired_replies:
            replies = "1 reply" if count == 1 else f"{count:,} replies"
            yield Warned(f"{replies} contained unpaired surrogates, which U+FFFD replaces")
        records = parts.log.finish(loaded=self._published)
        duration = time.perf_counter() - started
        run = parts.record(parts.tally, spool, self._receipt, end, duration, records)
        yield RunFinished(run, end.hint)
        if broken is not None:
            raise broken

    # -- extract

    def _extract(self) -> Spool:
        return self._parts.open_spool(self._until_stopped(self._parts.source.rows()))

    def _until_stopped(
        self, rows: Iterator[JsonObject | RefusedRow]
    ) -> Iterator[JsonObject | RefusedRow]:
        for row in rows:
            if self._stopping:
                self._cut = True
                return
            yield row

    def _records(self, spool: Spool, key: tuple[str, ...]) -> Iterator[Record]:
        for index, row in enumerate(spool.rows()):
            yield make_record(index, row, key, self._parts.pipeline.extract.source)

    # -- transform, evaluate, load

    async def _work(self, spool: Spool, sink: Sink, key: tuple[str, ...]) -> AsyncIterator[Event]:
        parts = self._parts
        size = parts.pipeline.transform.batch_size
        self._flow = OrderedFlow(
            self._records(spool, key),
            parts.stages.carry,
            concurrency=parts.concurrency,
            window=parts.concurrency + WINDOW_BATCHES * size,
        )
        if self._stopping:
            self._flow.stop()
        async for outcome in self._flow.results():
            self._take(outcome)
            if len(self._batch) == size:
                await self._load(sink, key)
                yield Progressed(parts.tally.processed, spool.count, parts.tally.spent)
                self._check_failures(outcome)
        if self._batch:
            last = self._batch[-1]
            await self._load(sink, key)
            yield Progressed(parts.tally.processed, spool.count, parts.tally.spent)
            self._check_failures(last)

    def _take(self, outcome: Outcome) -> None:
        self._parts.tally.add(outcome)
        self._batch.append(outcome)
        failure = outcome.failure
        self._outages = self._outages + 1 if failure and failure.infrastructure else 0

    async def _rescue(self, sink: Sink, key: tuple[str, ...]) -> None:
        """Load what was finished, and paid for, when something else ended the run."""
        if self._flow is not None:
            for outcome in self._flow.leftovers():
                self._take(outcome)
        if self._batch and not self._sink_broke:
            with contextlib.suppress(LoomError):  # the run has its reason already
                await self._load(sink, key)

    async def _load(self, sink: Sink, key: tuple[str, ...]) -> None:
        parts, batch = self._parts, self._batch
        self._batch = []
        good = [outcome for outcome in batch if outcome.failure is None]
        bad = [outcome for outcome in batch if outcome.failure is not None]
        with parts.tally.watches["load"]:
            if good:
                rows = [
                    self._row(outcome.record, outcome.output.fields, key)
                    for outcome in good
                    if outcome.output is not None
                ]
                self._sink_broke = True  # until it took them
                await asyncio.to_thread(sink.load, self._part, rows)
                self._sink_broke = False
                self._taken += len(rows)
                self._part += 1
            if bad and parts.quarantine is not None:
                parts.quarantine.add(bad)
            kept = parts.quarantine is not None
            parts.log.write(
                {**describe(outcome, kept), **parts.tally.identity(outcome)} for outcome in batch
            )

    def _row(self, record: Record, output: JsonMapping, key: tuple[str, ...]) -> JsonObject:
        parts = self._parts
        return loaded_row(parts.pipeline.load, key, record.key, record.input, output, parts.lineage)

    # -- the end

    def _check_failures(self, last: Outcome) -> None:
        """Stop early where going on is pointless: no call succeeds, or too many records fail."""
        tally, pipeline = self._parts.tally, self._parts.pipeline
        reason = last.failure.reason if last.failure else ""
        if tally.infrastructure == tally.processed:
            raise WorldError(f"no call to a model has succeeded: {reason}")
        if self._outages >= max(pipeline.transform.batch_size, 2 * self._parts.concurrency):
            raise WorldError(f"the last {self._outages} records failed in a row: {reason}")
        limit = pipeline.max_failure_rate
        rejected = tally.processed - tally.validated
        if limit is not None and rejected / tally.processed > limit:
            rate = f"{rejected / tally.processed:.1%} > {limit:.1%}"
            raise _TooManyFailures(f"too many records fail: {rate} (max_failure_rate)")

    def _broken(self, error: BaseException, spool: Spool) -> End:
        """The end of a run that was cancelled, or that a bug of ours ended."""
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
            return self._stopped(spool)
        message = f"a bug in Loom: {type(error).__name__}: {error}"
        return End("failed", "world", " ".join(message.split()), complete=False)

    def _stopped(self, spool: Spool) -> End:
        done = f"{self._parts.tally.processed:,} of {spool.count:,} records"
        hint = "run it again: what is loaded stays as it is"
        return End("partial", "stopped", f"stopped after {done}", complete=False, hint=hint)

    def _judge(self, spool: Spool) -> End:
        """How a run ended that nothing broke: stopped, or by what its records came to."""
        tally, evaluate = self._parts.tally, self._parts.pipeline.evaluate
        if self._stopping and (self._cut or tally.processed < spool.count):
            return self._stopped(spool)
        if not tally.processed:
            return End("success", "", "", complete=True)
        if not tally.validated and not tally.fallback:
            message = f"no record passed: {next(iter(tally.reasons()), '')}"
            return End("failed", "gate", message, complete=True)
        rate = tally.validated / tally.processed
        if evaluate.batch_threshold is not None and rate < evaluate.batch_threshold:
            message = f"batch threshold not met: {percent_pair(rate, evaluate.batch_threshold)}"
            return End("partial", "gate", message, complete=True)
        if tally.infrastructure > MAX_ERROR_RATE * tally.processed:
            message = f"{tally.infrastructure:,} of {tally.processed:,} records failed by outages"
            return End("partial", "world", message, complete=True, hint="run it again")
        return End("success", "", "", complete=True)

    async def _close(self, sink: Sink, end: End) -> End:
        """Publish what was taken; a replaced table whole or not at all, never as an empty one."""
        replacing = self._parts.pipeline.load.mode == "replace"
        keep = bool(end.complete and self._taken) if replacing else True
        try:
            with self._parts.tally.watches["load"]:
                if keep:
                    self._receipt = await asyncio.to_thread(sink.commit)
                else:
                    await asyncio.to_thread(sink.abort)
                    self._published = False
        except LoomError as error:
            await asyncio.to_thread(sink.abort)
            self._published = False
            return end if end.cause in ("world", "user") else _failed(error)
        return end


class _TooManyFailures(LoomError):
    exit_code = 1


def _failed(error: LoomError) -> End:
    if isinstance(error, BudgetExceeded):
        return End("budget_exceeded", "gate", error.message, complete=False, hint=error.hint)
    cause: Cause = "gate" if error.exit_code == 1 else "user" if error.exit_code == 2 else "world"
    message = str(error) if isinstance(error, ProblemsFound) else error.message
    return End("failed", cause, message, complete=False, hint=error.hint)


def percent_pair(rate: float, limit: float) -> str:
    """`92.0% < 95.0%`, with as many digits as it takes to tell the two apart."""
    digits = 1
    while f"{rate:.{digits}%}" == f"{limit:.{digits}%}" and digits < 10:
        digits += 1
    return f"{rate:.{digits}%} < {limit:.{digits}%}"
