"""Restricts a process with Landlock: it can read the given files and folders, and no others.

Runs in the worker, so it imports only the standard library. The values are those of
`linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# The rights over files that each version of the interface (ABI) knows, as a mask.
_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
_NETWORK_RIGHTS = {4: 0b11}  # bind and connect TCP
_SCOPES = {6: 0b11}  # abstract Unix sockets, signals


def find_abi() -> int:
    """Return the version of Landlock's interface. Raises OSError if the kernel has no Landlock."""
    return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))


def allow_reading(paths: Iterable[str]) -> int:
    """Restrict this process permanently to reading these paths and everything below them.

    Everything that the kernel's version of Landlock can refuse is refused: writing, creating and
    removing files, TCP, signals to processes outside. Returns the version. The process must have
    `no_new_privs`. Raises OSError.
    """
    abi = find_abi()
    attributes = struct.pack(
        "=QQQ", _mask(_FILE_RIGHTS, abi), _mask(_NETWORK_RIGHTS, abi), _mask(_SCOPES, abi)
    )
    size = 8 if abi < 4 else 16 if abi < 6 else 24  # an older kernel refuses a longer structure
    ruleset = _call(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path in paths:
            _add_rule(ruleset, path)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return abi


def _add_rule(ruleset: int, path: str) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rights = _READ_FILE | _READ_DIR if is_folder else _READ_FILE
        rule = struct.pack("=Qi", rights, descriptor)
        _call(
            _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)
        )
    finally:
        os.close(descriptor)


def _mask(rights: dict[int, int], abi: int) -> int:
    """Return the rights of the newest version that is not newer than `abi`; 0 without one."""
    return max((mask for version, mask in rights.items() if version <= abi), default=0)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
