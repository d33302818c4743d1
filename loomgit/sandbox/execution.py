"""Imports a program and executes inputs. Runs in the worker."""

from __future__ import annotations

import builtins
import os
import sys
import time
from json import JSONDecoder
from typing import TYPE_CHECKING

from loomgit.sandbox.crashes import describe_crash
from loomgit.sandbox.messages import (
    ERROR,
    FIRST_NUMBER,
    MEMORY,
    MEMORY_EXIT,
    OK,
    OUTPUT,
    PIPE_EXIT,
    READY,
    START_NUMBER,
    read_message,
    render_reply,
    write_all,
)
from loomgit.sandbox.outputs import OutputRefusedError, render_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

# The program shares this process and may replace the functions of other modules.
globals()["__builtins__"] = vars(builtins).copy()
_exit, _clock = os._exit, time.perf_counter
_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]  # implemented in C


def compile_program(artifact: str) -> CodeType:
    """Compile program.py. Raises what the compiler raises."""
    path = f"{artifact}/program.py"
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes as long to import as the worker
        return compile(file.read(), path, "exec", dont_inherit=True)


def load_execute(artifact: str, code: CodeType) -> Callable[[object], object]:
    """Run the code of a program as the module `program`; return its function `execute`."""
    module = type(sys)("program")
    module.__file__ = f"{artifact}/program.py"
    module.__dict__["__builtins__"] = builtins  # not the copy of this module
    sys.modules["program"] = module
    exec(code, module.__dict__)  # noqa: S102 - the purpose of this process
    execute = module.__dict__.get("execute")
    if not callable(execute):
        raise TypeError("program.py has no function execute(input_data)")
    function: Callable[[object], object] = execute
    return function


def serve_warm(artifact: str, limit: int, requests: int, replies: int) -> None:
    """Import the program, and execute inputs until the requests end. Never returns.

    `limit` is the largest size of an output in bytes.
    """
    try:
        execute = load_execute(artifact, compile_program(artifact))
    except BaseException as error:  # noqa: BLE001 - whatever the program raises
        write_all(replies, render_reply(START_NUMBER, *describe_failure(error, artifact)))
        _exit(1)
    write_all(replies, render_reply(START_NUMBER, READY, b""))
    number = FIRST_NUMBER
    for line in _inputs_until_closed(requests):
        started = _clock()
        try:
            status, text, seconds = run_one(execute, line, limit)
        except BaseException as error:  # noqa: BLE001 - whatever the program raises
            seconds = _clock() - started
            status, text = describe_failure(error, artifact)
        try:
            write_all(replies, render_reply(number, status, text, seconds))
        except MemoryError:
            _exit(MEMORY_EXIT)
        except OSError:
            _exit(PIPE_EXIT)
        if status == MEMORY:  # the program may still hold the memory
            _exit(MEMORY_EXIT)
        number += 1
    _exit(0)


def _inputs_until_closed(requests: int) -> Iterator[bytes]:
    try:
        yield from read_inputs(requests)
    except OSError:
        _exit(PIPE_EXIT)
    except MemoryError:  # an input is larger than the memory
        _exit(MEMORY_EXIT)


def read_inputs(requests: int) -> Iterator[bytes]:
    """Yield the inputs of each message as JSON until the requests end."""
    while message := read_message(requests):
        yield from message.split(b"\n")


def run_one(
    execute: Callable[[object], object], line: bytes, limit: int
) -> tuple[int, bytes, float]:
    """Execute one input; return OK, the output as JSON, and the time in the program in seconds.

    Raises OutputRefusedError, and what the program raises.
    """
    value, _ = _scan(line.decode(), 0)
    started = _clock()
    output = execute(value)
    seconds = _clock() - started
    return OK, render_output(output, limit), seconds


def describe_failure(error: BaseException, artifact: str) -> tuple[int, bytes]:
    """Return the status of a failed execution, and its error in one line."""
    if isinstance(error, OutputRefusedError):
        return OUTPUT, f"the output {error}".encode("utf-8", "backslashreplace")
    if isinstance(error, MemoryError):
        return MEMORY, b""
    return ERROR, describe_crash(error, artifact)
