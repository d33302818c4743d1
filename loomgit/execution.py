"""One run, from its plan to its record: opens what it needs, interrupts it, closes it again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from loomgit import __version__
from loomgit.domain.ports import QueryValues
from loomgit.domain.runs import SCHEMA_VERSION, Run
from loomgit.errors import ProblemsFound
from loomgit.gateway.meter import MeterGateway
from loomgit.pipeline.events import RunFinished, RunStarted, Warned
from loomgit.pipeline.plan import identify
from loomgit.pipeline.runner import Parts, Runner
from loomgit.pipeline.stages import Stages
from loomgit.pipeline.tally import Tally
from loomgit.rows.quarantine import QuarantineEntry
from loomgit.wiring.assembly import AUTO_CONCURRENCY
from loomgit.wiring.consistency import missing_fields, missing_key
from loomgit.wiring.limits import without_effect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.ports import Gateway, LoadReceipt
    from loomgit.domain.records import Outcome
    from loomgit.domain.runs import RecordsFile
    from loomgit.history.records_writer import RecordsWriter
    from loomgit.pipeline.events import Event
    from loomgit.pipeline.plan import Plan
    from loomgit.pipeline.prompt import Prompt
    from loomgit.pipeline.runner import End, Spool
    from loomgit.rows.quarantine import Quarantine
    from loomgit.wiring.assembly import Assembly


class Execution:
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
    ) -> None:
        """`gateway` is closed with the run; None: the plan's own."""
        self._assembly = assembly
        self._plan = plan
        self._prompt = prompt
        self._now = now
        self._limit = limit
        self._on_event = on_event
        self._gateway = gateway
        self.interrupted = False  # by Ctrl-C, whatever could still be done then
        self._run_id, self._uid = "", ""
        paths = [plan.prompt.path, plan.pipeline.path, *(f.path for f in plan.context.values())]
        self._commit = assembly.wiring.repository.head([*paths, *plan.documents])

    async def run(self) -> Run:
        """The record of the run, stored."""
        assembly, pipeline = self._assembly, self._plan.pipeline
        store = assembly.wiring.store
        self._on_event(RunStarted(pipeline.name, pipeline.version))
        for message in without_effect(pipeline, assembly.wiring.settings):
            self._on_event(Warned(message))
        meter = MeterGateway(self._gateway or assembly.gateway(self._plan))
        finished: RunFinished | None = None
        try:
            parts = self._parts(meter)  # faults of the configuration show before anything begins
            self._run_id, self._uid = store.begin(pipeline.name, self._now)
            state = store.folder / "state" / self._run_id
            with (
                _scratch(state),
                store.records(self._uid) as log,
                assembly.quarantine(pipeline) as quarantine,
            ):
                rejections = Rejections(quarantine, pipeline.name, self._run_id)
                skip = pipeline.load.on_failure == "skip"
                runner = Runner(parts(state, log, None if skip else rejections))
                with self._interruptible(runner):
                    async for event in runner.run():
                        if isinstance(event, RunFinished):
                            finished = event
                            store.save(event.run)
                        self._on_event(event)
        finally:
            await meter.close()
        assert finished is not None  # the runner ends with it or raises
        return finished.run

    def _parts(
        self, gateway: MeterGateway
    ) -> Callable[[Path, RecordsWriter, Rejections | None], Parts]:
        assembly, plan = self._assembly, self._plan
        pipeline = plan.pipeline
        tally = Tally(pipeline.evaluate.evaluators, identify(plan))
        transformer = assembly.transformer(
            plan, self._prompt, gateway, pipeline.transform.documents_field
        )
        stages = Stages(
            transformer,
            assembly.panel(plan, gateway),
            pipeline.load,
            assembly.failure_policy(plan, gateway),
            tally.watches,
            assembly.retrieval(plan),
        )
        values = QueryValues(plan.execution_date, None, dict(plan.variables))
        source = assembly.source(pipeline, values, limit=self._limit)
        with assembly.reading(pipeline):
            source.check()

        def parts(state: Path, log: RecordsWriter, rejections: Rejections | None) -> Parts:
            return Parts(
                pipeline=pipeline,
                source=source,
                open_spool=lambda rows: assembly.spool(state, rows),
                open_sink=lambda key, first: assembly.sink(
                    pipeline, key, first, output=plan.output, stage=state, run=self._uid
                ),
                stages=stages,
                tally=tally,
                log=log,
                quarantine=rejections,
                check_fields=self._check_fields,
                record=partial(self._record, gateway),
                concurrency=self._concurrency(),
                lineage={"_loom_run_id": self._run_id},
            )

        return parts

    def _concurrency(self) -> int:
        configured = self._plan.pipeline.transform.concurrency
        return configured or self._assembly.wiring.settings.defaults.concurrency or AUTO_CONCURRENCY

    def _check_fields(
        self, key: Sequence[str], fields: Sequence[str], filled: Collection[str]
    ) -> None:
        """What the pipeline wants of the records, all of it before the first call."""
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

    @contextlib.contextmanager
    def _interruptible(self, runner: Runner) -> Iterator[None]:
        """Ctrl-C (or a polite kill): the first stops the runner, the second cancels it."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        presses = 0

        def interrupt() -> None:
            nonlocal presses
            presses += 1
            self.interrupted = True
            if presses == 1:
                self._on_event(Warned("stopping: calls in flight end first; Ctrl-C again: at once"))
                runner.stop()
            else:
                task.cancel()

        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, interrupt)
        except (NotImplementedError, RuntimeError, ValueError):
            yield  # not the main thread, or Windows: Ctrl-C is Python's own
            return
        try:
            yield
        except asyncio.CancelledError:
            if presses > 1:
                raise KeyboardInterrupt from None
            raise
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _record(
        self,
        meter: MeterGateway,
        tally: Tally,
        spool: Spool,
        receipt: LoadReceipt,
        end: End,
        duration: float,
        records: RecordsFile,
    ) -> Run:
        plan, pipeline = self._plan, self._plan.pipeline
        return Run(
            schema_version=SCHEMA_VERSION,
            run_id=self._run_id,
            uid=self._uid,
            kind="pipeline",
            pipeline=pipeline.name,
            pipeline_version=pipeline.version,
            execution_date=f"{plan.execution_date:%Y-%m-%dT%H:%M:%SZ}",
            started=self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            commit=self._commit,
            scope=plan.scope(),
            config=plan.config(),
            results=tally.results(end.status, end.cause, end.message, receipt),
            evaluation=tally.evaluation(),
            cost=meter.cost(tally.cost().cached),
            performance=tally.performance(duration),
            selected=spool.count,
            total=spool.count,
            complete=end.complete,
            environment=environment(),
            source=pipeline.extract.source,
            destination=pipeline.load.destination,
            snapshot=spool.sha256,
            records=records,
            question=plan.question(),
            judges=tally.judges(),
            served=sorted({part.model for part in meter.models if part.stage == "transform"}),
            cases=tally.cases(),
            files={**plan.files, **plan.code},
            limit=self._limit if spool.count == self._limit else None,
        )


class Rejections:
    """Writes the failed records of one run into the pipeline's quarantine."""

    def __init__(self, quarantine: Quarantine, pipeline: str, run_id: str) -> None:
        self._quarantine = quarantine
        self._pipeline = pipeline
        self._run_id = run_id

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Append the records with their reasons."""
        for outcome in outcomes:
            failure = outcome.failure
            assert failure is not None  # only failed records come here
            errors = [a.error for a in outcome.assessments if a.error]
            self._quarantine.append(
                QuarantineEntry(
                    run_id=self._run_id,
                    pipeline=self._pipeline,
                    record_key=outcome.record.key,
                    stage=failure.stage,
                    reason=failure.reason,
                    at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                    record=outcome.record.input,
                    scores={
                        a.name: a.score.value if a.score else None for a in outcome.assessments
                    },
                    reasons={
                        a.name: a.score.reason if a.score else a.error for a in outcome.assessments
                    },
                    output=None if outcome.output is None else outcome.output.fields,
                    error="; ".join(errors)
                    or (None if failure.stage == "gate" else failure.reason),
                )
            )


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """A folder for the time of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment() -> dict[str, str]:
    """The versions of what made the result; read from package metadata, nothing is imported."""
    found = {"loomgit": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for name, package in (("litellm", "litellm"), ("arbiter", "arbiter-ai")):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(package)
    return found
