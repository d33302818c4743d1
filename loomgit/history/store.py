"""The results store under `.loom/`: immutable run files, their records files, and their index.

A run file is written once, as a whole, and never changed. Therefore, writers do not conflict, and
readers see no incomplete file. The run files are authoritative. The index can be deleted at any
time, because it is rebuilt from them.
"""

from __future__ import annotations

import os
import secrets
from bisect import bisect_left
from contextlib import contextmanager, suppress
from datetime import UTC
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

from loomgit.domain.runs import Run, RunSummary
from loomgit.errors import UserError, WorldError
from loomgit.history import schema
from loomgit.history.atomic_files import is_temporary, move_new, remove_stale, write_atomic
from loomgit.history.index import Index, query
from loomgit.history.loom_folder import write_gitignore
from loomgit.history.records_writer import RecordsWriter
from loomgit.history.unfinished_runs import UnfinishedRuns, interrupted_summary, name_in_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from loomgit.domain.values import JsonObject
    from loomgit.domain.versions import Commit


class RunStore:
    """The stored runs of one project.

    `warn` is called with a message if files cannot be used. `tracked` returns whether Git tracks
    the run files; if so, `.loom/.gitignore` must not ignore them. `committed` lists the run files
    in Git that the current change may have added (see `added_by_change`).
    """

    def __init__(
        self,
        folder: Path,
        warn: Callable[[str], None],
        *,
        tracked: Callable[[], bool] = lambda: False,
        committed: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.folder = folder
        self._warn, self._tracked, self._committed = warn, tracked, committed
        self._index = Index(
            folder / "index.json",
            folder / "state" / "index.journal",
            files=self.files,
            summarize=self._summarize,
        )

    # -- names

    def begin(self, pipeline: str, now: datetime) -> tuple[str, str]:
        """Return (run_id, uid) of a new run.

        Examples are `2026-11-21-001` and `20261121T101500Z-<pipeline>-<6 hex>`. The run_id is
        unique in this store, because it is reserved by a file that only one process can create.
        Raises WorldError if the store cannot be written.
        """
        write_gitignore(self.folder, self._tracked)
        uid = f"{now:%Y%m%dT%H%M%SZ}-{name_in_uid(pipeline)}-{secrets.token_hex(3)}"
        ids = self.folder / "state" / "run_ids"
        # The run file is written only after the rows are loaded. Detect a read-only folder before
        # that.
        for folder in (self.folder / "runs", ids):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise WorldError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            day = f"{now:%Y-%m-%d}"
            number = _first_free(lambda n: (ids / f"{day}-{n:03d}").exists())
            while True:
                run_id = f"{day}-{number:03d}"
                try:
                    with (ids / run_id).open("x", encoding="utf-8") as file:
                        file.write(uid)
                except FileExistsError:
                    number += 1
                else:
                    return run_id, uid
        except OSError as error:
            raise WorldError(f"{ids} cannot be written: {error.strerror or error}") from error

    @cached_property
    def added_by_change(self) -> frozenset[str]:
        """The paths of the run files that the current change may have added.

        The paths have the form of `RunSummary.path`. The results in these files are not trusted,
        because the author of the change may have edited the files. The first access warns about
        the files.
        """
        paths = frozenset(self._committed()) if (self.folder / "runs").is_dir() else frozenset()
        if paths:
            self._warn(f"{len(paths)} committed run files are not used as results")
        return paths

    @cached_property
    def unfinished(self) -> UnfinishedRuns:
        """The runs that were started and are not complete."""
        return UnfinishedRuns(self.folder / "state")

    def interrupted(self) -> list[RunSummary]:
        """Return the unfinished runs whose last attempt has no record and no process, by start."""
        recorded = {row.uid for row in self.all()}
        return [
            interrupted_summary(run)
            for run in self.unfinished.all()
            if run.last.uid not in recorded and self.unfinished.holder(run) is None
        ]

    @property
    def records_folder(self) -> Path:
        """The folder of the records files."""
        return self.folder / "records"

    def records_path(self, uid: str) -> Path:
        """Return the path of a run's records file, `.loom/records/<uid>.jsonl`.

        The file may not exist.
        """
        return self.records_folder / f"{uid}.jsonl"

    # -- writing

    @contextmanager
    def records(self, uid: str) -> Iterator[RecordsWriter]:
        """Create a run's records file, and yield a writer that adds one line per record.

        If the body of the context fails before the writer is finished, the file is removed. Raises
        WorldError if the file cannot be created.
        """
        path = self.records_path(uid)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("xb", buffering=0)
        except OSError as error:
            raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
        with file:
            writer = RecordsWriter(file, self._name(path))
            try:
                yield writer
            except BaseException:
                if not writer.finished:
                    path.unlink()  # the run is not saved, so the file is useless
                raise

    def save(self, run: Run) -> Path:
        """Write the file of a run, and add the run to the index. Return the path of the file.

        Raises WorldError if the file cannot be written.
        """
        path = self.folder / "runs" / commit_folder(run.commit) / f"{run.uid}.json"
        write_atomic(path, schema.to_json(run))
        self._index.add(summarize(run, self._name(path)))
        return path

    # -- reading

    def all(self) -> list[RunSummary]:
        """Return the summaries of all runs, oldest first."""
        return self.search()

    def search(
        self,
        *,
        pipeline: str | None = None,
        branch: str | None = None,
        commit: str | None = None,
        since: datetime | None = None,
        status: str | None = None,
        fingerprint: str | None = None,
    ) -> list[RunSummary]:
        """Return the summaries of the runs that meet all given conditions, oldest first.

        `commit` is an id or a prefix of an id. `since` is a time with a time zone. `fingerprint`
        selects runs that have the same contents and parameters, at any commit.
        """
        if not (self.folder / "runs").is_dir():
            return []  # do not create an index for an empty store
        if not (self.folder / ".gitignore").exists():  # `begin` updates an existing file
            write_gitignore(self.folder, self._tracked)
        conditions = {
            "pipeline": pipeline,
            "branch": branch,
            "status": status,
            "fingerprint": fingerprint,
        }
        start = None if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
        return self._index.find(
            query(
                {name: value for name, value in conditions.items() if value is not None},
                commit=commit,
                since=start,
            )
        )

    def get(self, name: str) -> Run:
        """Return the run with the run_id or uid `name`. The name `latest` means the newest run.

        Raises UserError if no run or several runs match.
        """
        rows = self.all()
        if name == "latest":
            matches = rows[-1:]
        else:
            matches = [row for row in rows if name in (row.run_id, row.uid)]
        if not matches:
            for run in self.unfinished.all():
                if run.has(name):
                    raise UserError(
                        f"run {name} is not complete and has no record",
                        hint=f"`loom run {run.pipeline} --resume {name}` continues the run",
                    )
            hint = "run `loom runs list` to list all runs" if rows else "there are no runs yet"
            raise UserError(f"there is no run {name}", hint=hint)
        if len(matches) > 1:
            uids = " or ".join(row.uid for row in matches)
            raise UserError(f"run {name} is ambiguous", hint=f"use {uids}")
        return self.load(self.folder / matches[0].path)

    def load(self, path: Path) -> Run:
        """Return the run in a file.

        Raises WorldError if the file is unreadable or contains no valid run. A damaged file is
        renamed, so that it is reported only once.
        """
        try:
            return schema.from_json(path.read_bytes())
        except OSError as error:
            raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error
        except schema.NewerRun as error:
            raise WorldError(f"{path} was written by a newer version of Loom: {error}") from error
        except schema.DamagedRun as error:
            self._set_aside(path, str(error))
            raise WorldError(f"{path} contains no valid run: {error}") from error

    def document(self, run: Run) -> JsonObject:
        """Return the run as the JSON object of its file."""
        return schema.as_object(run)

    def latest(self, pipeline: str) -> Run | None:
        """Return the newest run of a pipeline, except test runs, or None if no such run exists."""
        rows = [row for row in self.search(pipeline=pipeline) if row.kind == "pipeline"]
        return self.load(self.folder / rows[-1].path) if rows else None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def files(self) -> list[str]:
        """Return the existing run files, as `runs/<commit>/<uid>.json`.

        Also remove the temporary files of killed writers.
        """
        names: list[str] = []
        with suppress(FileNotFoundError):
            for commit in os.scandir(self.folder / "runs"):
                if commit.is_dir():
                    names += _run_files(commit)
        return names

    def _summarize(self, names: Iterable[str]) -> Sequence[RunSummary]:
        summaries: list[RunSummary] = []
        newer = 0
        for name in names:
            path = self.folder / name
            try:
                run = schema.from_json(path.read_bytes(), cases=False)
                summaries.append(summarize(run, name))
            except schema.NewerRun:
                newer += 1
            except schema.DamagedRun as error:
                self._set_aside(path, str(error))
            except FileNotFoundError:
                continue
        if newer:
            self._warn(f"{newer} run files were skipped: a newer version of Loom wrote them")
        return summaries

    def _set_aside(self, path: Path, why: str) -> None:
        """Rename a damaged file to an unused name, and warn about it."""
        try:
            for number in count(1):
                aside = path.with_name(f"{path.name}.damaged{'' if number == 1 else number}")
                if move_new(path, aside):
                    break
        except FileNotFoundError:
            return  # another reader has renamed the file, and warns about it
        except OSError:
            self._warn(f"{path} is damaged and was skipped: {why}")
        else:
            self._warn(f"{path} is damaged and was renamed to {aside.name}: {why}")


def _first_free(is_taken: Callable[[int], bool]) -> int:
    """Return the lowest number >= 1 that is not taken. Calls `is_taken` O(log n) times.

    The taken numbers must have no gaps.
    """
    above = 1
    while is_taken(above):
        above *= 2
    return bisect_left(range(above), True, lo=above // 2 + 1, key=lambda n: not is_taken(n))


def _run_files(folder: os.DirEntry[str]) -> Iterator[str]:
    """Yield the run files in the folder of one commit. Remove temporary files of killed writers.

    This function uses `os.scandir`, because creating a `Path` for each file is slow.
    """
    with suppress(FileNotFoundError):  # another process has removed the empty folder
        for entry in os.scandir(folder.path):
            if is_temporary(entry.name):
                remove_stale(entry)
            elif entry.name.endswith(".json") and not entry.name.startswith("."):
                yield f"runs/{folder.name}/{entry.name}"


def commit_folder(commit: Commit) -> str:
    """Return the name of a commit's folder under `runs/`.

    The name is the commit id, followed by `-dirty` if the working tree had uncommitted changes.
    Before the first commit, the name is `unborn`.
    """
    return commit.id if commit.id == "unborn" or not commit.dirty else f"{commit.id}-dirty"


def summarize(run: Run, path: str) -> RunSummary:
    """Return the summary of a run for the index. `path` is the run file, relative to the store.

    `score` is the mean of the evaluators' mean scores.
    """
    means = [s.mean for s in run.evaluation.values() if s.mean is not None]
    prompt = {run.config.prompt_blob} if run.config.prompt_blob else set()
    return RunSummary(
        uid=run.uid,
        run_id=run.run_id,
        kind=run.kind,
        pipeline=run.pipeline,
        started=run.started,
        commit=run.commit.id,
        branch=run.commit.branch,
        dirty=run.commit.dirty,
        fingerprint=run.config.fingerprint,
        status=run.results.status,
        complete=run.complete,
        processed=run.results.records_processed,
        validated=run.results.records_validated,
        score=sum(means) / len(means) if means else None,
        cost=run.cost.total,
        duration=run.performance.duration,
        path=path,
        blobs=sorted({*prompt, *run.config.context_blobs.values(), *run.files.values()}),
        scores={name: summary.mean for name, summary in run.evaluation.items()},
        scored={name: summary.n for name, summary in run.evaluation.items()},
        limit=run.limit,
        question_from=run.question_from,
        target=run.target,
    )
