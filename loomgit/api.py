"""The public Python API, which the commands also use.

from loomgit.api import Project

run = Project.find().run("customer_sentiment")
print(run.results.status, run.evaluation["label"].mean)
"""
# ruff: noqa: PLC0415 - a method imports only the modules that it needs

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from loomgit.domain.safe_text import for_screen
from loomgit.domain.utc import in_utc
from loomgit.wiring.project import Wiring
from loomgit.wiring.project_files import find_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.changes import ChangeLog
    from loomgit.domain.checks import ValidationResult
    from loomgit.domain.comparison import Comparison, Revision
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.log import FileLog
    from loomgit.domain.passages import Passage
    from loomgit.domain.runs import Run, RunSummary
    from loomgit.domain.spending import Estimate, SpendingReport
    from loomgit.domain.suites import Suite
    from loomgit.domain.values import JsonObject
    from loomgit.domain.versions import FileVersion
    from loomgit.gateway.budget import Budget
    from loomgit.history.gc import GcResult
    from loomgit.history.sync import Sync, SyncResult
    from loomgit.pipeline.events import Event
    from loomgit.report.html import render_changes, render_comparison, render_overview
    from loomgit.report.overview import Overview
    from loomgit.wiring.project_files import ProjectOptions
    from loomgit.wiring.selection import PipelineSelection
    from loomgit.workflows.comparing.request import CompareOptions
    from loomgit.workflows.report import gather_evidence


__all__ = [
    "Passage",
    "Project",
    "gather_evidence",
    "render_changes",
    "render_comparison",
    "render_overview",
]

