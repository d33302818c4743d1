"""The folders of unfinished runs, `.loom/state/<uid>`: a header, a lock, and the run's files."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from loomgit.domain.process_lock import ProcessLock
from loomgit.domain.runs import INTERRUPTED, RunSummary
from loomgit.domain.unfinished_runs import UnfinishedRun
from loomgit.errors import UserError, WorldError
from loomgit.history.atomic_files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.process_lock import LockHolder

_HEADER = "run.json"
_LOCK = "lock"


class UnfinishedRuns:
    """The unfinished runs of a project. `folder` is `.loom/state`.

    The folder of a run exists from the start of the run until the run is complete.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, run: UnfinishedRun) -> Path:
        """Return the folder of a run."""
        return self._folder / run.uid

    @contextmanager
    def working_on(self, run: UnfinishedRun) -> Iterator[Path]:
        """Context of an attempt: stores the header, locks the run, and yields the run's folder.

        Raises WorldError if another process works on the run, or if the folder cannot be written.
        The header of an earlier attempt is restored if `run` cannot start.
        """
        folder = self.folder(run)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = ProcessLock(folder / _LOCK)
            is_free = lock.acquire()
        except OSError as error:
            raise WorldError(f"{folder} cannot be written: {error.strerror or error}") from error
        if not is_free:
            raise _is_running(run, lock.holder())
        with lock:
            write_atomic(folder / _HEADER, msgspec.json.encode(run))
            yield folder

    def forget_last_attempt(self, run: UnfinishedRun) -> None:
        """Remove the last attempt, which could not start. Without an attempt, remove the run."""
        if len(run.attempts) == 1:
            self.remove(run)
        else:
            earlier = replace(run, attempts=run.attempts[:-1])
            write_atomic(self.folder(run) / _HEADER, msgspec.json.encode(earlier))

    def remove(self, run: UnfinishedRun) -> None:
        """Remove the folder of a run."""
        shutil.rmtree(self.folder(run), ignore_errors=True)

    def all(self) -> list[UnfinishedRun]:
        """Return the unfinished runs, by the start of their last attempts. Skips damaged ones."""
        runs: list[UnfinishedRun] = []
        for header in self._folder.glob(f"*/{_HEADER}"):
            with suppress(OSError, msgspec.DecodeError):
                runs.append(msgspec.json.decode(header.read_bytes(), type=UnfinishedRun))
        return sorted(runs, key=lambda run: (run.last.started, run.last.uid))

    def holder(self, run: UnfinishedRun) -> LockHolder | None:
        """Return the process that works on the run, or None."""
        return ProcessLock(self.folder(run) / _LOCK).holder()

    def find(self, name: str, pipeline: str | None = None) -> UnfinishedRun | None:
        """Return the run to resume, or None if there is no such run.

        `name` is the run_id or uid of an attempt, or `latest`: the latest unfinished run of
        `pipeline` that reads the pipeline's source. Raises WorldError if another process works on
        the run with this id.
        """
        for run in reversed(self.all()):
            if pipeline is not None and run.pipeline != pipeline:
                continue
            if name == "latest" and run.reads_source and self.holder(run) is None:
                return run
            if run.has(name):
                if holder := self.holder(run):
                    raise _is_running(run, holder)
                return run
        return None

    def get(self, name: str) -> UnfinishedRun:
        """Return the run that `find` returns. Raises UserError if there is no such run."""
        run = self.find(name)
        if run is None:
            names = ", ".join(run.last.run_id for run in self.all() if run.reads_source)
            hint = f"unfinished runs: {names}" if names else "all runs are complete"
            raise UserError(f"there is no unfinished run {name}", hint=hint)
        return run

    def older(self, before: datetime) -> list[UnfinishedRun]:
        """Return the runs whose last attempt started before `before`.

        A run that a process works on is not returned.
        """
        return [
            run
            for run in self.all()
            if datetime.fromisoformat(run.last.started).astimezone(UTC) < before
            and self.holder(run) is None
        ]


def interrupted_summary(run: UnfinishedRun) -> RunSummary:
    """Return a run without a record as an entry for the list of runs."""
    return RunSummary(
        uid=run.last.uid,
        run_id=run.last.run_id,
        kind="pipeline",
        pipeline=run.pipeline,
        started=run.last.started,
        commit=run.commit.id,
        branch=run.commit.branch,
        dirty=run.commit.dirty,
        fingerprint=run.fingerprint,
        status=INTERRUPTED,
        complete=False,
        processed=0,
        validated=0,
        score=None,
        cost=None,
        duration=0.0,
        path="",
        blobs=[],
        scores={},
        scored={},
        limit=run.limit,
        target=run.target,
    )


def _is_running(run: UnfinishedRun, holder: LockHolder | None) -> WorldError:
    who = f" ({holder})" if holder is not None else ""
    return WorldError(f"run {run.last.run_id} of {run.pipeline} is still running{who}")
