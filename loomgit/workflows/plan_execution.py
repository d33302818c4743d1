"""Executes a plan once: builds the parts of the run, runs them, and stores the run record."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.unfinished_runs import Attempt
from loomgit.errors import LoomError, ProblemsFound
from loomgit.evaluators.kinds import is_immediate
from loomgit.gateway.meter import MeterGateway
from loomgit.gateway.paid_replies import PaidReplyGateway
from loomgit.pipeline.events import RunFinished, RunStarted, Warned
from loomgit.pipeline.plan import case_identifier
from loomgit.pipeline.run_parts import RunParts
from loomgit.pipeline.run_progress import emit_progress
from loomgit.pipeline.run_statistics import RunStatistics
from loomgit.pipeline.runner import Runner
from loomgit.pipeline.stages import Stages
from loomgit.rows.journal import Journal
from loomgit.rows.run_spool import RunSpool
from loomgit.wiring.consistency import missing_fields, missing_key
from loomgit.wiring.quarantines import (
    loads_at_once,
    open_checked_quarantine,
)
from loomgit.wiring.unsupported import (
    without_effect,
)
from loomgit.workflows.begin_increment import (
    begin_increment,
    open_increment,
    open_new_records,
    warn_of_full_refresh,
)
from loomgit.workflows.rejections import Rejections
from loomgit.workflows.resume import (
    JOURNAL,
    begin_attempt,
    require_complete_journal,
)
from loomgit.workflows.run_record import make_run
from loomgit.workflows.run_signals import handle_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from loomgit.domain.ports import Gateway, LoadReceipt, Sink, Source
    from loomgit.domain.records import Record
    from loomgit.domain.runs import Cost, RecordsFile, Run
    from loomgit.domain.stage_progress import StageProgressed
    from loomgit.domain.unfinished_runs import UnfinishedRun
    from loomgit.pipeline.events import Event
    from loomgit.pipeline.plan import Plan
    from loomgit.pipeline.prompt import Prompt
    from loomgit.pipeline.run_parts import RecordLog, RunEnd, SpooledRecords
    from loomgit.wiring.assembly import Assembly


class PlanExecution:
    """Runs a plan once."""

    def __init__(
        self,
        assembly: Assembly,
        plan: Plan,
        prompt: Prompt,
        *,
        now: datetime,
        limit: int | None,
        on_event: Callable[[Event], None],
        gateway: Gateway | None = None,
        earlier: UnfinishedRun | None = None,
        source: Source | None = None,
        full_refresh: bool = False,
    ) -> None:
        """Create the execution.

        If `gateway` is None, the run opens the gateway that the plan defines. The run closes the
        gateway in any case. `limit` is the maximum number of records; None means all. `earlier` is
        the unfinished run to resume, if any. `source` replaces the source of the pipeline; the
        record of the run is then not complete. If `full_refresh` is true, an incremental extraction
        ignores the watermark.
        """
        self._assembly = assembly
        self._plan = plan
        self._prompt = prompt
        self._now = now
        self._limit = limit
        self._on_event = on_event
        self._gateway = gateway
        self._earlier = earlier
        self._source = source
        self._reads_source = source is None
        self._full_refresh = full_refresh
        self._increment = open_increment(
            assembly.wiring,
            plan.pipeline,
            full_refresh=full_refresh,
            only_remembers=source is not None,
        )
        self.interrupted = False  # true after SIGINT or SIGTERM, even if all records were processed
        self._run_id, self._uid = "", ""
        self._spent_earlier: float | None = 0.0  # for the replies in the journal, in USD
        self._commit = assembly.wiring.repository.head(plan.input_paths())

    async def run(self) -> Run:
        """Run the plan, store the record of the run and return it."""
        assembly, pipeline = self._assembly, self._plan.pipeline
        store = assembly.wiring.store
        self._on_event(RunStarted(pipeline.name, pipeline.version))
        warnings = without_effect(pipeline, assembly.wiring.settings)
        for message in (*warnings, *warn_of_full_refresh(pipeline, given=self._full_refresh)):
            self._on_event(Warned(message))
        paid = PaidReplyGateway(self._gateway or assembly.gateway(self._plan))
        meter = MeterGateway(paid)
        finished: RunFinished | None = None
        try:
            parts = self._parts(meter)  # raises configuration errors before the run starts
            quarantine = open_checked_quarantine(assembly.wiring, pipeline)
            at_once = loads_at_once(pipeline, assembly.wiring.connections)
            rejections = Rejections(
                quarantine,
                pipeline.name,
                target=assembly.wiring.settings.target,
                at_once=at_once,
            )
            with (
                assembly.lock(pipeline) as require_lock,
                self._unfinished() as (unfinished, state, journal),
                store.records(self._uid) as records,
                quarantine,
            ):
                paid.log, self._spent_earlier = journal, journal.spent
                log = rejections.begin(self._run_id, records, self._on_event)
                skip = pipeline.load.on_failure == "skip"
                quarantine_log = None if skip else rejections
                run_parts = parts(state, journal, log, quarantine_log, require_lock)
                runner = Runner(run_parts)
                measure = partial(_measure, run_parts.tally, meter)
                with (
                    handle_signals(runner, self._interrupt),
                    emit_progress(measure, self._on_event),
                ):
                    async for event in runner.run():
                        if isinstance(event, RunFinished):
                            finished = event
                            store.save(event.run)
                            if not event.can_resume or not self._reads_source:
                                store.unfinished.remove(unfinished)
                        self._on_event(event)
        finally:
            await meter.close()
            await assembly.close()
        assert finished is not None  # the last event of the runner is RunFinished
        return finished.run

    @contextmanager
    def _unfinished(self) -> Iterator[tuple[UnfinishedRun, Path, Journal]]:
        """Context that begins an attempt, and yields the unfinished run, its folder and journal.

        If the run cannot start, the attempt is forgotten. After the first outcome, the attempt is
        kept, so that the run can be resumed even if its record cannot be stored.
        """
        store = self._assembly.wiring.store
        self._run_id, self._uid = store.begin(self._plan.pipeline.name, self._now)
        started = self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        attempt = Attempt(self._run_id, self._uid, started)
        run = begin_attempt(
            self._earlier,
            self._plan,
            attempt,
            limit=self._limit,
            commit=self._commit,
            reads_source=self._reads_source,
            target=self._assembly.wiring.settings.target,
            full_refresh=self._full_refresh,
        )
        with store.unfinished.working_on(run) as folder:
            journal: Journal | None = None
            try:
                with closing(Journal(folder / JOURNAL)) as journal:
                    yield run, folder, journal
            except LoomError as error:
                if journal is None or not journal.has_advanced:
                    store.unfinished.forget_last_attempt(run)
                else:
                    error.hint = "; ".join(filter(None, (error.hint, self._resume_hint())))
                raise

    def _parts(
        self, gateway: MeterGateway
    ) -> Callable[[Path, Journal, RecordLog, Rejections | None, Callable[[], None]], RunParts]:
        assembly, plan = self._assembly, self._plan
        pipeline = plan.pipeline
        statistics = RunStatistics(pipeline.evaluate.evaluators, case_identifier(plan))
        transformer = assembly.transformer(
            plan, self._prompt, gateway, pipeline.transform.documents_field
        )
        stages = Stages(
            transformer,
            assembly.panel(plan, gateway),
            pipeline.load,
            assembly.failure_policy(plan, gateway),
            statistics.watches,
            assembly.retrieval(plan),
        )
        increment = self._increment
        if increment is not None:
            increment.load()
        with assembly.reading(pipeline):
            self._open_source().check()

        def parts(
            state: Path,
            journal: Journal,
            log: RecordLog,
            rejections: Rejections | None,
            require_lock: Callable[[], None],
        ) -> RunParts:
            spool = RunSpool(state, journal)
            if increment is not None:
                begin_increment(increment, assembly.wiring, state, has_spool=journal.has_spool)
                if warning := increment.find_warning(self._now):
                    self._on_event(Warned(warning))
            return RunParts(
                pipeline=pipeline,
                source=self._open_source(),
                open_spool=spool.open if increment is None else increment.checking(spool.open),
                keep_spool=spool.keep if increment is None else increment.keeping(spool.keep),
                require_lock=require_lock,
                open_sink=partial(self._open_sink, state, journal),
                stages=stages,
                tally=statistics,
                log=log,
                journal=journal,
                quarantine=rejections,
                check_fields=self._check_fields,
                record=partial(self._record, gateway),
                concurrency=assembly.concurrency(pipeline),
                lineage={"_loom_run_id": self._run_id},
                resume_hint=self._resume_hint(),
                in_batches=stages.transforms_batches
                and all(map(is_immediate, pipeline.evaluate.evaluators)),
                increment=increment,
            )

        return parts

    def _interrupt(self) -> None:
        """Tell the user that the run stops, after the first signal."""
        if not self.interrupted:
            message = "stopping after the calls in flight; press Ctrl-C again to stop immediately"
            self._on_event(Warned(message))
        self.interrupted = True

    def _open_source(self) -> Source:
        return self._source or open_new_records(
            self._assembly, self._plan, self._increment, limit=self._limit
        )

    def _open_sink(
        self, state: Path, journal: Journal, key: tuple[str, ...], first: Sequence[Record]
    ) -> Sink:
        """Return the destination, checked. `state` is the folder of the unfinished run."""
        plan = self._plan
        sink = self._assembly.sink(
            plan.pipeline,
            key,
            first,
            output=plan.output,
            stage=state,
            run=state.name,
            loaded=None if self._increment is None else self._increment.loaded,
        )
        if self._earlier is not None:
            require_complete_journal(journal.part_sizes, sink, state, plan.pipeline)
        return sink

    def _resume_hint(self) -> str:
        name = self._plan.pipeline.name
        command = f"run {name} --resume {self._run_id}"
        if not self._reads_source:
            command = f"quarantine retry {name}"
        return f"`loom {command}` continues the run"

    def _check_fields(
        self, key: Sequence[str], fields: Sequence[str], filled: Collection[str]
    ) -> None:
        """Raise ProblemsFound before the first call if the records lack necessary fields.

        `key` contains the key fields of the records, `fields` contains all fields, and `filled`
        contains the fields that have a value in at least one record.
        """
        plan, pipeline = self._plan, self._plan.pipeline
        retrieve, field = pipeline.transform.retrieve, pipeline.transform.documents_field
        problems = [
            *missing_key(pipeline, key, fields),
            *self._prompt.check(
                context=[*plan.context, *([field] if field else [])],
                variables=plan.variables,
                fields=[*fields, field] if retrieve and field else fields,
            ),
            *missing_fields(pipeline, fields, filled),
        ]
        if problems:
            raise ProblemsFound(problems)

    def _record(
        self,
        meter: MeterGateway,
        statistics: RunStatistics,
        spool: SpooledRecords,
        receipt: LoadReceipt,
        end: RunEnd,
        duration: float,
        records: RecordsFile,
    ) -> Run:
        plan, pipeline = self._plan, self._plan.pipeline
        return make_run(
            plan,
            "pipeline",
            self._run_id,
            self._uid,
            self._now,
            self._commit,
            results=statistics.results(end.status, end.cause, end.message, receipt),
            evaluation=statistics.evaluation(),
            cost=self._cost(meter.cost(statistics.cost().cached), statistics),
            performance=statistics.performance(duration),
            selected=spool.count,
            total=spool.count,
            complete=end.complete and self._reads_source,
            source=pipeline.extract.source,
            destination=pipeline.load.destination,
            snapshot=spool.sha256,
            records=records,
            judges=statistics.judges(),
            served=sorted({part.model for part in meter.models if part.stage == "transform"}),
            cases=statistics.cases(),
            limit=self._limit if spool.count == self._limit else None,
            resumes="" if self._earlier is None else self._earlier.uid,
            target=self._assembly.wiring.settings.target,
            watermark=None if self._increment is None else self._increment.change,
        )

    def _cost(self, cost: Cost, statistics: RunStatistics) -> Cost:
        """Return the cost of this attempt, with the sum of all attempts if the run is resumed."""
        # Older versions did not store the replies, so only the finished records have a cost.
        earlier = [statistics.spent_earlier, self._spent_earlier]
        known = [amount for amount in earlier if amount is not None]
        if self._earlier is None or len(known) < len(earlier) or cost.total is None:
            return cost
        return replace(cost, all_attempts=cost.total + max(known))


def _measure(statistics: RunStatistics, meter: MeterGateway) -> StageProgressed:
    return statistics.progress.event(statistics.processed, meter.cost(0).total)