# Maps public names to the modules that define them. A module is imported when one of its names is
# first used, because some of the modules need matplotlib and Jinja2, which load slowly.
_LAZY = {
    "gather_evidence": "loomgit.workflows.report",
    "render_changes": "loomgit.report.html",
    "render_comparison": "loomgit.report.html",
    "render_overview": "loomgit.report.html",
    "Passage": "loomgit.domain.passages",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def _ignore(event: Event) -> None:
    del event


def _to_stderr(message: str) -> None:
    print(for_screen(f"warning: {message}"), file=sys.stderr)  # noqa: T201 - default warnings of the API


class Project:
    """A folder with pipelines, prompts and context, inside a Git repository."""

    def __init__(
        self,
        root: Path,
        *,
        warn: Callable[[str], None] = _to_stderr,
        **options: Unpack[ProjectOptions],
    ) -> None:
        self.root = root
        self._wiring = Wiring(root, os.environ, warn, **options)

    @classmethod
    def find(
        cls,
        start: Path | str | None = None,
        *,
        warn: Callable[[str], None] = _to_stderr,
        **options: Unpack[ProjectOptions],
    ) -> Project:
        """Find the project that contains `start` (default: the current folder).

        The project is the nearest folder that contains `.loom/` or `pipelines/`. The search begins
        at `start` and continues in its parent folders. The option `target` is the name of a target.
        Raises UserError if there is no project.
        """
        return cls(find_root(Path(start or Path.cwd())), warn=warn, **options)

    @property
    def wiring(self) -> Wiring:
        """The project's adapters (Git, stored runs, models); commands and tests use them."""
        return self._wiring

    # -- pipelines

    def pipeline_names(self) -> list[str]:
        """Return the sorted names of the files in `pipelines/`. Raises WorldError."""
        from loomgit.history.trees import check_readable

        check_readable(self.root / "pipelines")
        return sorted(path.stem for path in (self.root / "pipelines").glob("*.yaml"))

    def pipeline(self, name: str) -> Pipeline:
        """Load the pipeline `pipelines/<name>.yaml`. Raises UserError or ProblemsFound."""
        return self._wiring.catalog.pipeline(name)

    def suites(self) -> list[Suite]:
        """Load the test files in `tests/`. Raises ProblemsFound with the problems of all files."""
        return self._wiring.catalog.suites()

    def select(
        self,
        names: Sequence[str] = (),
        expressions: Sequence[str] = (),
        *,
        exclude: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> PipelineSelection:
        """Select pipelines by name or expression (`name+`, `state:modified`), in execution order.

        `state:modified` uses the same baseline as `compare`. Raises UserError or ProblemsFound.
        """
        from loomgit.workflows.select import select_pipelines

        return select_pipelines(self._wiring, names, expressions, exclude, variables or {})

    def validate(
        self,
        name: str,
        *,
        offline: bool = False,
        variables: Mapping[str, str] | None = None,
        execution_date: datetime | None = None,
    ) -> ValidationResult:
        """Check a pipeline. If `offline` is false, also connect to its source and destination.

        `variables` and `execution_date` have the same meaning as in `run`. Missing variables are
        reported only if at least one variable is given.
        """
        from loomgit.workflows.validate.checklist import validate_pipeline

        return validate_pipeline(
            self._wiring,
            name,
            offline=offline,
            variables=variables,
            execution_date=execution_date,
        )

    def run(
        self,
        name: str,
        *,
        variables: Mapping[str, str] | None = None,
        execution_date: datetime | None = None,
        limit: int | None = None,
        budget: float | Budget | None = None,
        resume: str | None = None,
        full_refresh: bool = False,
        on_event: Callable[[Event], None] = _ignore,
    ) -> Run:
        """Run a pipeline and return its record, which is also stored in `.loom/runs`.

        `variables` and `execution_date` (default: now) are the values of `{{ vars.NAME }}` and
        `{{ execution_date }}`. `budget` is an amount in USD, or a `Budget` that several runs share.
        If the next call could exceed the budget, the run stops with the status `budget_exceeded`.
        The record of a failed run contains its status and the cause. After the first Ctrl-C, the
        run starts no further records and keeps the results that it has. `resume` is the id of an
        unfinished run to continue, or `latest`. `full_refresh` ignores the watermark of an
        incremental extraction, and sets it at the end.

        Raises UserError, ProblemsFound or WorldError if the run cannot start, and KeyboardInterrupt
        after a second Ctrl-C.
        """
        from loomgit.workflows.run import run_pipeline

        return run_pipeline(
            self._wiring,
            self.pipeline(name),
            variables=variables or {},
            execution_date=execution_date,
            limit=limit,
            budget=budget,
            resume=resume,
            full_refresh=full_refresh,
            on_event=on_event,
        )

    # -- results

    def runs(
        self,
        pipeline: str | None = None,
        *,
        branch: str | None = None,
        commit: str | None = None,
        since: datetime | None = None,
        status: str | None = None,
    ) -> list[RunSummary]:
        """Return summaries of the past runs that meet all given conditions, oldest first.

        A run that was killed before it could store a record has the status `interrupted`.
        `commit` is a full or abbreviated id (at least four digits) or any revision. `since` is in
        UTC unless it has a time zone. Raises UserError if the revision does not exist.
        """
        from loomgit.workflows.list_runs import list_runs

        since = None if since is None else in_utc(since)
        return list_runs(
            self._wiring, pipeline, branch=branch, commit=commit, since=since, status=status
        )

    def get_run(self, name: str) -> Run:
        """Get a run by its run_id, its uid, or `latest`. Raises UserError."""
        return self._wiring.store.get(name)

    def run_document(self, run: Run) -> JsonObject:
        """Return a run as the JSON object that its file contains."""
        return self._wiring.store.document(run)

    def gc(self, *, days: int = 90, keep: int = 20, dry_run: bool = False) -> GcResult:
        """Remove old runs and their records; return what was removed.

        A run is kept if it is younger than `days`, or if it is among the last `keep` runs with the
        same branch, pipeline and kind. A run without uncommitted changes is also kept if a ref
        reaches its commit. If `dry_run` is true, nothing is removed. Raises WorldError if a file
        cannot be removed.
        """
        from loomgit.history.gc import collect

        now = datetime.now(UTC)
        wiring = self._wiring
        return collect(
            wiring.store, wiring.repository, now=now, days=days, keep=keep, dry_run=dry_run
        )

    def sync_push(self, remote: str = "origin") -> SyncResult | None:
        """Push missing run files to the branch `loom-results` of a remote, without force.

        If the setting is `store: tracked`, returns None, because commits contain the run files.
        Raises UserError or WorldError.
        """
        return None if self._tracked else self._sync.push(remote)

    def sync_pull(self, remote: str = "origin") -> SyncResult | None:
        """Fetch run files that are missing locally. Existing files are not overwritten.

        If the setting is `store: tracked`, returns None. Raises UserError or WorldError.
        """
        return None if self._tracked else self._sync.pull(remote)

    def spending(self, name: str, *, since: datetime | None = None) -> SpendingReport:
        """Return the cost of a pipeline's stored runs in USD, by stage, model and day."""
        from loomgit.workflows.forecast.spending import spending

        return spending(self._wiring, self.pipeline(name), since)

    def estimate(
        self,
        name: str,
        *,
        variables: Mapping[str, str] | None = None,
        execution_date: datetime | None = None,
        limit: int | None = None,
    ) -> Estimate:
        """Estimate the cost of a pipeline's next run; no model is called. If the run could not
        start, raises UserError, ProblemsFound or WorldError."""
        from loomgit.workflows.forecast.cost_estimate import estimate

        pipeline = self.pipeline(name)
        return estimate(self._wiring, pipeline, variables or {}, execution_date, limit=limit)

    @property
    def _tracked(self) -> bool:
        return self._wiring.settings.store == "tracked"

    @property
    def _sync(self) -> Sync:
        from loomgit.history.sync import Sync

        return Sync(self._wiring.repository, self._wiring.store, self._wiring.warn)

    # -- comparison

    def compare(
        self,
        *,
        on_progress: Callable[[int, int], None] = lambda *_: None,
        **wanted: Unpack[CompareOptions],
    ) -> Comparison:
        """Compare the results of two revisions. The options are the fields of `ComparisonRequest`.

        If `run_missing` is false, only stored results are compared. Raises UserError if a revision
        does not exist, and ProblemsFound if a pipeline is invalid.
        """
        from loomgit.workflows.comparing.compare import compare_revisions

        return compare_revisions(self._wiring, wanted, on_progress)

    def resolve(self, **wanted: Unpack[CompareOptions]) -> tuple[Revision, Revision, str]:
        """Return (base, head, reason): the two revisions that `compare` would compare.

        `reason` states why there is no baseline. It is empty if a baseline exists.
        """
        from loomgit.workflows.comparing.compare import resolve_revisions

        return resolve_revisions(self._wiring, wanted)

    # -- reports

    def report(self, *, since: datetime | None = None) -> Overview:
        """Return an overview of all pipelines, which `render_overview` renders as HTML.

        The overview contains the runs since the time `since`, the scores by commit, and a
        comparison of stored results.
        """
        from loomgit.workflows.report import report_overview

        return report_overview(self._wiring, since=since)

    def changes(self, *, since: datetime | None = None) -> ChangeLog:
        """Return the changes to prompts, context files and pipelines, newest first.

        The changes come from the Git history. Each change has its author, its approvals and the
        scores of its version. The scores are stored in `.loom/state`, so that later runs do not
        alter the scores of old changes.
        """
        from loomgit.workflows.report import report_changes

        return report_changes(self._wiring, since=since)

    # -- versions

    def log(self, path: str, *, pipeline: str | None = None, limit: int | None = None) -> FileLog:
        """Return the versions of a file, newest first, with the results of their commits.

        If `pipeline` is given, only the results of this pipeline are included. Raises UserError if
        the file or the pipeline never existed.
        """
        from loomgit.workflows.file_log import read_file_log

        return read_file_log(self._wiring, self._relative(path), pipeline, limit)

    def show(self, path: str) -> FileVersion:
        """Return a file or program, given as `path` or `path@version`. Raises UserError."""
        from loomgit.history.versions import split_version
        from loomgit.workflows.file_log import read_version

        name, version = split_version(path)
        if version is not None and (self.root / path).is_file():
            name, version = path, None
        return read_version(self._wiring, self._relative(name), version)

    def tag(
        self, path: str, version: str, *, message: str | None = None, push: bool = False
    ) -> str:
        """Tag a committed file or a version of an app; return the tag. Raises UserError."""
        from loomgit.workflows.file_log import create_tag

        name = create_tag(self._wiring, self._relative(path), version, message)
        if push:
            self._wiring.repository.push_tag(name)
        return name

    def _relative(self, path: str) -> str:
        """Return a path relative to the root.

        `path` is relative to the current folder or to the root. If the project has no such file,
        the path is returned unchanged.
        """
        typed = Path(path)
        for base in (Path.cwd(), self.root):
            whole = base / typed
            if whole.exists() and whole.resolve().is_relative_to(self.root):
                return whole.resolve().relative_to(self.root).as_posix()
        return typed.as_posix()
