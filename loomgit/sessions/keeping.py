"""Keeping what a test session measured: samples as they come, the run file at the end."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loomgit.domain.runs import SCHEMA_VERSION, Run
from loomgit.domain.samples import cases_of
from loomgit.execution import environment
from loomgit.harness.results import (
    cost_of,
    evaluation_of,
    judges_of,
    performance_of,
    results_of,
    served_of,
)
from loomgit.history.samples import to_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from loomgit.domain.runs import Cause, Status, TestRecord
    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.versions import Commit
    from loomgit.history.records_writer import RecordsWriter
    from loomgit.history.store import RunStore
    from loomgit.wiring.bench import Subject

KEPT_CASES = 1000  # in the run file; a bigger session has them in its records alone


class Keeper:
    """Writes one test run of one subject; samples may come from several threads."""

    def __init__(self, store: RunStore, subject: Subject, commit: Commit, now: datetime) -> None:
        self._store = store
        self._subject = subject
        self._commit = commit
        self._now = now
        self._lock = threading.Lock()
        self.run_id, self.uid = store.begin(subject.plan.pipeline.name, now)
        self._open: AbstractContextManager[RecordsWriter] = store.records(self.uid)
        self._log = self._open.__enter__()

    def add(self, case: CaseSamples, sample: Sample) -> None:
        """Write one sample to the records."""
        with self._lock:
            self._log.write([to_line(case, sample)])

    def save(
        self,
        cases: Sequence[CaseSamples],
        *,
        status: Status,
        cause: Cause = "",
        message: str = "",
        complete: bool = True,
        selected: int | None = None,
        total: int | None = None,
        dataset: str = "",
        tests: Sequence[TestRecord] = (),
        question_from: str = "",
    ) -> Run:
        """Write the run file. `selected` of `total` tests ran (default: all cases); `question_from`
        is the commit whose question and cases were asked, where it is another than the run's."""
        plan = self._subject.plan
        records = self._log.finish()
        self._open.__exit__(None, None, None)
        run = Run(
            schema_version=SCHEMA_VERSION,
            run_id=self.run_id,
            uid=self.uid,
            kind="test",
            pipeline=plan.pipeline.name,
            pipeline_version=plan.pipeline.version,
            execution_date=f"{plan.execution_date:%Y-%m-%dT%H:%M:%SZ}",
            started=self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            commit=self._commit,
            scope=plan.scope(),
            config=plan.config(),
            results=results_of(cases, status, cause, message),
            evaluation=evaluation_of(cases, plan.pipeline.evaluate.evaluators),
            cost=cost_of(cases),
            performance=performance_of(cases, (datetime.now(UTC) - self._now).total_seconds()),
            selected=len(cases) if selected is None else selected,
            total=len(cases) if total is None else total,
            complete=complete,
            environment=environment(),
            source=dataset or plan.pipeline.extract.source,
            destination="",
            records=records,
            question=plan.question(),
            judges=judges_of(cases),
            served=served_of(cases),
            cases=tuple(cases_of(cases)) if len(cases) <= KEPT_CASES else (),
            files={**plan.files, **plan.code},
            tests=tuple(tests),
            question_from=question_from,
        )
        self._store.save(run)
        return run

    def abandon(self) -> None:
        """Leave no run: nothing was measured."""
        error = RuntimeError("nothing was measured")
        try:
            self._open.__exit__(RuntimeError, error, None)
        except RuntimeError:
            return
