"""The seccomp filter, run by a small interpreter of BPF for both architectures."""

import errno
import re
import struct
from pathlib import Path

import pytest

from loomgit.sandbox.seccomp import MACHINES, build_filter
from loomgit.sandbox.syscalls import ALLOWED, FORKING, NUMBERS

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
KILLED, ALLOWED_RESULT = 0x80000000, 0x7FFF0000
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def run(program, data):
    """The result of a filter for one `struct seccomp_data`."""
    instructions = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, operand = instructions[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x06:
            return operand
        else:
            holds = {
                0x15: accumulator == operand,
                0x35: accumulator >= operand,
                0x45: accumulator & operand != 0,
            }[code]
            position += if_true if holds else if_false


def call(machine, number, *arguments, forks=False, audit=None):
    if isinstance(number, str):
        number = NUMBERS[number][MACHINES.index(machine)]
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, audit or AUDIT[machine], 0, *values)
    return run(build_filter(machine, forks=forks), data)


def error(code):
    return 0x00050000 | code


@pytest.mark.parametrize("machine", MACHINES)
def test_only_the_listed_calls_are_allowed(machine):
    column = MACHINES.index(machine)
    allowed = {NUMBERS[name][column] for name in ALLOWED} - {None}
    conditional = {NUMBERS[name][column] for name in NUMBERS} - allowed
    for number in range(600):
        result = call(machine, number, 5, 5, 5)
        if number in allowed:
            assert result == ALLOWED_RESULT, number
        elif number not in conditional:
            assert result == error(errno.EPERM), number
    for name in (*FORKING, "clone"):
        if NUMBERS[name][column] is not None:
            assert call(machine, name, 17, 1, 1) == error(errno.EPERM), name


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_kill_the_process(machine):
    for other, audit in (*AUDIT.items(), ("i386", 0x40000003), ("arm", 0x40000028)):
        result = call(machine, "read", audit=audit)
        assert result == (ALLOWED_RESULT if other == machine else KILLED)


def test_calls_of_x32_kill_the_process():
    assert call("x86_64", 0x40000000) == KILLED
    assert call("x86_64", 0x40000000 + 59) == KILLED
    assert call("x86_64", 0xFFFFFFFF) == KILLED


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("flags", [0o1, 0o2, 0o100, 0o1000, 0o20000000, 0o2000000 | 0o1000])
def test_files_open_only_for_reading(machine, flags):
    assert call(machine, "openat", 2**64 - 100, 1, 0o2000000) == ALLOWED_RESULT
    assert call(machine, "openat", 0, 1, flags) == error(errno.EROFS)
    assert call(machine, "openat2", 0, 1, 0) == error(errno.ENOSYS)
    if machine == "x86_64":
        assert call(machine, "open", 1, 0) == ALLOWED_RESULT
        assert call(machine, "open", 1, flags) == error(errno.EROFS)


@pytest.mark.parametrize("machine", MACHINES)
def test_descriptors_get_no_owner_and_no_lock(machine):
    for command in range(1100):
        expected = ALLOWED_RESULT if command in (0, 1, 2, 3, 1030) else error(errno.EPERM)
        assert call(machine, "fcntl", 3, command) == expected, command
    assert call(machine, "ioctl", 0, 0x5412) == error(errno.ENOTTY)  # TIOCSTI


@pytest.mark.parametrize("machine", MACHINES)
def test_limits_are_read_and_never_set(machine):
    assert call(machine, "prlimit64", 0, 9, 0, 4096) == ALLOWED_RESULT
    assert call(machine, "prlimit64", 1, 9, 0, 4096) == error(errno.EPERM)
    assert call(machine, "prlimit64", 0, 9, 4096, 0) == error(errno.EPERM)
    assert call(machine, "prlimit64", 0, 9, 1 << 40, 0) == error(errno.EPERM)
    assert call(machine, "sched_getaffinity", 0) == ALLOWED_RESULT
    assert call(machine, "sched_getaffinity", 7) == error(errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_only_the_parent_of_forks_may_fork(machine):
    fork = 17 | 0x01000000 | 0x00200000
    assert call(machine, "clone", fork, forks=True) == ALLOWED_RESULT
    assert call(machine, "clone", fork) == error(errno.EPERM)
    for flags in (0x3D0F00, fork | 0x10000000, fork | 0x00008000, 0x4000 | 17):  # a thread, a user
        assert call(machine, "clone", flags, forks=True) == error(errno.EPERM)  # namespace, ...
    assert call(machine, "clone3", 1, forks=True) == error(errno.ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel(machine):
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed (linux-libc-dev)")
    pattern = re.compile(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)")
    kernel = {name: int(number) for name, number in pattern.findall(header.read_text())}
    if machine == "aarch64":
        kernel["newfstatat"] = kernel["fstatat"]
    for name, numbers in NUMBERS.items():
        assert numbers[MACHINES.index(machine)] == kernel.get(name), name


def test_another_machine_has_no_filter():
    with pytest.raises(KeyError):
        build_filter("riscv64")
