"""The results store under `.loom/`: immutable run files, their record files, the index over them.

A run file is written once and never changed, so writers cannot meet and a reader never sees half
of one. The truth is in the files; the index can be deleted at any time.
"""

from __future__ import annotations

import os
import re
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
from loomgit.history.files import is_aside, move_new, remove_stale, write_whole
from loomgit.history.index import Index, query
from loomgit.history.records_writer import RecordsWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from loomgit.domain.values import JsonObject
    from loomgit.domain.versions import Commit

IGNORED = b"""\
# What Loom makes on this machine; config.yaml, cassettes/, loop-apps/ and shared/ are tracked.
/runs/
/records/
/cache/
/state/
/index.json
/index.lock
/last-error.txt
/loop-apps/*/datasets/
.*.tmp
"""
UID_WORD = re.compile(r"[^A-Za-z0-9_.]+")


class RunStore:
    """The runs of one project; `warn` hears of files that cannot be used.

    `tracked` is asked before anything is written: whether Git shall see the run files. `committed`
    lists those in Git that a change may have brought in (`brought_in`).
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
        self._warn = warn
        self._tracked = tracked
        self._committed = committed
        self._index = Index(
            folder / "index.json",
            folder / "state" / "index.journal",
            files=self.files,
            summarize=self._summarize,
        )

    # -- names

    def begin(self, pipeline: str, now: datetime) -> tuple[str, str]:
        """(run_id, uid) of a new run: `2026-11-21-001` and `20261121T101500Z-<pipeline>-<6 hex>`.

        The run_id is taken by creating a file exclusively, so that no two runs here share one.
        """
        self._ignore()
        uid = f"{now:%Y%m%dT%H%M%SZ}-{UID_WORD.sub('_', pipeline)}-{secrets.token_hex(3)}"
        ids = self.folder / "state" / "run_ids"
        # The run is written when its rows are loaded: too late to find that it cannot be.
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

    def _ignore(self) -> None:
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            write_whole(ignore, without_runs(IGNORED) if self._tracked() else IGNORED)
        elif self._tracked():
            held = ignore.read_bytes()
            if without_runs(held) != held:
                write_whole(ignore, without_runs(held))

    @cached_property
    def brought_in(self) -> frozenset[str]:
        """The run files, as summaries name them, that are no evidence of how good a change is,
        because the change itself may have added them."""
        found = frozenset(self._committed()) if (self.folder / "runs").is_dir() else frozenset()
        if found:
            self._warn(f"{len(found)} committed run files are not used as results")
        return found

    # -- writing

    @contextmanager
    def records(self, uid: str) -> Iterator[RecordsWriter]:
        """Open `.loom/records/<uid>.jsonl` to stream one line a record into."""
        path = self.folder / "records" / f"{uid}.jsonl"
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
                    path.unlink()  # no run file speaks of it
                raise

    def save(self, run: Run) -> Path:
        """Write the run file and note it for the index; returns the file's path."""
        path = self.folder / "runs" / commit_folder(run.commit) / f"{run.uid}.json"
        write_whole(path, schema.to_json(run))
        self._index.add(summarize(run, self._name(path)))
        return path

    # -- reading

    def all(self) -> list[RunSummary]:
        """Summaries of all runs, oldest first."""
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
        """Summaries of the runs that meet every condition given, oldest first.

        `commit` is an id or its beginning; `since` knows its time zone; a `fingerprint` finds the
        runs of the same contents and parameters, whatever the commit.
        """
        if not (self.folder / "runs").is_dir():
            return []  # and no index is made where there is nothing to find
        if not (self.folder / ".gitignore").exists():  # else whoever writes a run sees to it
            self._ignore()
        wanted = {
            "pipeline": pipeline,
            "branch": branch,
            "status": status,
            "fingerprint": fingerprint,
        }
        start = None if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
        return self._index.find(
            query(
                {name: value for name, value in wanted.items() if value is not None},
                commit=commit,
                since=start,
            )
        )

    def get(self, name: str) -> Run:
        """The run with this run_id or uid, or the newest for `latest`. UserError where none is."""
        rows = self.all()
        if name == "latest":
            found = rows[-1:]
        else:
            found = [row for row in rows if name in (row.run_id, row.uid)]
        if not found:
            hint = "`loom runs list` shows what there is" if rows else "there are no runs yet"
            raise UserError(f"there is no run {name}", hint=hint)
        if len(found) > 1:
            raise UserError(
                f"run {name} is ambiguous", hint=f"say {' or '.join(r.uid for r in found)}"
            )
        return self.load(self.folder / found[0].path)

    def load(self, path: Path) -> Run:
        """The run in a file. WorldError where it cannot be read or holds none.

        A damaged one is set aside, so that it is met once.
        """
        try:
            return schema.from_json(path.read_bytes())
        except OSError as error:
            raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error
        except schema.NewerRun as error:
            raise WorldError(f"{path} was written by a newer Loom: {error}") from error
        except schema.DamagedRun as error:
            self._set_aside(path, str(error))
            raise WorldError(f"{path} holds no run that can be read: {error}") from error

    def document(self, run: Run) -> JsonObject:
        """The run as the JSON object of its file."""
        return schema.as_object(run)

    def latest(self, pipeline: str) -> Run | None:
        """The newest run of a pipeline, None where it never ran."""
        rows = [row for row in self.search(pipeline=pipeline) if row.kind == "pipeline"]
        return self.load(self.folder / rows[-1].path) if rows else None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def files(self) -> list[str]:
        """The run files that exist, as `runs/<commit>/<uid>.json`; sweeps what kills left there."""
        found: list[str] = []
        with suppress(FileNotFoundError):
            for commit in os.scandir(self.folder / "runs"):
                if commit.is_dir():
                    found += _run_files(commit)
        return found

    def _summarize(self, names: Iterable[str]) -> Sequence[RunSummary]:
        found: list[RunSummary] = []
        newer = 0
        for name in names:
            path = self.folder / name
            try:
                run = schema.from_json(path.read_bytes(), cases=False)
                found.append(summarize(run, name))
            except schema.NewerRun:
                newer += 1
            except schema.DamagedRun as error:
                self._set_aside(path, str(error))
            except FileNotFoundError:
                continue
        if newer:
            self._warn(f"{newer} run files were written by a newer Loom and are left out")
        return found

    def _set_aside(self, path: Path, why: str) -> None:
        """Rename a damaged file to a name that is free, and say so."""
        try:
            for number in count(1):
                aside = path.with_name(f"{path.name}.damaged{'' if number == 1 else number}")
                if move_new(path, aside):
                    break
        except FileNotFoundError:
            return  # another reader was quicker, and says so
        except OSError:
            self._warn(f"{path} is damaged and left out: {why}")
        else:
            self._warn(f"{path} is damaged, kept as {aside.name}: {why}")


