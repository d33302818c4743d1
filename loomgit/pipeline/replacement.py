"""The end of a run with `mode: replace`: the rows that the destination refuses become failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.pipeline.record_line import render_record_line
from loomgit.pipeline.run_end import check_failure_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loomgit.domain.ports import ReplacingSink
    from loomgit.domain.records import Record, RecordOutcome
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.batch_loader import BatchLoader
    from loomgit.pipeline.run_parts import RunParts


class Replacement:
    """Replaces the rows of a destination with the accepted rows of a run.

    The outcome of a record is already counted and written to the records file when the destination
    refuses its row. Therefore, the statistics are corrected, and `corrected` contains the new lines
    of the records file, by the index of the record. The memory grows with the refused rows.

    A refused row is replaced by the fallback row of its record if no model is needed for it.
    Otherwise, the record fails at the stage `load`. No model is called, because the calls of a run
    end before the load of its last rows.
    """

    def __init__(
        self,
        parts: RunParts,
        loader: BatchLoader,
        sink: ReplacingSink,
        records: Callable[[], Iterable[Record]],
    ) -> None:
        self._parts = parts
        self._loader = loader
        self._sink = sink
        self._records = records
        self._known: set[tuple[int, int]] = set()  # the places of the refused rows so far
        self._outcomes: dict[int, RecordOutcome] = {}  # of records with a refused row
        self.corrected: dict[int, JsonObject] = {}

    async def publish(self) -> None:
        """Publish the accepted rows, and fail the records of the others.

        If no row is accepted, the destination is unchanged. Raises LoomError if the destination
        fails, or if more records fail than `max_failure_rate` allows.
        """
        published = False
        while not published:
            await self._fail_refused(await self._loader.call(self._sink.refused_rows))
            check_failure_rate(self._parts.tally, self._parts.pipeline)
            if not self._loader.accepted:
                return
            published = await self._loader.call(self._sink.publish)

    async def _fail_refused(self, refused: Mapping[tuple[int, int], str]) -> None:
        """Process the refused rows that are not known yet."""
        reasons: dict[int, list[str]] = {}  # of the row, and then of its fallback row
        for place in sorted(refused.keys() - self._known, key=lambda place: (place[0] < 0, place)):
            index = self._loader.record_of(*place)
            reasons.setdefault(index, []).append(refused[place])
            self._known.add(place)
        if not reasons:
            return
        journal = self._parts.journal
        journal.reread(reasons)
        for record in self._records():
            if record.index in reasons:
                before = self._outcomes.get(record.index) or journal.find(record)
                assert before is not None  # the journal has the outcome of each loaded record
                await self._fail(before, reasons[record.index])

    async def _fail(self, before: RecordOutcome, reasons: Iterable[str]) -> None:
        """Replace the outcome of a record. `reasons` are those of the refusals of its rows."""
        parts, outcome = self._parts, before
        for reason in reasons:
            outcome = await parts.stages.replace_refused(outcome, reason)
            self._loader.accepted -= 1
            if outcome.failure is None:
                await self._loader.load_again(outcome)
        parts.tally.correct(before, outcome)
        self._outcomes[outcome.record.index] = outcome
        if outcome.failure is not None and parts.quarantine is not None:
            part = self._loader.part_of(outcome)
            if not parts.journal.is_reported(part):  # an earlier attempt may have done so
                parts.quarantine.add([outcome])
                parts.journal.report_part(part)
        quarantined = parts.quarantine is not None
        self.corrected[outcome.record.index] = {
            **render_record_line(outcome, quarantined),
            **parts.tally.identity(outcome),
        }
