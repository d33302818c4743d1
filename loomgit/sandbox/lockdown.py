"""Removes rights from this process permanently. Runs in the worker before the program.

It imports only the standard library and other modules that run in the worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
from typing import TYPE_CHECKING

from loomgit.sandbox import landlock

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of linux/prctl.h, linux/seccomp.h and linux/capability.h.
_SET_DEATH_SIGNAL, _SET_SECCOMP, _DROP_BOUND, _SET_NO_NEW_PRIVILEGES = 1, 22, 24, 38
_AMBIENT, _CLEAR_AMBIENT = 47, 4
_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_DESCRIPTORS = 64


class LockdownError(Exception):
    """This machine refuses a restriction. The message names the restriction."""


def limit_resources(memory_bytes: int) -> None:
    """Limit the address space, and forbid core dumps, files that grow, and locked memory.

    Raises LockdownError if the system refuses a limit.
    """
    limits = [
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_MEMLOCK, 0),
    ]
    if hasattr(resource, "RLIMIT_MSGQUEUE"):
        limits.append((resource.RLIMIT_MSGQUEUE, 0))
    for name, value in limits:
        _, most = resource.getrlimit(name)
        bounded = value if most == resource.RLIM_INFINITY else min(value, most)
        try:
            resource.setrlimit(name, (bounded, bounded))
        except (OSError, ValueError) as error:
            raise LockdownError(f"the limits of resources: {error}") from error


def drop_capabilities() -> None:
    """Give up all privileges of root, and the possibility to get new ones.

    Raises LockdownError if the kernel refuses.
    """
    for number in range(64):  # the kernel refuses the numbers that it does not know
        with contextlib.suppress(LockdownError):
            _control(_DROP_BOUND, number, what="capabilities")
    with contextlib.suppress(LockdownError):
        _control(_AMBIENT, _CLEAR_AMBIENT, what="capabilities")
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, bytes(24)) != 0:
        raise LockdownError(f"capabilities: {os.strerror(ctypes.get_errno())}")
    _control(_SET_NO_NEW_PRIVILEGES, 1, what="no_new_privs")


def end_with_parent(parent: int) -> None:
    """End this process when its parent ends. `parent` is the process that started this one."""
    _control(_SET_DEATH_SIGNAL, signal.SIGKILL, what="the signal at the death of the parent")
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)


def restrict_files(paths: Sequence[str]) -> int:
    """Restrict this process with Landlock; return the version of Landlock's interface."""
    try:
        return landlock.allow_reading(paths)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise LockdownError(f"Landlock: {error.strerror}{place}") from error


def install_filter(program: bytes) -> None:
    """Install a seccomp filter. The process must have `no_new_privs`."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, padding, a pointer.
    header = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    _control(_SET_SECCOMP, _FILTER, header, what="seccomp")


def _control(option: int, *arguments: int | bytes, what: str) -> None:
    """Call prctl(2). Raises LockdownError, whose message begins with `what`."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [
        ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
        for value in arguments
    ]
    rest = [ctypes.c_ulong(0)] * (4 - len(words))
    if libc.prctl(ctypes.c_int(option), *words, *rest) != 0:
        raise LockdownError(f"{what}: {os.strerror(ctypes.get_errno())}")
