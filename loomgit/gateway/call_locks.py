"""Locks between processes: one of them makes a call, and the others wait for its reply."""

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
_held: set[tuple[str, bytes]] = set()


class CallLocks:
    """A lock for each key: a byte of one file, locked with fcntl.

    The system releases the locks of a process that ends, however it ends. Threads and gateways of
    one process exclude each other as well. On Windows, processes do not exclude each other.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def acquire(self, key: bytes) -> bool:
        """Lock the key unless somebody holds it. Raises OSError where the file cannot be made."""
        with _guard:
            if (self._path, key) in _held or not self._lock(key):
                return False
            _held.add((self._path, key))
            return True

    def release(self, key: bytes) -> None:
        """Release a key. Does nothing if this process does not hold it."""
        with _guard:
            if (self._path, key) in _held:
                _held.remove((self._path, key))
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
    """The descriptor of the file. It stays open: closing one releases all locks of the process."""
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - a text is hashable
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _position(key: bytes) -> int:
    return int.from_bytes(sha256(key).digest()[:8]) >> 2