def _first_free(taken: Callable[[int], bool]) -> int:
    """The number after the last one taken, of 1, 2, ... without gaps: found in log n questions."""
    above = 1
    while taken(above):
        above *= 2
    return bisect_left(range(above), True, lo=above // 2 + 1, key=lambda n: not taken(n))


def _run_files(folder: os.DirEntry[str]) -> Iterator[str]:
    """The run files in one commit's folder. (A thousand folders: no Path of each file.)"""
    with suppress(FileNotFoundError):  # emptied and removed since it was listed
        for entry in os.scandir(folder.path):
            if is_aside(entry.name):
                remove_stale(entry)
            elif entry.name.endswith(".json") and not entry.name.startswith("."):
                yield f"runs/{folder.name}/{entry.name}"


def without_runs(ignored: bytes) -> bytes:
    """The text of `.loom/.gitignore` with the run files left to Git."""
    return b"".join(line for line in ignored.splitlines(keepends=True) if line.strip() != b"/runs/")


def commit_folder(commit: Commit) -> str:
    """The folder under `runs/` for results at a commit: its id, `-dirty` for a changed tree."""
    return commit.id if commit.id == "unborn" or not commit.dirty else f"{commit.id}-dirty"


def summarize(run: Run, path: str) -> RunSummary:
    """What the index keeps of a run; `score` is the mean over the evaluators' means."""
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
    )
