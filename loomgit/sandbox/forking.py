"""Executes each input in a process of its own, forked from a process that never runs the program.

The forking process compiles program.py and imports the libraries that it names, so that the forks
have them. A fork gives up its own right to fork, imports the program, and replies through a pipe of
its own, so it cannot reach the replies of other executions. Runs in the worker.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import math
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from loomgit.sandbox import lockdown
from loomgit.sandbox.crashes import CLOSED_PIPE, WROTE_PIPE, describe_exit
from loomgit.sandbox.execution import (
    compile_program,
    describe_failure,
    load_execute,
    read_inputs,
    run_one,
)
from loomgit.sandbox.messages import (
    CPU,
    DIED,
    ERROR,
    FIRST_NUMBER,
    HEADER,
    LONGEST_ERROR,
    MEMORY,
    MEMORY_EXIT,
    OK,
    OUTPUT,
    PIPE_EXIT,
    READY,
    START_NUMBER,
    read_exactly,
    render_reply,
    write_all,
)

if TYPE_CHECKING:
    from types import CodeType

# The libraries that are imported before the forks, if program.py imports them.
_LIBRARIES = frozenset(
    ("base64", "collections", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum",
     "functools", "hashlib", "html", "itertools", "json", "math", "numpy", "pathlib", "pickle",
     "random", "re", "statistics", "string", "typing", "unicodedata", "urllib")
)  # fmt: skip
_exit = os._exit  # the program may replace it
_END_SECONDS, _END_CHECKS = 0.005, 200
# The kernel ends a process by its count of ticks, which can be far above the reported CPU time.
_CPU_SHARE = 0.5
_FROM_PROGRAM = (OK, ERROR, MEMORY, OUTPUT)


def serve_forked(setup: dict[str, Any], requests: int, replies: int) -> None:
    """Execute inputs until the requests end, each in a fork. Never returns."""
    artifact = setup["artifact"]
    try:
        code = compile_program(artifact)
        _import_libraries(code)
    except BaseException as error:  # noqa: BLE001 - whatever the compiler raises
        write_all(replies, render_reply(START_NUMBER, *describe_failure(error, artifact)))
        os._exit(1)
    write_all(replies, render_reply(START_NUMBER, READY, b""))
    gc.freeze()  # so that the forks share the pages
    running: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: _end_with(running))
    for number, line in enumerate(read_inputs(requests), start=FIRST_NUMBER):
        started = time.perf_counter()
        status, text = _execute_in_fork(setup, code, line, (requests, replies), running)
        seconds = time.perf_counter() - started
        write_all(replies, render_reply(number, status, text, seconds))
    os._exit(0)


def _import_libraries(code: CodeType) -> None:
    """Import the known libraries whose names occur in the code."""
    for name in sorted(_names(code) & _LIBRARIES):
        with contextlib.suppress(ImportError):  # the program reports it
            importlib.import_module(name)


def _names(code: CodeType) -> set[str]:
    names = {name.partition(".")[0] for name in code.co_names}
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            names |= _names(constant)
    return names


def _execute_in_fork(
    setup: dict[str, Any],
    code: CodeType,
    line: bytes,
    pipes: tuple[int, int],
    running: list[int],
) -> tuple[int, bytes]:
    """Return the status and the text of one execution. `running` holds its process id."""
    reading, writing = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            _run_fork(setup, code, line, parent, (*pipes, reading), writing)
        finally:
            _exit(1)
    running.append(child)
    os.close(writing)
    reply = _read_reply(reading, setup["output_bytes"])
    os.close(reading)
    if reply is None and not _has_ended(child):
        reply = DIED, CLOSED_PIPE.encode()
    if reply is not None:
        os.kill(child, signal.SIGKILL)
    _, result, usage = os.wait4(child, 0)
    running.clear()
    if reply is not None:
        return reply
    exit_code = os.waitstatus_to_exitcode(result)
    if exit_code == MEMORY_EXIT:
        return MEMORY, b""
    if exit_code == PIPE_EXIT:
        return DIED, CLOSED_PIPE.encode()
    cpu_seconds = usage.ru_utime + usage.ru_stime
    if exit_code == -signal.SIGKILL and cpu_seconds >= _whole_seconds(setup) * _CPU_SHARE:
        return CPU, b""
    return DIED, describe_exit(exit_code).encode()


def _has_ended(child: int) -> bool:
    """Whether a fork that has closed its pipe ends soon. The fork is not reaped."""
    for _ in range(_END_CHECKS):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(_END_SECONDS)
    return False


def _end_with(running: list[int]) -> None:
    """End the running fork and then this process, so that no fork outlives it."""
    for child in running:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os._exit(1)


def _whole_seconds(setup: dict[str, Any]) -> int:
    """Return the limit of CPU time in whole seconds, as the kernel counts them."""
    return math.ceil(float(setup["cpu_seconds"]))


def _run_fork(
    setup: dict[str, Any],
    code: CodeType,
    line: bytes,
    parent: int,
    inherited: tuple[int, ...],
    writing: int,
) -> None:
    """Execute one input in this process, write the reply, and end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for descriptor in inherited:
        os.close(descriptor)
    artifact = setup["artifact"]
    sys.path.insert(0, artifact)
    resource.setrlimit(resource.RLIMIT_CPU, (_whole_seconds(setup),) * 2)
    if sys.platform == "linux":
        lockdown.end_with_parent(parent)
    if setup["level"] != "none":
        lockdown.install_filter(bytes.fromhex(setup["filter"]))
    if "numpy.random" in sys.modules:  # otherwise, all forks would have the same state
        sys.modules["numpy.random"].seed()
    try:
        status, text, _ = run_one(load_execute(artifact, code), line, setup["output_bytes"])
    except BaseException as error:  # noqa: BLE001 - whatever the program raises
        status, text = describe_failure(error, artifact)
    try:
        write_all(writing, render_reply(0, status, text))
    except OSError:
        _exit(PIPE_EXIT)
    _exit(0)


def _read_reply(reading: int, limit: int) -> tuple[int, bytes] | None:
    """Return the reply of a fork, or None. The program itself may have written it."""
    header = read_exactly(reading, HEADER.size)
    if not header:
        return None
    size, number, status, _ = HEADER.unpack(header)
    longest = limit if status == OK else LONGEST_ERROR
    if size > longest or number != 0 or status not in _FROM_PROGRAM:
        return DIED, WROTE_PIPE.encode()
    text = read_exactly(reading, size)
    return (status, text) if len(text) == size else None
