"""Locks across processes: one process makes a call, and the others wait for its reply."""

from __future__ import annotations

import os
import sys
import threading
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

_guard = threading.Lock()
_locked: set[tuple[str, bytes]] = set()


class CallLocks:
    """Locks the keys of requests across processes.

    The lock of a key is an fcntl lock on one byte of a file; a hash of the key decides which byte.
    The operating system releases the locks of a process when the process ends or crashes. A lock
    also excludes other threads and gateways of the same process. On Windows, a lock does not
    exclude other processes.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def acquire(self, key: bytes) -> bool:
        """Lock the key and return True. Return False if the key is already locked.

        Raises OSError if the file cannot be created.
        """
        with _guard:
            if (self._path, key) in _locked or not self._lock(key):
                return False
            _locked.add((self._path, key))
            return True

    def release(self, key: bytes) -> None:
        """Release the lock of a key. Does nothing if this process does not hold the lock."""
        with _guard:
            if (self._path, key) in _locked:
                _locked.remove((self._path, key))
                if sys.platform != "win32":
                    fcntl.lockf(_open(self._path), fcntl.LOCK_UN, 1, _position(key))

    def _lock(self, key: bytes) -> bool:
        if sys.platform == "win32":
            return True
        try:
            fcntl.lockf(_open(self._path), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _position(key))
        except BlockingIOError:
            return False
        return True


@cache
def _open(path: str) -> int:
    """Open the lock file and return its descriptor.

    The file stays open. If it were closed, the process would lose all its locks on the file.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - the path is a str
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _position(key: bytes) -> int:
    return int.from_bytes(sha256(key).digest()[:8]) >> 2
