"""Connects a run with the quarantine: stores rejected records, and resolves loaded records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loomgit.domain.quarantine import QuarantineEntry, Resolution
from loomgit.errors import LoomError
from loomgit.pipeline.events import Warned
from loomgit.pipeline.run_parts import NO_LINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.quarantine import QuarantineStore
    from loomgit.domain.records import RecordOutcome
    from loomgit.domain.runs import RecordsFile
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.events import Event
    from loomgit.pipeline.run_parts import RecordLog

LOADED = "loaded"


class Rejections:
    """Writes the failed records of one run into the pipeline's quarantine.

    It also resolves the open entries of the records that the run loads. If `at_once` is true, this
    is done after each batch, because the rows of the batch are then in the destination. Otherwise,
    it is done when the run has published its rows.
    """

    def __init__(
        self, quarantine: QuarantineStore, pipeline: str, *, target: str | None, at_once: bool
    ) -> None:
        """Read the keys of the open records of the target. Raises UserError or WorldError."""
        self._quarantine = quarantine
        self._pipeline = pipeline
        self._target = target
        self._run_id = ""
        self._at_once = at_once
        self._open = quarantine.open_keys(pipeline, target)
        self._loaded: dict[str, None] = {}  # the keys to resolve when the rows are published

    def add(self, outcomes: Sequence[RecordOutcome]) -> None:
        """Append the failed records to the quarantine. Each score is stored with its reason."""
        self._quarantine.add([self._entry(outcome) for outcome in outcomes])
        for outcome in outcomes:  # if a row with the same key is also loaded, the entry stays open
            self._open.discard(outcome.record.key)
            self._loaded.pop(outcome.record.key, None)

    def begin(self, run_id: str, log: RecordLog, on_event: Callable[[Event], None]) -> RecordLog:
        """Begin a run. Return its log, extended so that the loaded records are resolved.

        `on_event` receives a warning if records cannot be resolved at the end of the run.
        """
        self._run_id = run_id
        return _ResolvingLog(log, self, on_event) if self._open else log

    def loaded(self, keys: Iterable[str]) -> None:
        """Resolve the open entries of the records with these keys. Raises LoomError."""
        keys = [key for key in dict.fromkeys(keys) if key in self._open]
        if not keys:
            return
        if self._at_once:
            self._resolve(keys)
            self._open.difference_update(keys)
        else:
            self._loaded.update(dict.fromkeys(keys))

    def not_loaded(self, keys: Iterable[str]) -> None:
        """Leave the open entries of these records open, although `loaded` has received them."""
        for key in keys:
            self._loaded.pop(key, None)

    def published(self) -> None:
        """Resolve the records that wait for the end of the run. Raises LoomError."""
        if self._loaded:
            self._resolve(list(self._loaded))
            self._loaded.clear()

    def _resolve(self, keys: Sequence[str]) -> None:
        now = utc_now()
        self._quarantine.resolve(
            [
                Resolution(self._pipeline, key, now, self._run_id, LOADED, self._target)
                for key in keys
            ]
        )

    def _entry(self, outcome: RecordOutcome) -> QuarantineEntry:
        failure = outcome.failure
        assert failure is not None  # the runner passes only failed records
        errors = [a.error for a in outcome.assessments if a.error]
        return QuarantineEntry(
            run_id=self._run_id,
            pipeline=self._pipeline,
            record_key=outcome.record.key,
            stage=failure.stage,
            reason=failure.reason,
            at=utc_now(),
            record=outcome.record.input,
            scores={a.name: a.score.value if a.score else None for a in outcome.assessments},
            reasons={a.name: a.score.reason if a.score else a.error for a in outcome.assessments},
            output=None if outcome.output is None else outcome.output.fields,
            error="; ".join(errors) or (None if failure.stage == "gate" else failure.reason),
            target=self._target,
        )


class _ResolvingLog:
    """Writes the lines of a run's records, and resolves the records that are loaded."""

    def __init__(
        self, log: RecordLog, rejections: Rejections, on_event: Callable[[Event], None]
    ) -> None:
        self._log = log
        self._rejections = rejections
        self._on_event = on_event

    def write(self, rows: Iterable[JsonObject]) -> None:
        """Append lines."""
        lines = list(rows)
        self._log.write(lines)
        self._rejections.loaded(str(line["key"]) for line in lines if line["status"] == "loaded")

    def write_copied(self, first: int, keys: Sequence[str]) -> None:
        """Append lines for records that were loaded without a transform."""
        self._log.write_copied(first, keys)
        self._rejections.loaded(keys)

    def finish(
        self, *, loaded: bool = True, corrected: Mapping[int, JsonObject] = NO_LINES
    ) -> RecordsFile:
        """Finish the log. If the run has published its rows, resolve their records."""
        file = self._log.finish(loaded=loaded, corrected=corrected)
        self._rejections.not_loaded(
            str(line["key"]) for line in corrected.values() if line["status"] != "loaded"
        )
        if loaded:
            try:
                self._rejections.published()
            except LoomError as error:  # the rows are loaded, so this is no failure of the run
                message = f"the quarantine still lists loaded records: {error.message}"
                self._on_event(Warned(message))
        return file


def utc_now() -> str:
    """Return the time in UTC as ISO 8601 text with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
