"""The folders of unfinished runs, `.loom/state/<uid>`: a header, a lock, and the run's files."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.process_lock import ProcessLock
from loomgit.domain.runs import INTERRUPTED, RunSummary
from loomgit.domain.unfinished_runs import FORMAT, UnfinishedRun
from loomgit.errors import UserError, WorldError
from loomgit.history.atomic_files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from loomgit.domain.process_lock import LockHolder
    from loomgit.domain.unfinished_runs import Attempt

_HEADER = "run.json"
_LOCK = "lock"
_UNSAFE_IN_UID = re.compile(r"[^A-Za-z0-9_.]+")
_UID = re.compile(r"\d{8}T\d{6}Z-(?P<pipeline>.+)-[0-9a-f]{6}$")


class _Format(Struct, frozen=True):
    """The only field of a header that every version of Loom can read."""

    format: int = FORMAT


class UnfinishedRuns:
    """The unfinished runs of a project. `folder` is `.loom/state`.

    The folder of a run exists from the start of the run until the run is complete. Its header is
    written first and removed first. A folder without a header is not an unfinished run: it remains
    from a process that was killed while it removed or created the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, run: UnfinishedRun) -> Path:
        """Return the folder of a run."""
        return self._folder / run.uid

    @contextmanager
    def working_on(self, run: UnfinishedRun) -> Iterator[Path]:
        """Context of an attempt: stores the header, locks the run, and yields the run's folder.

        The last attempt of `run` is the new one. Raises WorldError if another process works on the
        run, if it has continued or removed the run since the caller read the earlier attempts, or
        if the folder cannot be written.
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
            if self._attempts(folder) != run.attempts[:-1]:
                lock.release()
                with suppress(OSError):  # a folder with files is that of the run
                    folder.rmdir()
                raise _has_changed(run)
            write_atomic(folder / _HEADER, msgspec.json.encode(run))
            yield folder

    def _attempts(self, folder: Path) -> tuple[Attempt, ...]:
        """Return the attempts in the header of a folder; none if the folder has no header."""
        header = folder / _HEADER
        return _load(header).attempts if header.exists() else ()

    def forget_last_attempt(self, run: UnfinishedRun) -> None:
        """Remove the last attempt, which could not start. Without an attempt, remove the run."""
        if len(run.attempts) == 1:
            self.remove(run)
        else:
            earlier = replace(run, attempts=run.attempts[:-1])
            write_atomic(self.folder(run) / _HEADER, msgspec.json.encode(earlier))

    def remove(self, run: UnfinishedRun) -> None:
        """Remove the folder of a run. The caller works on the run.

        If the header cannot be removed, the folder stays as it is.
        """
        folder = self.folder(run)
        try:
            (folder / _HEADER).unlink(missing_ok=True)
        except OSError:
            return
        shutil.rmtree(folder, ignore_errors=True)

    def remove_idle(self, run: UnfinishedRun) -> bool:
        """Remove the folder of a run that no process works on or has continued.

        Returns whether the folder was removed.
        """
        lock = ProcessLock(self.folder(run) / _LOCK)
        with suppress(OSError, WorldError):
            if lock.acquire():
                with lock:
                    if self._attempts(self.folder(run)) == run.attempts:
                        self.remove(run)
                        return True
        return False

    def remnants(self, before: datetime) -> list[Path]:
        """Return the folders without a header that were not changed since `before`."""
        return [
            folder
            for folder in self._folder.glob("*/")
            if _UID.match(folder.name)
            and not (folder / _HEADER).exists()
            and datetime.fromtimestamp(folder.stat().st_mtime, UTC) < before
        ]

    def all(self) -> list[UnfinishedRun]:
        """Return the unfinished runs, by the start of their last attempts. Skips damaged ones."""
        runs: list[UnfinishedRun] = []
        for header in self._folder.glob(f"*/{_HEADER}"):
            with suppress(WorldError):
                runs.append(_load(header))
        return sorted(runs, key=lambda run: (run.last.started, run.last.uid))

    def _require_readable(self, pipeline: str) -> None:
        """Raise WorldError if the header of an unfinished run of the pipeline cannot be read."""
        for header in sorted(self._folder.glob(f"*/{_HEADER}")):
            uid = _UID.match(header.parent.name)
            if uid is not None and uid["pipeline"] == name_in_uid(pipeline):
                try:
                    _load(header)
                except WorldError:
                    if header.exists():  # else another process has completed the run
                        raise

    def holder(self, run: UnfinishedRun) -> LockHolder | None:
        """Return the process that works on the run, or None."""
        return ProcessLock(self.folder(run) / _LOCK).holder()

    def find_latest(self, pipeline: str, inputs: Mapping[str, str]) -> UnfinishedRun | None:
        """Return the latest unfinished run of a pipeline, or None.

        Only a run with these `inputs` is returned, and no run that processes records from the
        quarantine or that a process works on. Raises WorldError if the header of an unfinished run
        of `pipeline` cannot be read.
        """
        self._require_readable(pipeline)
        for run in reversed(self.all()):
            if (
                run.pipeline == pipeline
                and run.reads_source
                and inputs.items() <= run.inputs.items()
                and self.holder(run) is None
            ):
                return run
        return None

    def find(self, name: str) -> UnfinishedRun | None:
        """Return the unfinished run with an attempt that has this run_id or uid, or None.

        Raises WorldError if another process works on the run.
        """
        for run in reversed(self.all()):
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


def name_in_uid(pipeline: str) -> str:
    """Return the name of a pipeline as the uids of its runs contain it."""
    return _UNSAFE_IN_UID.sub("_", pipeline)


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


def _load(header: Path) -> UnfinishedRun:
    """Read a header. Raises WorldError if it is damaged, or if a newer version wrote it."""
    try:
        content = header.read_bytes()
        if msgspec.json.decode(content, type=_Format).format > FORMAT:
            raise WorldError(
                f"{header} was written by a newer version of Loom", hint="upgrade Loom"
            )
        return msgspec.json.decode(content, type=UnfinishedRun)
    except OSError as error:
        raise WorldError(f"{header}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise WorldError(
            f"{header} is damaged: {error}",
            hint=f"remove {header.parent} to give up the run: its records are processed again",
        ) from error


def _has_changed(run: UnfinishedRun) -> WorldError:
    name = run.attempts[-2].run_id if len(run.attempts) > 1 else run.last.run_id
    return WorldError(
        f"another process has continued, completed or removed run {name} of {run.pipeline}",
        hint="run the command again",
    )


def _is_running(run: UnfinishedRun, holder: LockHolder | None) -> WorldError:
    who = f" ({holder})" if holder is not None else ""
    return WorldError(f"run {run.last.run_id} of {run.pipeline} is still running{who}")
