"""Finds the stored results of a file's versions.

The score of a version comes from the runs that had the same inputs as the version's commit.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.config.project_files import SETTINGS_FILE, decode
from loomgit.errors import LoomError, UserError, WorldError
from loomgit.history.bulk_files import BulkFiles, BulkTree, BulkVersions
from loomgit.history.reported_scores import ReportedScore, ReportedScores
from loomgit.history.result_groups import group_results
from loomgit.pipeline.plan import Plan
from loomgit.wiring.catalog import EVALUATOR_PLUGINS, PIPELINES
from loomgit.wiring.planning import Planning
from loomgit.wiring.project import WiringAt
from loomgit.wiring.run_differences import run_differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from loomgit.domain.changes import ChangeLog
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.log import FileLog, StoredScores
    from loomgit.domain.runs import Run, RunSummary
    from loomgit.wiring.project import Wiring

SHORT = 8  # the length of a shortened commit id
FILES = 3  # maximum number of changed files that are listed as differences of a run
VARIABLES = 3  # maximum number of stored sets of variables to try when a prompt is compiled


class VersionInputs(Struct, frozen=True):
    """The inputs of a version: the plan of a pipeline at `commit`, and the plan's fingerprint.

    `commit` is None for the working tree.
    """

    commit: str | None
    plan: Plan
    fingerprint: str


class VersionScores:
    """Finds the results of versions among `rows`, the summaries of stored runs.

    `pipeline` restricts the results to one pipeline. A version is the content of a file at a
    commit. A run is a result of the version if the run has the same fingerprint as the pipeline at
    this commit. Sometimes the pipeline does not use the version at this commit, because it pins
    another version or does not exist yet. In this case, the run must have the fingerprint of the
    pipeline at the first later commit that uses the version.
    """

    def __init__(
        self, wiring: Wiring, rows: Iterable[RunSummary], pipeline: str | None = None
    ) -> None:
        self._wiring = wiring
        self._pipeline = pipeline
        self._rows: dict[str, list[RunSummary]] = defaultdict(list)
        self._by_blob: dict[tuple[str, str], list[RunSummary]] = defaultdict(list)
        self._by_fingerprint: dict[tuple[str, str], list[RunSummary]] = defaultdict(list)
        for row in rows:
            self._rows[row.pipeline].append(row)
            self._by_fingerprint[row.pipeline, row.fingerprint].append(row)
            for blob in row.blobs:
                self._by_blob[row.pipeline, blob].append(row)
        self._plans: dict[tuple[str | None, str], Plan | None] = {}
        self._files = BulkFiles(wiring.repository)
        self._runs: dict[tuple[str, str], Run | None] = {}
        self._reported = ReportedScores(wiring.store.folder)

    def fill_log(self, log: FileLog) -> FileLog:
        """Return the log with the results of each version."""
        entries = []
        self._prefetch((e.path, e.blob, e.commits[0]) for e in log.entries if e.commits)
        for entry in log.entries:
            commit = entry.commits[0] if entry.commits else None
            scores = self.measured(entry.path, entry.blob, commit)
            entries.append(replace(entry, measured=scores))
        return replace(log, entries=tuple(entries))

    def fill_changes(self, log: ChangeLog) -> ChangeLog:
        """Return a copy of the log, in which each change has the results of its version."""
        self._prefetch((c.path, c.blob, c.commit) for c in log.changes if c.blob)
        changes = tuple(
            replace(change, measured=self.measured(change.path, change.blob, change.commit))
            if change.blob
            else change
            for change in log.changes
        )
        return replace(log, changes=changes)

    def keep_reported(self, log: ChangeLog) -> None:
        """Store the scores that a report shows, so that later runs do not change them.

        Raises WorldError if the scores cannot be written.
        """
        self._reported.add(
            ReportedScore(change.commit, change.path, group.pipeline, group.kind, group.figure)
            for change in reversed(log.changes)
            for group in change.measured.own
            if group.figure is not None
        )

    def own_fingerprint(self, pipeline: str, commit: str) -> str | None:
        """Return the fingerprint of a pipeline at a commit, or None if the pipeline cannot be read
        there."""
        plan = self._plan(pipeline, commit)
        return None if plan is None else plan.fingerprint()

    def measured(self, path: str, blob: str, commit: str | None) -> StoredScores:
        """Return the results of a version of a file.

        In this version, the file `path` has the content `blob`. The version is from `commit`, or
        from the working tree if `commit` is None.
        """
        reported = self._reported.find(commit, path) if commit is not None else {}
        marked = [
            (row, differs)
            for name in self._users(path, blob)
            for row, differs in self._mark(name, blob, commit)
        ]
        only = self._pipeline
        return group_results(
            marked,
            {series: run for series, run in reported.items() if only is None or series[0] == only},
        )

    def _users(self, path: str, blob: str) -> list[str]:
        """Return the pipelines whose runs may have used a blob, according to the run summaries."""
        return [
            name
            for name in self._rows
            if path == f"{PIPELINES}/{name}.yaml" or (name, blob) in self._by_blob
        ]

    def _mark(
        self, name: str, blob: str, commit: str | None
    ) -> Iterator[tuple[RunSummary, tuple[str, ...]]]:
        """Yield (run, reasons) for each run of the pipeline `name` that used the blob. The reasons
        state why the run is not a result of the version. If they are empty, the run is a result."""
        own = self._own(name, blob, commit)
        fingerprint = own.fingerprint if own is not None else None
        if own is not None:
            for row in self._by_fingerprint.get((name, own.fingerprint), ()):
                yield row, self._conditions(row, draft=own.commit is None)
        for row in self._by_blob.get((name, blob), ()):
            if row.fingerprint != fingerprint:
                yield row, self._differs(row, own, commit)

    def _conditions(self, row: RunSummary, *, draft: bool = False) -> tuple[str, ...]:
        """Return the reasons why a run does not count for the version. Inputs are not compared.

        If `draft` is true, the version itself is uncommitted. Uncommitted work is then no reason.
        """
        reasons = []
        if row.dirty and not draft:
            reasons.append("uncommitted work")
        if row.limit is not None:
            reasons.append(f"first {row.limit:,} records")
        if row.question_from:
            reasons.append(f"measured with the cases and evaluators of {_short(row.question_from)}")
        return tuple(reasons)

    def _differs(
        self, row: RunSummary, own: VersionInputs | None, commit: str | None
    ) -> tuple[str, ...]:
        """Return the differences between a run's inputs and the version's inputs."""
        conditions = self._conditions(row)
        if own is None:
            where = "in the working tree" if commit is None else f"at {commit[:SHORT]}"
            readable = self._plan(row.pipeline, commit) is not None
            why = "does not use this version" if readable else "cannot be read"
            return (f"inputs of {row.commit[:SHORT]} ({row.pipeline} {why} {where})", *conditions)
        run = self._run(row)
        if run is None:
            return ("other inputs, and the run file cannot be read", *conditions)
        inputs = run_differences(own.plan, run)
        if not inputs and row.commit == own.commit:
            # The inputs are the same, but an older Loom computed the fingerprint differently.
            return conditions
        return (*(inputs or self._unrecorded(own.plan, row)), *conditions)

    def _unrecorded(self, own: Plan, row: RunSummary) -> tuple[str, ...]:
        """Return the differences between the inputs if the run file does not show them.

        The pipeline's files at the run's commit are compared with the files in `own`.
        """
        plan = None if row.dirty else self._plan(row.pipeline, row.commit)
        if plan is None or plan.fingerprint() != row.fingerprint:
            return ("other inputs, or an older evaluation format",)
        before = {path: blob for path, (_, blob) in own.dependencies().items()}
        now = {path: blob for path, (_, blob) in plan.dependencies().items()}
        file = plan.pipeline.path
        paths = [p for p in sorted({*before, *now} - {file}) if before.get(p) != now.get(p)]
        more = (f"{len(paths) - FILES:,} more files",) if len(paths) > FILES else ()
        return (*paths[:FILES], *more) or (f"{file} of {row.commit[:SHORT]}",)

    def _run(self, row: RunSummary) -> Run | None:
        """Return a run with the row's fingerprint, or None if its file cannot be read.

        One run represents all runs with the fingerprint, because they have the same inputs.
        """
        key = row.pipeline, row.fingerprint
        if key not in self._runs:
            store = self._wiring.store
            try:
                self._runs[key] = replace(store.load(store.folder / row.path), cases=())
            except WorldError:
                self._runs[key] = None
        return self._runs[key]

    # -- a pipeline's inputs at a version's commit

    def _own(self, name: str, blob: str, commit: str | None) -> VersionInputs | None:
        """Return the inputs at the first commit at which the pipeline uses the blob.

        The version's commit is tried first, then the later commits that changed the pipeline.
        Returns None if the pipeline uses the blob at none of these commits.
        """
        for candidate in chain([commit], self._later(name, commit)):
            plan = self._plan(name, candidate)
            if plan is not None and blob in {used for _, used in plan.dependencies().values()}:
                return VersionInputs(candidate, plan, plan.fingerprint())
        return None

    def _later(self, name: str, commit: str | None) -> Iterator[str]:
        """Yield the later commits up to HEAD that changed the pipeline file, oldest first."""
        if commit is None:
            return
        repository = self._wiring.repository
        output = repository.plumbing(
            "rev-list", "--reverse", "--topo-order", "--ancestry-path", f"{commit}..HEAD", "--",
            repository.pathspec(f"{PIPELINES}/{name}.yaml"),
        )  # fmt: skip
        yield from output.decode().split()

    def _plan(self, name: str, commit: str | None) -> Plan | None:
        """Return a pipeline's plan at a commit, with the default values of its variables.

        Returns None if the pipeline does not exist at the commit, or if no plan can be made.
        """
        if (commit, name) not in self._plans:
            self._plans[commit, name] = self._read(name, commit)
        return self._plans[commit, name]

    def _read(self, name: str, commit: str | None) -> Plan | None:
        wiring = self._wiring if commit is None else _BulkWiring(self._wiring, self._files, commit)
        try:
            pipeline = _pipeline(wiring, name)
            for variables in self._variables(name):
                with suppress(LoomError):  # the prompt needs variables, or a file is missing
                    plan, _ = Planning(wiring).draft(pipeline, variables, datetime.now(UTC))
                    return replace(plan, variables=dict(pipeline.vars))
        except LoomError:  # the pipeline is missing, or cannot be read
            pass
        finally:
            wiring.close()
        return None

    def _prefetch(self, versions: Iterable[tuple[str, str, str | None]]) -> None:
        """Read the files of the pipelines at many commits with few Git processes.

        `versions` contains the path, the blob and the commit of each version.
        """
        wanted = [
            (name, commit)
            for path, blob, commit in versions
            for name in self._users(path, blob)
            if commit is not None
        ]
        settings = SETTINGS_FILE.as_posix()
        pipelines = [(commit, f"{PIPELINES}/{name}.yaml") for name, commit in wanted]
        self._files.contents([*pipelines, *((commit, settings) for _, commit in wanted)])
        used: list[tuple[str, str]] = []
        for name, commit in wanted:
            with suppress(LoomError):
                pipeline = _pipeline(_BulkWiring(self._wiring, self._files, commit), name)
                transform = pipeline.transform
                files = ((file.path, file.version) for file in transform.context)
                for path, version in ((transform.prompt, transform.prompt_version), *files):
                    if path is not None and version is None:
                        used.append((commit, path))
        self._files.contents(used)

    def _variables(self, name: str) -> Iterator[Mapping[str, str]]:
        """Yield an empty mapping, then the variables of stored runs.

        A prompt may need variables, and the stored runs contain possible values.
        """
        yield {}
        tried: list[object] = [{}]
        for row in self._rows[name]:
            run = self._run(row) if len(tried) <= VARIABLES else None
            variables = run.config.parameters.get("vars") if run is not None else None
            if isinstance(variables, dict) and variables not in tried:
                tried.append(variables)
                yield {str(key): str(value) for key, value in variables.items()}


class _BulkWiring(WiringAt):
    """A project's files at a commit, read through a cache for the files of many commits."""

    def __init__(self, checkout: Wiring, files: BulkFiles, commit: str) -> None:
        super().__init__(checkout, commit)
        self.__dict__["tree"] = BulkTree(files, commit)
        self.__dict__["versions"] = BulkVersions(files, commit)


def _pipeline(wiring: Wiring, name: str) -> Pipeline:
    """Return a pipeline's definition. Reads only the file of this pipeline. Raises LoomError."""
    path = f"{PIPELINES}/{name}.yaml"
    content = wiring.tree.read([path]).get(path)
    if content is None:
        raise UserError(f"there is no pipeline {name}")
    return wiring.parse_cache.pipeline(decode(content, path), path, EVALUATOR_PLUGINS)


def _short(folder: str) -> str:
    """Return the short form of a folder name: `<id>` -> `1a2b3c4d`, `<id>-dirty` -> `1a2b3c4d*`."""
    identity, _, dirty = folder.partition("-")
    return f"{identity[:SHORT]}{'*' if dirty else ''}"
