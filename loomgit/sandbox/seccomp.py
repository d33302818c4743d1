"""Builds the seccomp filter of a worker as a BPF program, without a library.

The filter is an allow-list: every other system call fails with EPERM, also one that a future kernel
adds. Calls of another architecture (and x32 on x86_64) kill the process. The libraries for seccomp
need libseccomp.so.2, which minimal systems lack; the filter needs only the kernel.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, NamedTuple

from loomgit.sandbox.syscalls import ALLOWED, FORKING, NUMBERS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of linux/bpf_common.h, linux/seccomp.h and linux/audit.h.
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _AND, _RETURN = (
    0x20, 0x15, 0x35, 0x45, 0x54, 0x06,
)  # fmt: skip
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000
_INDEX = {"x86_64": 0, "aarch64": 1}
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Flags of open(2) that write, create or truncate: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE.
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC. F_SETOWN, F_SETSIG and the locks of files
# would reach other processes.
_DESCRIPTOR_COMMANDS = (0, 1, 2, 3, 1030)
_SIGCHLD, _CHILD_SETTID, _CHILD_CLEARTID = 17, 0x01000000, 0x00200000

MACHINES = tuple(_INDEX)


class Instruction(NamedTuple):
    """One instruction of classic BPF: the code, the jumps if true and if false, the operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


def build_filter(machine: str, *, forks: bool = False) -> bytes:
    """Return the filter for a machine (`x86_64` or `aarch64`) as an array of `struct sock_filter`.

    With `forks`, it is the filter of the process that forks the executions. Raises KeyError for
    another machine.
    """
    program = [
        Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        Instruction(_JUMP_EQUAL, 1, 0, _AUDIT[machine]),
        _result(_KILL),
        Instruction(_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [Instruction(_JUMP_GREATER_EQUAL, 0, 1, _X32), _result(_KILL)]
    for name, body in _rules(forks=forks).items():
        number = NUMBERS[name][_INDEX[machine]]
        if number is not None:
            program += [Instruction(_JUMP_EQUAL, 0, len(body), number), *body]
    program.append(_error(errno.EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _rules(*, forks: bool) -> dict[str, list[Instruction]]:
    """Return the instructions for each system call; each list ends with a result."""
    rules = {name: [_result(_ALLOW)] for name in ALLOWED}
    rules |= {
        "open": _refuse_flags(1, _WRITING, errno.EROFS),
        "openat": _refuse_flags(2, _WRITING, errno.EROFS),
        "openat2": [_error(errno.ENOSYS)],  # its flags are in memory, which a filter cannot read
        "clone3": [_error(errno.ENOSYS)],
        "ioctl": [_error(errno.ENOTTY)],
        "fcntl": _allow_values(1, _DESCRIPTOR_COMMANDS),
        "sched_getaffinity": _allow_values(0, (0,)),
        "prlimit64": [  # reads the limits of this process; sets none
            Instruction(_LOAD, 0, 0, _low(0)),
            Instruction(_JUMP_EQUAL, 0, 5, 0),
            Instruction(_LOAD, 0, 0, _low(2)),
            Instruction(_JUMP_EQUAL, 0, 3, 0),
            Instruction(_LOAD, 0, 0, _low(2) + 4),
            Instruction(_JUMP_EQUAL, 0, 1, 0),
            _result(_ALLOW),
            _error(errno.EPERM),
        ],
    }
    if forks:
        rules |= {name: [_result(_ALLOW)] for name in FORKING}
        rules["clone"] = [
            Instruction(_LOAD, 0, 0, _low(0)),
            Instruction(_AND, 0, 0, 0xFFFFFFFF & ~(_CHILD_SETTID | _CHILD_CLEARTID)),
            Instruction(_JUMP_EQUAL, 0, 1, _SIGCHLD),
            _result(_ALLOW),
            _error(errno.EPERM),
        ]
    return rules


def _low(argument: int) -> int:
    """Return the offset of the low half of an argument; both architectures are little-endian."""
    return _ARGUMENTS + 8 * argument


def _refuse_flags(argument: int, flags: int, code: int) -> list[Instruction]:
    return [
        Instruction(_LOAD, 0, 0, _low(argument)),
        Instruction(_JUMP_SET, 1, 0, flags),
        _result(_ALLOW),
        _error(code),
    ]


def _allow_values(argument: int, values: Sequence[int]) -> list[Instruction]:
    count = len(values)
    jumps = [
        Instruction(_JUMP_EQUAL, count - position, 0, value)
        for position, value in enumerate(values)
    ]
    return [
        Instruction(_LOAD, 0, 0, _low(argument)), *jumps, _error(errno.EPERM), _result(_ALLOW)
    ]  # fmt: skip


def _result(action: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, action)


def _error(code: int) -> Instruction:
    return _result(_ERRNO | code)
