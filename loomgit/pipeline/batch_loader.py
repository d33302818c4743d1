"""Loads batches: rows of successful records, keys of rejected records, and refused rows again."""

from __future__ import annotations

import asyncio
from array import array
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.keys import HASH_KEY
from loomgit.domain.ports import BatchSink, ReplacingSink
from loomgit.domain.records import RecordOutcome, RowBatch
from loomgit.errors import LoomError
from loomgit.pipeline.blocking import Parameters, Result, finish_in_thread
from loomgit.pipeline.copy_path import loads_rows_unchanged
from loomgit.pipeline.loaded_row import RowBuilder
from loomgit.pipeline.repeated_keys import NewestRecords, last_positions
from loomgit.pipeline.stages import refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.ports import Sink
    from loomgit.domain.records import Record, RefusedRow
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.run_parts import RunParts


class LoadedBatch(Struct, frozen=True):
    """The outcomes of a batch after its load.

    `error` is the error that ended the run while refused rows were processed again. The outcomes
    are valid nevertheless: the other rows of the batch are loaded.
    """

    outcomes: list[RecordOutcome]
    error: LoomError | None = None


class BatchLoader:
    """Loads the batches of one run into a sink.

    If the destination refuses the row of a record, the record is retried or gets its fallback, as
    `load.on_failure` says, and the new row is loaded as a part of its own. The number of this part
    depends only on the record and the number of its refusals. Therefore, a resumed run loads the
    row only once.

    The last record with a key decides about the row, except in mode `append`. A row is not loaded
    if a later record with its key is already loaded: the row comes late because an outage has lost
    its record, or because the destination has refused an earlier row of it.
    """

    def __init__(
        self,
        parts: RunParts,
        sink: Sink,
        key: tuple[str, ...],
        records: Callable[[], Iterable[Record]],
    ) -> None:
        """Create the loader. `records` returns all records of the run, in their order."""
        self._parts = parts
        self._sink = sink
        self._key = key
        self.build_row = RowBuilder(parts.pipeline.load, key, parts.lineage).build
        self._records = records
        self._loading = asyncio.Lock()  # only one thread at a time may call the sink
        self._is_append = parts.pipeline.load.mode == "append"
        self._is_resumed = bool(parts.journal.part_sizes)
        self._newest: NewestRecords | None = None  # of the loaded parts, if the run is resumed
        # The indexes of the records of the rows in each part, only for a ReplacingSink.
        self._sent: dict[int, array[int]] = {}
        self.accepted = 0  # rows that the sink has accepted
        self.duplicates = 0  # rows that were not loaded because of a later record with their key
        self.failed = False  # whether the last call of the sink has raised an error
        self.has_unloaded = False  # whether an error ended the run while refused rows were retried

    @property
    def copies_rows(self) -> bool:
        """Whether `copy` can load the rows of this run."""
        is_unchanged = loads_rows_unchanged(self._parts.pipeline, self._key)
        return is_unchanged and isinstance(self._sink, BatchSink)

    def expect_batches(self) -> None:
        """Tell the destination if `copy` may be called. Must be called before the first row."""
        if self.copies_rows:
            assert isinstance(self._sink, BatchSink)
            self._sink.expect_batches()

    async def copy(
        self, part: int, first: int, batch: RowBatch | RefusedRow, keys: Sequence[str]
    ) -> bool:
        """Load rows without a transform. Return False if the destination does not accept them all.

        `first` is the index of the first record, and `keys` are the keys of the records. Raises
        LoomError if the sink fails.
        """
        parts, sink = self._parts, self._sink
        assert isinstance(batch, RowBatch)  # a refused row has no key
        assert isinstance(sink, BatchSink)  # see `copies_rows`
        with parts.tally.watches["load"]:
            parts.journal.begin_part(part, range(first, first + len(keys)))
            if parts.increment is not None:
                parts.increment.begin_batch(part, batch)
            is_loaded = await self.call(sink.load_batch, part, batch)
            if is_loaded:
                parts.tally.add_copied(len(keys))
                parts.log.write_copied(first, keys)
                parts.journal.report_part(part)
                self.accepted += len(keys)
                if parts.increment is not None:
                    parts.increment.add_copied(first, len(keys))
        return is_loaded

    async def load(self, batch: Sequence[RecordOutcome], part: int) -> LoadedBatch:
        """Load a batch. `part` is its number.

        If the destination refuses the row of a record and processing it again does not help, the
        returned outcome of this record contains the failure. Raises LoomError if the sink fails.
        """
        outcomes = list(batch)
        if self._parts.increment is not None:
            self._parts.increment.add_lost(o.record for o in batch if not o.is_final)
        newest = await self._newest_records()
        good = [index for index, outcome in enumerate(batch) if _has_row(outcome)]
        refused = await self._send(
            part, [outcomes[index] for index in good], list(filter(_is_rejected, batch)), newest
        )
        if self._is_resumed or refused:
            newest.add(
                outcomes[index].record
                for position, index in enumerate(good)
                if position not in refused
            )
        reasons = {good[position]: reason for position, reason in refused.items()}
        error = await self._process_refused(outcomes, reasons, newest)
        self.has_unloaded |= error is not None
        return LoadedBatch(outcomes, error)

    async def _newest_records(self) -> NewestRecords:
        """Return the newest records of the parts that earlier attempts and this one have loaded.

        An attempt that resumes no run loads the records in their order. The result is then empty.
        """
        if not self._is_resumed or self._is_append:
            return NewestRecords()
        if self._newest is None:
            repeated = await asyncio.to_thread(lambda: self._last_positions)
            self._newest = NewestRecords(repeated)
        return self._newest

    async def _process_refused(
        self, outcomes: list[RecordOutcome], reasons: Mapping[int, str], newest: NewestRecords
    ) -> LoomError | None:
        """Process refused rows again, and replace their outcomes. Return the error, if any.

        `reasons` are the reasons for the refusals, by the index of the outcome. Of several records
        with the same key, the last one is first, so that the others are not necessary.
        """
        chains: dict[int | str, list[tuple[int, RecordOutcome]]] = {}
        for index in sorted(reasons, reverse=True):
            outcome = outcomes[index]
            chain = chains.setdefault(index if self._is_append else outcome.record.key, [])
            chain.append((index, outcome))
            outcomes[index] = refuse(outcome, reasons[index])
        error: LoomError | None = None
        limit = asyncio.Semaphore(self._parts.concurrency)

        async def process_again(chain: Sequence[tuple[int, RecordOutcome]]) -> None:
            nonlocal error
            async with limit:
                for index, outcome in chain:
                    if error is not None:
                        return
                    if not self._is_append and newest.has_later(outcome.record):
                        outcomes[index] = outcome
                        self.duplicates += 1
                        continue
                    try:
                        outcomes[index] = await self._process_again(outcome, reasons[index], newest)
                    except LoomError as fault:
                        error = fault

        await asyncio.gather(*map(process_again, chains.values()))
        return error

    async def _process_again(
        self, outcome: RecordOutcome, reason: str, newest: NewestRecords
    ) -> RecordOutcome:
        """Return the outcome of a record whose row the destination has refused.

        If an earlier attempt of the run has already processed the record again, its new output is
        loaded.
        """
        is_known = outcome.refusals > 0
        while reason:
            if not is_known:
                outcome = await self._parts.stages.process_refused(outcome, reason)
                if _has_row(outcome):
                    self._parts.journal.add(outcome)
            is_known = False
            reason = ""
            if _has_row(outcome):
                refused = await self._send(self.part_of(outcome), [outcome], [], newest)
                reason = refused.get(0, "")
                if not reason:
                    newest.add([outcome.record])
            elif _is_rejected(outcome):
                await self._send(self.part_of(outcome), [], [outcome], newest)
        return outcome

    async def load_again(self, outcome: RecordOutcome) -> None:
        """Load the new row of a record whose row was refused when the rows were published."""
        await self._send(self.part_of(outcome), [outcome], [], NewestRecords())

    def record_of(self, part: int, at: int) -> int:
        """Return the index of the record of a row that was sent to a ReplacingSink.

        `at` is the index of the row in its part.
        """
        return self._sent[part][at]

    def part_of(self, outcome: RecordOutcome) -> int:
        """Return the number of the part for a record that was refused. It is negative.

        The batches of a run have the numbers from 0.
        """
        most_refusals = self._parts.pipeline.load.retries + 1
        return -(outcome.record.index * most_refusals + outcome.refusals)

    async def _send(
        self,
        part: int,
        good: Sequence[RecordOutcome],
        rejected: Sequence[RecordOutcome],
        newest: NewestRecords,
    ) -> Mapping[int, str]:
        """Load rows, and return the reasons for the refused rows by their position in `good`."""
        async with self._loading:
            rows = {
                position: self.build_row(outcome.record, outcome.output.fields)
                for position, outcome in enumerate(good)
                if outcome.output is not None
                and (self._is_append or not newest.has_later(outcome.record))
            }
            self.duplicates += len(good) - len(rows)
            with self._parts.tally.watches["load"]:
                keys = await self._rejected_keys(rejected)
                if not rows and not keys:
                    return {}
                if self._parts.increment is not None:
                    # The refusals of the sink are numbered by row, so these records come first.
                    replaced = [position for position in range(len(good)) if position not in rows]
                    records = [good[position].record for position in (*rows, *replaced)]
                    self._parts.increment.begin_part(part, records)
                refused = await self.call(self._sink.load, part, [*rows.values()], keys)
        if isinstance(self._sink, ReplacingSink):
            self._sent[part] = array("q", (good[position].record.index for position in rows))
        self.accepted += len(rows) - len(refused)
        positions = list(rows)
        return {positions[index]: reason for index, reason in refused.items()}

    async def call(
        self,
        load: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Call a method of the sink in a thread, unless the run has lost its lock.

        Before, the thread waits until the journal is on the disk.
        """

        def load_locked() -> Result:
            self._parts.journal.sync()
            self._parts.require_lock()
            return load(*args, **kwargs)

        self.failed = True  # reset when the sink has accepted or declined the rows
        result = await finish_in_thread(load_locked)
        self.failed = False
        return result

    async def _rejected_keys(self, rejected: Sequence[RecordOutcome]) -> list[JsonObject]:
        """Return the keys of rejected records, unless a later record has the same key.

        The outcome of the last record with a key decides about the row.
        """
        if not rejected or self._parts.pipeline.load.mode != "upsert":
            return []
        last = await asyncio.to_thread(lambda: self._last_positions)
        records = [outcome.record for outcome in rejected]
        return [
            {name: record.input[name] for name in self._key} or {HASH_KEY: record.key}
            for record in records
            if last.get(hash(record.key), record.index) == record.index
        ]

    @cached_property
    def _last_positions(self) -> dict[int, int]:
        return last_positions(record.key for record in self._records())


def _has_row(outcome: RecordOutcome) -> bool:
    return outcome.failure is None and outcome.output is not None


def _is_rejected(outcome: RecordOutcome) -> bool:
    """Whether a gate has rejected the record: all its evaluators returned scores."""
    return outcome.failure is not None and outcome.failure.stage == "gate"
