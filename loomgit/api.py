"""The Python API: a project and what can be done with it. The commands use it too.

from loomgit.api import Project

run = Project.find().run("customer_sentiment")
print(run.results.status, run.evaluation["label"].mean)
"""
# ruff: noqa: PLC0415 - who only lists runs does not pay for what it takes to make one

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from loomgit.domain.moments import in_utc
from loomgit.domain.outside import for_screen
from loomgit.errors import ProblemsFound, UserError
from loomgit.wiring.project import Wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.changes import ChangeLog
    from loomgit.domain.checks import Validation
    from loomgit.domain.comparison import Comparison, Revision
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.log import FileLog
    from loomgit.domain.runs import Run, RunSummary
    from loomgit.domain.spending import Estimate, Spending
    from loomgit.domain.suites import Suite
    from loomgit.domain.values import JsonObject
    from loomgit.domain.versions import FileVersion
    from loomgit.gateway.budget import Budget
    from loomgit.history.baselines import Ends
    from loomgit.history.gc import Collected
    from loomgit.history.sync import Sync, Synced
    from loomgit.pipeline.events import Event
    from loomgit.report.overview import Overview
    from loomgit.wiring.selection import Selection


class Asked(TypedDict, total=False):
    """What a comparison may be asked for; see `loomgit.comparisons.comparing.Wanted`."""

    expression: str | None
    head: str | None
    merged: tuple[str, str] | None
    pipelines: tuple[str, ...]
    select: tuple[str, ...]
    variables: Mapping[str, str]
    run_missing: bool
    allow_removed: bool
    unpaired: bool
    aa: bool
    aa_from: int
    max_drop: float | None
    max_rise: float | None
    budget: Budget | None
    trust_revision: bool


COMMIT = re.compile(r"[0-9a-f]{4,64}")
MARKS = (".loom", "pipelines")


def _ignore(event: Event) -> None:
    del event


def _to_stderr(message: str) -> None:
    print(for_screen(f"warning: {message}"), file=sys.stderr)  # noqa: T201 - the API's only words


