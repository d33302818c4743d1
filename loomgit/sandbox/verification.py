"""Attempts the operations that the isolation must refuse. Runs in the worker that tests it."""

from __future__ import annotations

import _socket
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def find_missing_restrictions(parent: int) -> Iterator[str]:
    """Yield each operation that succeeds in this process although the isolation must refuse it.

    `parent` is the id of a process outside, or 0 if this process can see no such process.
    """
    attempts: dict[str, Callable[[], object]] = {
        "make a socket": _socket.socket,
        "list /proc": lambda: os.listdir("/proc"),  # noqa: PTH208 - as the program would
        "read /etc/passwd": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "read /proc": lambda: os.open("/proc/self/environ", os.O_RDONLY),
        "write to /dev/null": lambda: os.open("/dev/null", os.O_WRONLY),
        "execute another program": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
        "send a signal": lambda: os.kill(parent or os.getpid(), 0),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        yield name
