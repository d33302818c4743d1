"""Runs rejected records again, with the quarantine as the source of the run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.keys import find_key
from loomgit.domain.quarantine import newest_of_each_record
from loomgit.domain.records import make_record
from loomgit.errors import LoomError, UserError
from loomgit.gateway.budget import Budget
from loomgit.rows.spool import FieldNames
from loomgit.wiring.quarantines import open_quarantine, quarantine_address
from loomgit.workflows.quarantine import PipelineQuarantine, find_entries, quarantines
from loomgit.workflows.run import run_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.quarantine import QuarantineEntry
    from loomgit.domain.runs import Run
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.events import Event
    from loomgit.wiring.project import Wiring


class RetryOptions(Struct, frozen=True):
    """The options of the runs. They are those of a run, see `loomgit.api.Project.run`.

    `limit` is the maximum number of records of each run. `budget` is in USD, and all runs share it.
    """

    variables: Mapping[str, str]
    execution_date: datetime | None = None
    limit: int | None = None
    budget: float | None = None


def retry_records(
    wiring: Wiring,
    pipeline: str | None,
    keys: Sequence[str],
    options: RetryOptions,
    *,
    on_start: Callable[[], Callable[[Event], None]],
    on_error: Callable[[str, LoomError], None],
) -> list[Run]:
    """Run the open records of one or all pipelines again, and return the runs.

    `keys` are the keys of the records; if there are none, all open records are retried. `on_start`
    returns the function that receives the events of the next run. If several pipelines have
    records, `on_error` receives the pipeline and the error of each run that cannot start.
    Otherwise, the error is raised.
    """
    chosen = pipelines_to_retry(wiring, pipeline, keys)
    budget = None if options.budget is None else Budget(options.budget)
    runs: list[Run] = []
    for name, selected in chosen.items():
        try:
            run = retry_pipeline(wiring, name, selected, options, budget, on_event=on_start())
        except LoomError as error:
            if len(chosen) == 1:
                raise
            on_error(name, error)
            continue
        if run is not None:
            runs.append(run)
            if run.results.cause == "stopped":
                break
    return runs


def pipelines_to_retry(
    wiring: Wiring, pipeline: str | None, keys: Sequence[str]
) -> dict[str, frozenset[str] | None]:
    """Return the pipelines with records to retry, each with the keys of these records.

    None instead of the keys means all open records. Raises UserError if a key is invalid.
    """
    if keys:
        chosen: dict[str, frozenset[str] | None] = {}
        for key, (entry, *_) in find_entries(wiring, keys, pipeline, only_open=True).items():
            if entry.stage == "extract":
                raise UserError(
                    f"the record '{key}' could not be read from its source, so it cannot be "
                    "retried",
                    hint=f"correct the source, and use `loom run {entry.pipeline}`",
                )
            chosen[entry.pipeline] = frozenset((*(chosen.get(entry.pipeline) or ()), key))
        return chosen
    return {
        quarantine.pipeline: None
        for quarantine in quarantines(wiring, pipeline)
        if quarantine.store.open_keys(quarantine.pipeline, wiring.settings.target)
    }


def retry_pipeline(
    wiring: Wiring,
    name: str,
    keys: Collection[str] | None,
    options: RetryOptions,
    budget: Budget | None,
    *,
    on_event: Callable[[Event], None],
) -> Run | None:
    """Run the open records of a pipeline again; return the run.

    The run reads the records as the quarantine has stored them. Records that pass are loaded and
    resolved, and the others get a new entry. `keys` are the keys of the records (None: all). The
    result is None if no record can be retried.

    Raises UserError if the mode of the destination is `replace`, or if the records would get other
    keys, and the errors of `run_pipeline`.
    """
    pipeline = wiring.catalog.pipeline(name)
    if pipeline.load.mode == "replace":
        raise UserError(
            f"{pipeline.place('load.mode')}: with `mode: replace`, a retry would replace all rows "
            f"in {pipeline.load.destination} by the records of the quarantine",
            hint=f"use `loom run {name}`",
        )
    quarantine = PipelineQuarantine(
        name, open_quarantine(wiring, pipeline), quarantine_address(pipeline)
    )
    source = QuarantinedRecords(
        quarantine, keys, options.limit, wiring.warn, target=wiring.settings.target
    )
    if not source.check_keys(pipeline):
        return None
    extract = replace(pipeline.extract, source=quarantine.address, query=None, limit=None)
    return run_pipeline(
        wiring,
        replace(pipeline, extract=extract),
        variables=options.variables,
        execution_date=options.execution_date,
        limit=options.limit,
        budget=budget,
        on_event=on_event,
        source=source,
    )


class QuarantinedRecords:
    """The open records of a quarantine with one target as a source, newest first.

    Records that could not be read from their source are left out.
    """

    def __init__(
        self,
        quarantine: PipelineQuarantine,
        keys: Collection[str] | None,
        limit: int | None,
        warn: Callable[[str], None],
        *,
        target: str | None,
    ) -> None:
        self._quarantine = quarantine
        self._target = target
        self._keys = keys
        self._limit = limit
        self._warn = warn

    def check(self) -> None:
        """Do nothing: `check_keys` has read the quarantine."""

    def rows(self) -> Iterator[JsonObject]:
        """Yield the stored records."""
        return (entry.record for entry in self._entries(lambda _: None))

    def _entries(self, warn: Callable[[str], None]) -> Iterator[QuarantineEntry]:
        unread = 0

        def chosen() -> Iterator[QuarantineEntry]:
            nonlocal unread
            entries = self._quarantine.entries(warn, only_open=True)
            own = (entry for entry in entries if entry.belongs_to(self._target))
            for entry in newest_of_each_record(own):
                if self._keys is not None and entry.record_key not in self._keys:
                    continue
                if entry.stage == "extract":
                    unread += 1
                else:
                    yield entry

        yield from islice(chosen(), self._limit)
        if unread:
            records = "1 record" if unread == 1 else f"{unread:,} records"
            warn(
                f"{records} could not be read from the source, and cannot be retried: correct the "
                f"source, and use `loom run {self._quarantine.pipeline}`"
            )

    def check_keys(self, pipeline: Pipeline) -> int:
        """Return the number of records.

        Raises UserError if the pipeline would give a record another key than before, because the
        record would then stay in the quarantine, and its row could be loaded twice.
        """
        names = FieldNames()
        count = 0
        for entry in self._entries(self._warn):
            names.add(entry.record)
            count += 1
        key = find_key(tuple(names.names), pipeline.extract.key)
        for index, entry in enumerate(self._entries(lambda _: None)):
            record = make_record(index, entry.record, key, self._quarantine.address)
            if record.key != entry.record_key:
                raise UserError(
                    f"{pipeline.place('extract.key')}: the record '{entry.record_key}' of the "
                    f"quarantine would now have the key '{record.key}'",
                    hint=f"use `loom run {pipeline.name}`, and then `loom quarantine resolve` for "
                    "the records with the old key",
                )
        return count
