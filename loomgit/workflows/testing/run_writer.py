"""Stores the results of a test session: samples as they arrive, and the run file at the end."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loomgit.domain.samples import stored_cases
from loomgit.harness.results import (
    cost_of,
    evaluation_of,
    judge_models,
    performance_of,
    results_of,
    served_models,
)
from loomgit.history.samples import to_line
from loomgit.workflows.run_record import make_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from loomgit.domain.runs import Cause, Run, Status, TestRecord
    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.versions import Commit
    from loomgit.history.records_writer import RecordsWriter
    from loomgit.history.store import RunStore
    from loomgit.wiring.revision import PipelineVersion

KEPT_CASES = 1000  # if a run has more cases than this, only its records file contains them


class TestRunWriter:
    """Writes one test run of a pipeline version. Several threads may add samples."""

    def __init__(
        self, store: RunStore, version: PipelineVersion, commit: Commit, now: datetime
    ) -> None:
        self._store = store
        self._version = version
        self._commit = commit
        self._now = now
        self._lock = threading.Lock()
        self.run_id, self.uid = store.begin(version.plan.pipeline.name, now)
        self._open: AbstractContextManager[RecordsWriter] = store.records(self.uid)
        self._log = self._open.__enter__()

    def add(self, case: CaseSamples, sample: Sample) -> None:
        """Write one sample of a case to the records file."""
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
        """Write the run file, and return the run.

        The run covers `selected` of `total` tests or cases. Both default to the number of `cases`.
        If the cases and evaluation settings come from another commit than the run's own,
        `question_from` is this other commit.
        """
        plan = self._version.plan
        records = self._log.finish()
        self._open.__exit__(None, None, None)
        run = make_run(
            plan,
            "test",
            self.run_id,
            self.uid,
            self._now,
            self._commit,
            results=results_of(cases, status, cause, message),
            evaluation=evaluation_of(cases, plan.pipeline.evaluate.evaluators),
            cost=cost_of(cases),
            performance=performance_of(cases, (datetime.now(UTC) - self._now).total_seconds()),
            selected=len(cases) if selected is None else selected,
            total=len(cases) if total is None else total,
            complete=complete,
            source=dataset or plan.pipeline.extract.source,
            destination="",
            records=records,
            judges=judge_models(cases),
            served=served_models(cases),
            cases=tuple(stored_cases(cases)) if len(cases) <= KEPT_CASES else (),
            tests=tuple(tests),
            question_from=question_from,
            target=self._version.assembly.wiring.settings.target,
        )
        self._store.save(run)
        return run

    def abandon(self) -> None:
        """Store no run, and remove the records file if it is not finished yet."""
        error = RuntimeError("nothing was measured")
        try:
            self._open.__exit__(RuntimeError, error, None)
        except RuntimeError:
            return