class Project:
    """A folder with pipelines, prompts and context, inside a Git repository."""

    def __init__(self, root: Path, *, warn: Callable[[str], None] = _to_stderr) -> None:
        self.root = root
        self._wiring = Wiring(root, os.environ, warn)

    @classmethod
    def find(
        cls, start: Path | str | None = None, *, warn: Callable[[str], None] = _to_stderr
    ) -> Project:
        """The project that `start` (default: the current folder) stands in.

        A project is the nearest folder upwards with `.loom/` or `pipelines/`. Raises UserError.
        """
        here = Path(start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if any((folder / mark).is_dir() for mark in MARKS):
                return cls(folder, warn=warn)
        raise UserError(
            f"{here} is in no Loom project",
            hint="a project has a folder pipelines/ or .loom/; go there, or say --project DIR",
        )

    @property
    def wiring(self) -> Wiring:
        """The project's adapters, for entrances of Loom's own."""
        return self._wiring

    # -- pipelines

    def pipeline_names(self) -> list[str]:
        """The names under `pipelines/`, in order."""
        from loomgit.history.trees import check_readable

        check_readable(self.root / "pipelines")
        return sorted(path.stem for path in (self.root / "pipelines").glob("*.yaml"))

    def pipeline(self, name: str) -> Pipeline:
        """The definition `pipelines/<name>.yaml`. Raises UserError or ProblemsFound."""
        from loomgit.wiring.catalog import Catalog

        return Catalog(self._wiring).pipeline(name)

    def suites(self) -> list[Suite]:
        """The test files under `tests/`. Raises ProblemsFound with the faults of all of them."""
        from loomgit.wiring.catalog import Catalog

        return Catalog(self._wiring).suites()

    def select(
        self,
        names: Sequence[str] = (),
        expressions: Sequence[str] = (),
        *,
        exclude: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Selection:
        """The pipelines that are named or that an expression (`name+`, `state:modified`) selects,
        in the order in which they run; the baseline is that of `compare`.

        Raises UserError or ProblemsFound.
        """
        from loomgit.history.baselines import WORKTREE, Baselines
        from loomgit.wiring.selection import Selecting

        wiring = self._wiring

        def ends() -> Ends:
            found = Baselines(wiring.repository, wiring.settings.baseline, wiring.variables)
            return found.choose(head=WORKTREE)

        selecting = Selecting(wiring, ends, variables or {})
        return selecting.choose(names, expressions, exclude)

    def validate(
        self,
        name: str,
        *,
        offline: bool = False,
        variables: Mapping[str, str] | None = None,
        execution_date: datetime | None = None,
    ) -> Validation:
        """The checklist of a pipeline; looks at source and destination unless `offline`.

        `variables` and `execution_date` are those of a run. Missing variables are reported only if
        at least one variable is given.
        """
        from loomgit.domain.ports import QueryValues
        from loomgit.wiring.assembly import Assembly
        from loomgit.wiring.checklist import check_pipeline

        assembly = Assembly(self._wiring)
        values = QueryValues(in_utc(execution_date or datetime.now(UTC)), None, variables)
        return check_pipeline(
            assembly, name, lambda: self.pipeline(name), offline=offline, values=values
        )

    def run(
        self,
        name: str,
        *,
        variables: Mapping[str, str] | None = None,
        execution_date: datetime | None = None,
        limit: int | None = None,
        budget: float | Budget | None = None,
        on_event: Callable[[Event], None] = _ignore,
    ) -> Run:
        """Run a pipeline and return its record, which is also kept under `.loom/runs`.

        `budget` (USD, or a `Budget` for several runs) is never exceeded: the run ends before, as
        `budget_exceeded`.
        A run that ends badly is a record with a status and a cause, no exception; UserError,
        ProblemsFound and WorldError say that nothing was begun. Ctrl-C stops taking new records
        and keeps what is done; the second time it raises KeyboardInterrupt.
        """
        import asyncio

        from loomgit.execution import Execution
        from loomgit.wiring.assembly import Assembly

        if limit is not None and limit < 1:
            raise UserError(f"limit is {limit}: it is 1 at least")
        pipeline = self.pipeline(name)
        if limit is not None and pipeline.load.mode == "replace":
            raise UserError(
                f"{pipeline.place('load.mode')}: mode: replace with a limit would leave no more "
                f"than {limit} rows in {pipeline.load.destination}",
                hint="load into another destination to try the pipeline out",
            )
        now = datetime.now(UTC)
        when = in_utc(execution_date or now)
        assembly = Assembly(self._wiring)
        problems = assembly.refusals(pipeline)
        try:
            plan, prompt = assembly.plan(pipeline, variables or {}, when)
        except ProblemsFound as error:
            raise ProblemsFound([*problems, *error.problems]) from error
        if problems:
            raise ProblemsFound(problems)
        gateway = assembly.gateway(plan, budget=budget)
        execution = Execution(
            assembly, plan, prompt, now=now, limit=limit, on_event=on_event, gateway=gateway
        )
        return asyncio.run(execution.run())

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
        """Summaries of the past runs that meet every condition given, oldest first.

        `commit` is an id, its beginning (four digits or more) or any revision; `since` is UTC
        unless it says otherwise. Raises UserError for a revision that is not there.
        """
        if commit is not None and commit != "unborn" and not COMMIT.fullmatch(commit):
            commit = self._commit_id(commit)
        since = None if since is None else in_utc(since)
        return self._wiring.store.search(
            pipeline=pipeline, branch=branch, commit=commit, since=since, status=status
        )

    def _commit_id(self, revision: str) -> str:
        found = self._wiring.repository.objects([f"{revision}^{{commit}}"])[0]
        if found is None:
            raise UserError(f"there is no commit {revision}")
        return found[0]

    def get_run(self, name: str) -> Run:
        """A run by run_id, uid or `latest`. Raises UserError."""
        return self._wiring.store.get(name)

    def run_document(self, run: Run) -> JsonObject:
        """The run as the JSON of its file."""
        return self._wiring.store.document(run)

    def gc(self, *, days: int = 90, keep: int = 20, dry_run: bool = False) -> Collected:
        """Remove runs that no ref reaches, older than `days`, beyond the last `keep` of a branch.

        `dry_run` only says what would go. Raises WorldError where a file cannot be removed.
        """
        from loomgit.history.gc import collect

        now = datetime.now(UTC)
        wiring = self._wiring
        return collect(
            wiring.store, wiring.repository, now=now, days=days, keep=keep, dry_run=dry_run
        )

    def sync_push(self, remote: str = "origin") -> Synced | None:
        """Send the run files that a remote lacks to its branch `loom-results`, never forced.

        None: with `store: tracked` there is nothing to send. Raises UserError or WorldError.
        """
        return None if self._tracked else self._sync.push(remote)

    def sync_pull(self, remote: str = "origin") -> Synced | None:
        """Fetch the run files that are missing here; none is overwritten. None as `sync_push`."""
        return None if self._tracked else self._sync.pull(remote)

    def spending(self, name: str, *, since: datetime | None = None) -> Spending:
        """What the stored runs of a pipeline cost, by stage, model and day."""
        from loomgit.sessions.spending import spending

        return spending(self._wiring, self.pipeline(name), since)

    def estimate(
        self, name: str, *, variables: Mapping[str, str] | None = None, limit: int | None = None
    ) -> Estimate:
        """What a run of a pipeline will cost; no model is asked.

        Raises what the run would before it asked anything: UserError, ProblemsFound or WorldError.
        """
        from loomgit.sessions.estimating import estimate

        return estimate(self._wiring, self.pipeline(name), variables or {}, limit=limit)

    @property
    def _tracked(self) -> bool:
        return self._wiring.settings.store == "tracked"

    @property
    def _sync(self) -> Sync:
        from loomgit.history.sync import Sync

        wiring = self._wiring
        return Sync(wiring.repository, wiring.store, wiring.warn)

    # -- comparison

    def compare(
        self, *, on_progress: Callable[[int, int], None] = lambda *_: None, **wanted: Unpack[Asked]
    ) -> Comparison:
        """Compare the results of two revisions; `wanted` are the fields of `comparing.Wanted`.

        Without `run_missing` only what is stored is compared. Raises UserError for a revision that
        is not there, ProblemsFound for a broken pipeline.
        """
        from loomgit.comparisons.comparing import Comparing
        from loomgit.comparisons.pairs import Wanted

        return Comparing(self._wiring, Wanted(**wanted), on_progress).compare()

    def resolve(self, **wanted: Unpack[Asked]) -> tuple[Revision, Revision, str]:
        """The two revisions that `compare` would compare; without a baseline, why there is none."""
        from loomgit.comparisons.comparing import Comparing
        from loomgit.comparisons.pairs import Wanted
        from loomgit.domain.comparison import Revision

        ends = Comparing(self._wiring, Wanted(**wanted)).ends()
        tip = ends.head or self._wiring.repository.head().id
        return Revision(ends.base_name, ends.base or ""), Revision(ends.head_name, tip), ends.why

    # -- reports

    def report(self, *, since: datetime | None = None) -> Overview:
        """How all pipelines are doing: their runs since then, the scores over commits, the
        comparison that the stored results allow. `loomgit.report.html` makes a page of it."""
        from loomgit.reporting import report_overview

        return report_overview(self, since=since)

    def changes(self, *, since: datetime | None = None) -> ChangeLog:
        """Who changed prompts, context and pipelines and who approved it, as Git's history tells,
        with the scores of each version; newest first.

        The scores are noted under `.loom/state`, so that later runs do not move them.
        """
        from loomgit.reporting import report_changes

        return report_changes(self, since=since)

    # -- versions

    def log(self, path: str, *, pipeline: str | None = None, limit: int | None = None) -> FileLog:
        """The contents that a file had, newest first, with the results of their own commits.

        Of `pipeline` alone where it is given. Raises UserError for a file or pipeline that never
        was.
        """
        from loomgit.history.log import read_log
        from loomgit.wiring.version_scores import VersionScores

        runs = self.runs(pipeline)
        if pipeline is not None and not runs:
            self.pipeline(pipeline)
        log = read_log(self._wiring.repository, self._relative(path), limit)
        return VersionScores(self._wiring, runs, pipeline).fill_log(log)

    def show(self, path: str) -> FileVersion:
        """A file's content: `path` or `path@version`. Raises UserError."""
        from loomgit.history.versions import split_version

        plain, at = split_version(path)
        if at is not None and (self.root / path).is_file():
            plain, at = path, None
        return self._wiring.versions.read(self._relative(plain), at)

    def tag(
        self, path: str, version: str, *, message: str | None = None, push: bool = False
    ) -> str:
        """Tag the committed content of a file; returns the tag's name. Raises UserError."""
        name = self._wiring.versions.tag(self._relative(path), version, message)
        if push:
            self._wiring.repository.push_tag(name)
        return name

    def _relative(self, path: str) -> str:
        """A path as users type it (from their folder, or from the root) as the project's own."""
        typed = Path(path)
        for base in (Path.cwd(), self.root):
            whole = base / typed
            if whole.exists() and whole.resolve().is_relative_to(self.root):
                return whole.resolve().relative_to(self.root).as_posix()
        return typed.as_posix()
