"""The runner: extracts rows to a spool, processes the records and loads batches into the sink.

A batch is the unit of loading. The runner keeps only a few batches in memory, even if the source is
large. It prints nothing but yields events. The last event contains the run record.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from loomgit.domain.keys import find_key
from loomgit.domain.outages import LossStreak
from loomgit.domain.ports import LoadReceipt, ReplacingSink
from loomgit.domain.records import RowBatch, first_usable, make_record
from loomgit.errors import LoomError
from loomgit.pipeline.batch_loader import BatchLoader, LoadedBatch
from loomgit.pipeline.batch_pool import BatchPool
from loomgit.pipeline.blocking import finish_in_thread
from loomgit.pipeline.copy_path import batch_keys, copied_parts, rows_of
from loomgit.pipeline.events import BatchLoaded, Extracted, RunFinished, Warned
from loomgit.pipeline.extraction import Extraction
from loomgit.pipeline.ordered_pool import OrderedPool
from loomgit.pipeline.part_order import adjacent_parts
from loomgit.pipeline.record_line import render_record_line
from loomgit.pipeline.replacement import Replacement
from loomgit.pipeline.run_end import (
    Outage,
    broken_by,
    check_failures,
    failed,
    full_hint,
    judge_run,
    must_fail,
    stopped,
)
from loomgit.pipeline.run_parts import NO_LINES, RunEnd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from loomgit.domain.ports import Sink
    from loomgit.domain.records import Record, RecordOutcome
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.events import Event
    from loomgit.pipeline.run_parts import RunParts, SpooledRecords

WINDOW_BATCHES = 4


class Runner:
    """Runs one pipeline once."""

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        self._stopping = False
        self._pool: OrderedPool[Record, RecordOutcome] | BatchPool[Record, RecordOutcome] | None = (
            None
        )
        self._receipt = LoadReceipt()
        self._batch: list[RecordOutcome] = []
        self._rejected = 0  # records of the batch that are rejected, without those of an outage
        self._part = max(parts.journal.part_sizes, default=-1) + 1  # the number of the next batch
        self._published = True  # whether the destination keeps the loaded rows
        limit = max(parts.pipeline.transform.batch_size, 2 * parts.concurrency)
        self._losses = LossStreak(limit, limit)  # consecutive records lost to an outage
        self._extraction = Extraction(parts)
        self._loader: BatchLoader | None = None  # None until the destination is open
        self._replacement: Replacement | None = None  # only if a table is replaced
        self._warning = ""  # about the watermark

    def stop(self) -> None:
        """Take no new records, but finish the records in progress and keep their results."""
        self._stopping = True
        self._extraction.stop()
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
            spool = await finish_in_thread(self._extraction.run)
        note = "" if parts.increment is None else parts.increment.find_note(spool)
        yield Extracted(spool.count, spool.refused, parts.tally.watches["extract"].seconds, note)
        key = find_key(spool.fields, parts.pipeline.extract.key)
        if spool.count > spool.refused and not self._stopping:
            parts.check_fields(key, spool.fields, spool.filled)
        first = await finish_in_thread(first_usable, self._records(spool, key))
        sink = await finish_in_thread(parts.open_sink, key, first)
        loader = self._loader = BatchLoader(parts, sink, key, lambda: self._records(spool, key))
        loader.expect_batches()
        build_row = loader.build_row
        parts.stages.set_load_check(lambda record, fields: sink.refusal(build_row(record, fields)))
        parts.tally.progress.total = spool.count
        broken: BaseException | None = None
        end = RunEnd("success", "", "", complete=True)
        try:
            async for event in self._load_begun_parts(spool, loader, key):
                yield event
            async for event in self._work(spool, loader, key):
                yield event
        except GeneratorExit:
            await finish_in_thread(sink.abort)
            raise
        except LoomError as error:
            end = failed(error)
        except BaseException as error:  # noqa: BLE001 - every started run has a run record
            broken = error
            end = broken_by(error, parts.tally, spool.count)
        if end.complete:
            is_cut = self._stopping and (
                self._extraction.is_cut or parts.tally.processed < spool.count
            )
            end = (
                stopped(parts.tally, spool.count)
                if is_cut
                else judge_run(parts.tally, parts.pipeline.evaluate)
            )
        else:
            await self._load_leftovers(loader)
        if isinstance(sink, ReplacingSink):
            self._replacement = Replacement(parts, loader, sink, lambda: self._records(spool, key))
        end = await self._move_watermark(spool, await self._close(sink, end))
        for warning in self._warnings(spool, end):
            yield Warned(warning)
        records = parts.log.finish(loaded=self._published, corrected=self._corrected)
        duration = time.perf_counter() - started
        run = parts.record(parts.tally, spool, self._receipt, end, duration, records)
        yield RunFinished(run, full_hint(end, parts.resume_hint), end.can_resume)
        if broken is not None:
            raise broken

    def _warnings(self, spool: SpooledRecords, end: RunEnd) -> Iterator[str]:
        """Yield the warnings at the end of the run."""
        if self._warning:
            yield self._warning
        if not spool.count and end.complete and self._parts.increment is None:
            yield "the source has no records"
        elif self._parts.pipeline.load.mode == "replace" and not self._accepted:
            yield "nothing to load: the destination is unchanged"
        if count := self._parts.tally.repaired_replies:
            replies = "1 reply" if count == 1 else f"{count:,} replies"
            yield f"U+FFFD replaced unpaired surrogates in {replies}"

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
        self._parts.tally.progress.processed += 1
        return outcome

    async def _process_all(self, records: Sequence[Record]) -> list[RecordOutcome]:
        """Return the outcomes of records: those of an earlier attempt, or new ones."""
        journal = self._parts.journal
        earlier = {record.index: journal.find(record) for record in records}
        new = [record for record in records if earlier[record.index] is None]
        outcomes = iter(await self._parts.stages.process_all(new))
        results = [earlier[record.index] or next(outcomes) for record in records]
        for outcome in results:
            is_new = earlier[outcome.record.index] is None
            if is_new and outcome.is_final and not outcome.record.refused:
                journal.add(outcome)
        self._parts.tally.progress.processed += len(results)
        return results

    async def _load_begun_parts(
        self, spool: SpooledRecords, loader: BatchLoader, key: tuple[str, ...]
    ) -> AsyncIterator[Event]:
        """Load the parts that earlier attempts of the run have begun, with the same records.

        The destination ignores the parts that it already contains. The parts are loaded in the
        order in which they were begun.
        """
        parts, journal = self._parts, self._parts.journal
        for group in adjacent_parts(journal.part_extents):
            batch: list[RecordOutcome] = []
            for record in self._records(spool, key):
                part = journal.part_of(record.index)
                if part is None or part not in group:
                    continue
                batch.append(await self._process(record))
                if len(batch) == journal.part_sizes[part]:
                    await self._load(loader, batch, part)
                    batch = []
                    yield BatchLoaded(parts.tally.processed, spool.count, parts.tally.spent)
                    if self._stopping:
                        return
                    if part == group[-1]:
                        break

    async def _work(
        self, spool: SpooledRecords, loader: BatchLoader, key: tuple[str, ...]
    ) -> AsyncIterator[Event]:
        parts = self._parts
        if loader.copies_rows:
            async for event in self._copy(spool, loader, key):
                yield event
            return
        size = parts.pipeline.transform.batch_size
        self._pool = self._open_pool(self._unloaded(spool, key), size)
        if self._stopping:
            self._pool.stop()
        results = self._pool.results()
        try:
            async for outcome in results:
                self._add(outcome)
                if len(self._batch) == size or must_fail(
                    parts.tally, parts.pipeline, self._rejected, size
                ):
                    await self._load_batch(loader)
                    yield BatchLoaded(parts.tally.processed, spool.count, parts.tally.spent)
                    check_failures(parts.tally, parts.pipeline, self._losses, outcome)
        except Outage:
            raise
        except LoomError:
            await self._pool.finish()  # the calls in flight are paid for
            raise
        if self._batch:
            last = self._batch[-1]
            await self._load_batch(loader)
            yield BatchLoaded(parts.tally.processed, spool.count, parts.tally.spent)
            check_failures(parts.tally, parts.pipeline, self._losses, last)

    def _open_pool(
        self, records: Iterator[Record], size: int
    ) -> OrderedPool[Record, RecordOutcome] | BatchPool[Record, RecordOutcome]:
        """Return the pool that processes the records. `size` is the size of a batch."""
        concurrency = self._parts.concurrency
        if self._parts.in_batches:
            return BatchPool(
                records, self._process_all, size=size, concurrency=min(WINDOW_BATCHES, concurrency)
            )
        window = concurrency + WINDOW_BATCHES * size
        return OrderedPool(records, self._process, concurrency=concurrency, window=window)

    async def _copy(
        self, spool: SpooledRecords, loader: BatchLoader, key: tuple[str, ...]
    ) -> AsyncIterator[Event]:
        """Load the rows in large batches.

        The rows of a batch that the destination does not accept as a whole become records.
        """
        parts, journal = self._parts, self._parts.journal
        for first, batch in copied_parts(spool.items()):
            if self._stopping:
                return
            indexes = range(first, first + (len(batch.rows) if isinstance(batch, RowBatch) else 1))
            is_new = not journal.part_sizes or all(
                journal.part_of(index) is None for index in indexes
            )
            keys = batch_keys(batch, key) if is_new and isinstance(batch, RowBatch) else None
            if keys is not None and await loader.copy(self._part, first, batch, keys):
                self._part += 1
            else:
                for index, row in zip(indexes, rows_of(batch), strict=True):
                    if journal.part_of(index) is None:
                        source = parts.pipeline.extract.source
                        self._add(await self._process(make_record(index, row, key, source)))
                if self._batch:
                    await self._load_batch(loader)
            yield BatchLoaded(parts.tally.processed, spool.count, parts.tally.spent)

    def _add(self, outcome: RecordOutcome) -> None:
        self._batch.append(outcome)
        failure = outcome.failure
        self._losses.record(lost=bool(failure and failure.infrastructure))
        reason = failure or outcome.replaced
        self._rejected += bool(reason and not reason.infrastructure)

    async def _load_leftovers(self, loader: BatchLoader) -> None:
        """Load the finished records of an interrupted run, because their calls are paid for."""
        if self._pool is not None:
            for outcome in self._pool.leftovers():
                self._add(outcome)
        if loader.failed or loader.has_unloaded:  # a resumed run loads these records
            self._tally(self._batch)
        elif self._batch:
            with contextlib.suppress(LoomError):  # the run already has an error to report
                await self._load_batch(loader)

    async def _load_batch(self, loader: BatchLoader) -> None:
        """Load the collected records as the next part."""
        batch, part = self._batch, self._part
        self._batch, self._rejected = [], 0
        self._part += 1
        final = [outcome.record.index for outcome in batch if outcome.is_final]
        self._parts.journal.begin_part(part, final)
        await self._load(loader, batch, part)

    async def _load(self, loader: BatchLoader, batch: list[RecordOutcome], part: int) -> None:
        """Load the rows of a batch, then report all its records."""
        parts, journal = self._parts, self._parts.journal
        loaded = LoadedBatch(batch)
        try:
            loaded = await loader.load(batch, part)
        finally:
            self._tally(loaded.outcomes)
        with parts.tally.watches["load"]:
            bad = [outcome for outcome in loaded.outcomes if outcome.failure is not None]
            if bad and parts.quarantine is not None and not journal.is_reported(part):
                parts.quarantine.add(bad)
            quarantined = parts.quarantine is not None
            parts.log.write(
                render_record_line(outcome, quarantined) | parts.tally.identity(outcome)
                for outcome in loaded.outcomes
            )
            journal.report_part(part)
        if loaded.error is not None:
            raise loaded.error

    def _tally(self, batch: Sequence[RecordOutcome]) -> None:
        for outcome in batch:
            self._parts.tally.add(outcome)
        if self._parts.increment is not None:
            self._parts.increment.add(batch)

    @property
    def _accepted(self) -> int:
        """The number of rows that the destination has accepted."""
        return 0 if self._loader is None else self._loader.accepted

    # -- the end

    @property
    def _corrected(self) -> Mapping[int, JsonObject]:
        """The lines of the records whose rows were refused when the rows were published."""
        return NO_LINES if self._replacement is None else self._replacement.corrected

    async def _close(self, sink: Sink, end: RunEnd) -> RunEnd:
        """Publish the loaded rows, and return how the run ended.

        Nothing is published if no row was accepted and the run is incomplete: a file without rows
        could lack columns of later rows. In the mode `replace`, nothing is published if the run is
        incomplete or no row was accepted.
        If publishing fails, return a RunEnd for this error. However, if the cause of `end` is
        already `world` or `user`, return `end`.
        """
        replacing = self._parts.pipeline.load.mode == "replace"
        accepted = bool(self._accepted)
        keep = end.complete and accepted if replacing else end.complete or accepted
        try:
            with self._parts.tally.watches["load"]:
                if keep and self._replacement is not None:
                    await self._replacement.publish()
                    end = judge_run(self._parts.tally, self._parts.pipeline.evaluate)
                    keep = bool(self._accepted)
                if keep:
                    if replacing:  # in the other modes, tables already have the rows
                        await finish_in_thread(self._parts.require_lock)
                    self._receipt = await finish_in_thread(sink.commit)
                    if self._loader is not None:
                        self._receipt += LoadReceipt(duplicates=self._loader.duplicates)
                else:
                    await finish_in_thread(sink.abort)
                    self._published = False
        except LoomError as error:
            await finish_in_thread(sink.abort)
            self._published = False
            return end if end.cause in ("world", "user") else failed(error)
        return end

    async def _move_watermark(self, spool: SpooledRecords, end: RunEnd) -> RunEnd:
        """Set the watermark of an incremental extraction, and return how the run ended."""
        increment = self._parts.increment
        if increment is None:
            return end
        receipt = self._receipt if self._published else None
        finish = partial(increment.finish, spool, receipt, complete=end.complete)
        try:
            self._warning = await finish_in_thread(finish)
        except LoomError as error:
            return end if end.cause in ("world", "user") else failed(error)
        return end
