"""The runner: extracts rows to a spool, processes the records and loads batches into the sink.

A batch is the unit of loading. The runner keeps only a few batches in memory, even if the source is
large. It prints nothing but yields events. The last event contains the run record.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.keys import find_key
from loomgit.domain.outages import LossStreak
from loomgit.domain.ports import LoadReceipt
from loomgit.domain.records import RecordFailure, first_usable, make_record
from loomgit.errors import BudgetExceeded, LoomError, ProblemsFound, WorldError
from loomgit.pipeline.events import BatchLoaded, Extracted, RunFinished, Warned
from loomgit.pipeline.loaded_row import loaded_row
from loomgit.pipeline.ordered_pool import OrderedPool
from loomgit.pipeline.record_line import render_record_line
from loomgit.pipeline.run_parts import RunEnd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from loomgit.domain.ports import Sink
    from loomgit.domain.records import Record, RecordOutcome, RefusedRow
    from loomgit.domain.runs import Cause
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.pipeline.events import Event
    from loomgit.pipeline.run_parts import RunParts, SpooledRecords

WINDOW_BATCHES = 4
MAX_ERROR_RATE = 0.05  # if outages make a larger fraction of the records fail, the run is partial


class Runner:
    """Runs one pipeline once."""

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        self._stopping = False
        self._pool: OrderedPool[Record, RecordOutcome] | None = None
        self._receipt = LoadReceipt()
        self._batch: list[RecordOutcome] = []
        self._part = max(parts.journal.part_sizes, default=-1) + 1  # the number of the next batch
        self._accepted = 0  # rows that the sink has accepted
        self._published = True  # whether the destination keeps the loaded rows
        limit = max(parts.pipeline.transform.batch_size, 2 * parts.concurrency)
        self._losses = LossStreak(limit, limit)  # consecutive records lost to an outage
        self._counted: Callable[[Record], Awaitable[RecordOutcome]] = self._process
        self._cut = False  # whether the extraction was stopped before its end
        self._sink_failed = False

    def stop(self) -> None:
        """Take no new records, but finish the records in progress and keep their results."""
        self._stopping = True
        if self._pool is not None:
            self._pool.stop()

    async def run(self) -> AsyncIterator[Event]:
        """Yield the events of the run. The last event is RunFinished with the run record.

        Raises UserError or ProblemsFound if the user must change something before the run can
        start, and WorldError if the source or the destination is not available. After the first
        record has started, a LoomError is not raised but becomes part of the run record.
        """
        started = time.perf_counter()
        parts = self._parts
        with parts.tally.watches["extract"]:
            spool = await asyncio.to_thread(self._extract)
        if not self._cut:
            parts.keep_spool()
        yield Extracted(spool.count, spool.refused, parts.tally.watches["extract"].seconds)
        key = find_key(spool.fields, parts.pipeline.extract.key)
        if spool.count > spool.refused and not self._stopping:
            parts.check_fields(key, spool.fields, spool.filled)
        first = await asyncio.to_thread(first_usable, self._records(spool, key))
        sink = await asyncio.to_thread(parts.open_sink, key, first)
        parts.stages.set_load_check(
            lambda record, fields: sink.refusal(self._row(record, fields, key))
        )
        self._counted = parts.tally.progress.count_records(self._process, spool.count)
        broken: BaseException | None = None
        end = RunEnd("success", "", "", complete=True)
        try:
            async for event in self._load_begun_parts(spool, sink, key):
                yield event
            async for event in self._work(spool, sink, key):
                yield event
        except GeneratorExit:
            await asyncio.to_thread(sink.abort)
            raise
        except LoomError as error:
            end = _failed(error)
        except BaseException as error:  # noqa: BLE001 - every started run has a run record
            broken = error
            end = self._broken(error, spool)
        if end.complete:
            end = self._judge(spool)
        else:
            await self._load_leftovers(sink, key)
        end = await self._close(sink, end)
        for warning in self._warnings(spool, end):
            yield Warned(warning)
        records = parts.log.finish(loaded=self._published)
        duration = time.perf_counter() - started
        run = parts.record(parts.tally, spool, self._receipt, end, duration, records)
        yield RunFinished(run, self._hint(end), end.can_resume)
        if broken is not None:
            raise broken

    def _warnings(self, spool: SpooledRecords, end: RunEnd) -> Iterator[str]:
        """Yield the warnings at the end of the run."""
        if not spool.count and end.complete:
            yield "the source has no records"
        elif self._parts.pipeline.load.mode == "replace" and not self._accepted:
            yield "nothing to load: the destination is unchanged"
        if count := self._parts.tally.repaired_replies:
            replies = "1 reply" if count == 1 else f"{count:,} replies"
            yield f"U+FFFD replaced unpaired surrogates in {replies}"

    # -- extract

    def _extract(self) -> SpooledRecords:
        rows = self._until_stopped(self._parts.source.rows())
        return self._parts.open_spool(self._parts.tally.progress.count_rows(rows))

    def _until_stopped(
        self, rows: Iterator[JsonObject | RefusedRow]
    ) -> Iterator[JsonObject | RefusedRow]:
        for row in rows:
            if self._stopping:
                self._cut = True
                return
            yield row

    def _records(self, spool: SpooledRecords, key: tuple[str, ...]) -> Iterator[Record]:
        for index, row in enumerate(spool.rows()):
            yield make_record(index, row, key, self._parts.pipeline.extract.source)

    def _unloaded(self, spool: SpooledRecords, key: tuple[str, ...]) -> Iterator[Record]:
        """Yield the records that no earlier attempt has put into a part."""
        journal = self._parts.journal
        for record in self._records(spool, key):
            if journal.part_of(record.index) is None:
                yield record

    # -- transform, evaluate, load

    async def _process(self, record: Record) -> RecordOutcome:
        """Return the outcome of a record: that of an earlier attempt, or a new one."""
        journal = self._parts.journal
        outcome = journal.find(record)
        if outcome is None:
            outcome = await self._parts.stages.process(record)
            if outcome.is_final and not record.refused:
                journal.add(outcome)
        return outcome

    async def _load_begun_parts(
        self, spool: SpooledRecords, sink: Sink, key: tuple[str, ...]
    ) -> AsyncIterator[Event]:
        """Load the parts that earlier attempts of the run have begun, with the same records.

        The destination ignores the parts that it already contains.
        """
        parts, journal = self._parts, self._parts.journal
        batches: dict[int, list[RecordOutcome]] = {}
        for record in self._records(spool, key) if journal.part_sizes else ():
            part = journal.part_of(record.index)
            if part is None:
                continue
            batch = batches.setdefault(part, [])
            batch.append(await self._counted(record))
            if len(batch) == journal.part_sizes[part]:
                await self._load(sink, batches.pop(part), key, part)
                yield BatchLoaded(parts.tally.processed, spool.count, parts.tally.spent)
                if self._stopping:
                    return

    async def _work(
        self, spool: SpooledRecords, sink: Sink, key: tuple[str, ...]
    ) -> AsyncIterator[Event]:
        parts = self._parts
        size = parts.pipeline.transform.batch_size
        self._pool = OrderedPool(
            self._unloaded(spool, key),
            self._counted,
            concurrency=parts.concurrency,
            window=parts.concurrency + WINDOW_BATCHES * size,
        )
        if self._stopping:
            self._pool.stop()
        async for outcome in self._pool.results():
            self._add(outcome)
            if len(self._batch) == size:
                await self._load_batch(sink, key)
                yield BatchLoaded(parts.tally.processed, spool.count, parts.tally.spent)
                self._check_failures(outcome)
        if self._batch:
            last = self._batch[-1]
            await self._load_batch(sink, key)
            yield BatchLoaded(parts.tally.processed, spool.count, parts.tally.spent)
            self._check_failures(last)

    def _add(self, outcome: RecordOutcome) -> None:
        self._batch.append(outcome)
        failure = outcome.failure
        self._losses.record(lost=bool(failure and failure.infrastructure))

    async def _load_leftovers(self, sink: Sink, key: tuple[str, ...]) -> None:
        """Load the finished records of an interrupted run, because their calls are paid for."""
        if self._pool is not None:
            for outcome in self._pool.leftovers():
                self._add(outcome)
        if self._sink_failed:
            self._tally(self._batch)
        elif self._batch:
            with contextlib.suppress(LoomError):  # the run already has an error to report
                await self._load_batch(sink, key)

    async def _load_batch(self, sink: Sink, key: tuple[str, ...]) -> None:
        """Load the collected records as the next part."""
        batch, part = self._batch, self._part
        self._batch = []
        self._part += 1
        final = [outcome.record.index for outcome in batch if outcome.is_final]
        self._parts.journal.begin_part(part, final)
        await self._load(sink, batch, key, part)

    async def _load(
        self, sink: Sink, batch: list[RecordOutcome], key: tuple[str, ...], part: int
    ) -> None:
        """Load the rows of a batch, then report all its records."""
        parts, journal = self._parts, self._parts.journal
        with parts.tally.watches["load"]:
            try:
                batch = await self._load_rows(sink, batch, key, part)
            finally:
                self._tally(batch)
            bad = [outcome for outcome in batch if outcome.failure is not None]
            if bad and parts.quarantine is not None and not journal.is_reported(part):
                parts.quarantine.add(bad)
            quarantined = parts.quarantine is not None
            parts.log.write(
                {**render_record_line(outcome, quarantined), **parts.tally.identity(outcome)}
                for outcome in batch
            )
            journal.report_part(part)

    async def _load_rows(
        self, sink: Sink, batch: list[RecordOutcome], key: tuple[str, ...], part: int
    ) -> list[RecordOutcome]:
        """Load the rows of the successful records.

        Returns the outcomes of the batch. If the destination refuses the row of a record, the
        returned outcome of this record contains the failure.
        """
        good = {
            index: self._row(outcome.record, outcome.output.fields, key)
            for index, outcome in enumerate(batch)
            if outcome.failure is None and outcome.output is not None
        }
        if not good:
            return batch
        self._sink_failed = True  # reset when the sink has accepted the rows
        refused = await asyncio.to_thread(sink.load, part, list(good.values()))
        self._sink_failed = False
        self._accepted += len(good) - len(refused)
        failures = {list(good)[position]: reason for position, reason in refused.items()}
        return [
            replace(outcome, failure=RecordFailure("load", failures[index]))
            if index in failures
            else outcome
            for index, outcome in enumerate(batch)
        ]

    def _tally(self, batch: Sequence[RecordOutcome]) -> None:
        for outcome in batch:
            self._parts.tally.add(outcome)

    def _row(self, record: Record, output: JsonMapping, key: tuple[str, ...]) -> JsonObject:
        parts = self._parts
        return loaded_row(parts.pipeline.load, key, record.key, record.input, output, parts.lineage)

    # -- the end

    def _check_failures(self, last: RecordOutcome) -> None:
        """Raise LoomError if the run should not continue.

        A run stops if no call has succeeded, if many consecutive records were lost to an outage, or
        if too many records were rejected.
        """
        tally, pipeline = self._parts.tally, self._parts.pipeline
        reason = last.failure.reason if last.failure else ""
        if tally.infrastructure == tally.processed:
            raise WorldError(f"no call to a model has succeeded: {reason}")
        if self._losses.is_outage:
            raise WorldError(f"the last {self._losses.losses} records failed in a row: {reason}")
        limit = pipeline.max_failure_rate
        rejected = tally.processed - tally.validated
        if limit is not None and rejected / tally.processed > limit:
            rate = f"{rejected / tally.processed:.1%} > {limit:.1%}"
            raise _TooManyFailures(f"too many records fail: {rate} (max_failure_rate)")

    def _broken(self, error: BaseException, spool: SpooledRecords) -> RunEnd:
        """Return how the run ended: it was cancelled, or it failed because of a bug in Loom."""
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
            return self._stopped(spool)
        message = f"a bug in Loom: {type(error).__name__}: {error}"
        return RunEnd("failed", "world", " ".join(message.split()), complete=False)

    def _stopped(self, spool: SpooledRecords) -> RunEnd:
        done = f"{self._parts.tally.processed:,} of {spool.count:,} records"
        return RunEnd("partial", "stopped", f"stopped after {done}", complete=False)

    def _judge(self, spool: SpooledRecords) -> RunEnd:
        """Return the RunEnd for a run that raised no error.

        Unless the run was stopped, its status depends on the outcomes of its records.
        """
        tally, evaluate = self._parts.tally, self._parts.pipeline.evaluate
        if self._stopping and (self._cut or tally.processed < spool.count):
            return self._stopped(spool)
        if not tally.processed:
            return RunEnd("success", "", "", complete=True)
        if not tally.validated and not tally.fallback:
            message = f"no record passed: {next(iter(tally.reasons()), '')}"
            return RunEnd("failed", "gate", message, complete=True)
        rate = tally.validated / tally.processed
        if evaluate.batch_threshold is not None and rate < evaluate.batch_threshold:
            message = f"batch threshold not met: {percent_pair(rate, evaluate.batch_threshold)}"
            return RunEnd("partial", "gate", message, complete=True)
        if tally.infrastructure > MAX_ERROR_RATE * tally.processed:
            lost = f"{tally.infrastructure:,} of {tally.processed:,} records"
            message = f"{lost} failed because of outages"
            return RunEnd("partial", "world", message, complete=True)
        return RunEnd("success", "", "", complete=True)

    async def _close(self, sink: Sink, end: RunEnd) -> RunEnd:
        """Publish the loaded rows, and return how the run ended.

        In the mode `replace`, nothing is published if the run is incomplete or no row was accepted.
        If publishing fails, return a RunEnd for this error. However, if the cause of `end` is
        already `world` or `user`, return `end`.
        """
        replacing = self._parts.pipeline.load.mode == "replace"
        keep = bool(end.complete and self._accepted) if replacing else True
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

    def _hint(self, end: RunEnd) -> str | None:
        """Return advice for the user. It includes how to resume the run if that is possible."""
        if not end.can_resume:
            return end.hint
        return "; ".join(filter(None, (end.hint, self._parts.resume_hint)))


class _TooManyFailures(LoomError):
    exit_code = 1


def _failed(error: LoomError) -> RunEnd:
    if isinstance(error, BudgetExceeded):
        return RunEnd("budget_exceeded", "gate", error.message, complete=False, hint=error.hint)
    cause: Cause = "gate" if error.exit_code == 1 else "user" if error.exit_code == 2 else "world"
    message = str(error) if isinstance(error, ProblemsFound) else error.message
    return RunEnd("failed", cause, message, complete=False, hint=error.hint)


def percent_pair(rate: float, limit: float) -> str:
    """Return two rates as text (`92.0% < 95.0%`), with enough digits to show the difference."""
    digits = 1
    while f"{rate:.{digits}%}" == f"{limit:.{digits}%}" and digits < 10:
        digits += 1
    return f"{rate:.{digits}%} < {limit:.{digits}%}"
