"""A lock file that one process holds; the operating system releases the lock of a dead process."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec import Struct

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_POLL_SECONDS = 0.05
# A process that looks for the holder, or that is about to end, has the lock for a moment.
_MOMENT = 0.2


class LockHolder(Struct, frozen=True):
    """The process that holds a lock. `since` is a time in UTC, as ISO 8601 text."""

    pid: int
    host: str
    since: str

    @classmethod
    def this_process(cls) -> LockHolder:
        """Return this process, with the current time."""
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return cls(os.getpid(), socket.gethostname(), since)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class ProcessLock:
    """An exclusive lock on a file, which contains the holder of the lock.

    The file exists while the lock is held, or after its holder has died. On Windows, the lock does
    not exclude other processes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, *, seconds: float = _MOMENT) -> bool:
        """Lock the file, and return True. Return False if another process holds the lock.

        Waits at most `seconds` for the lock. Raises OSError if the file cannot be created.
        """
        deadline = time.monotonic() + seconds
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _try(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            # The holder deletes the file when it releases the lock, so the path may be new.
            if not _lock(file) or not _is_at(file, self._path):
                os.close(file)
                return False
            with suppress(OSError):  # on a full disk, the lock has no name but excludes others
                os.ftruncate(file, 0)
                os.pwrite(file, msgspec.json.encode(LockHolder.this_process()), 0)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Delete the file and release the lock. Does nothing if the lock is not held."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def holder(self) -> LockHolder | None:
        """Return the process that holds the lock, or None if no process holds it.

        A process that died does not hold the lock. Its file may still exist.
        """
        try:
            file = os.open(self._path, os.O_RDWR)
        except OSError:
            return None
        try:
            if _lock(file):
                return None
            return msgspec.json.decode(os.read(file, 4096), type=LockHolder)
        except msgspec.DecodeError:
            return LockHolder(0, "unknown host", "unknown time")  # the holder is writing the file
        finally:
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _lock(file: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
