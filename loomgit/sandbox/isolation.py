"""Chooses how programs are isolated on this machine: tests which levels work."""

from __future__ import annotations

import os
import platform
import select
import shutil
import sys
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.programs import IsolationLevel
from loomgit.errors import WorldError
from loomgit.sandbox.launch import WorkerPlan, render_setup, start_process
from loomgit.sandbox.messages import HEADER, LOCKED, REFUSED
from loomgit.sandbox.seccomp import MACHINES

if TYPE_CHECKING:
    from loomgit.domain.programs import IsolationChoice
    from loomgit.sandbox.launch import WorkerProcess

_TEST_SECONDS = 30.0
_UNENFORCED: dict[IsolationLevel, tuple[str, ...]] = {
    "bubblewrap": (),
    "landlock": (
        "landlock does not hide whether a path exists on this machine, its size and its times; "
        "bubblewrap does",
    ),
    "none": (
        "programs run without isolation: they can read and write files, use the network, and "
        "start processes",
    ),
}


class Isolation(Struct, frozen=True):
    """The level at which programs run, and what it does not enforce here, as sentences."""

    level: IsolationLevel
    warnings: tuple[str, ...] = ()


def choose_isolation(choice: IsolationChoice) -> Isolation:
    """Return the isolation for a choice; `auto` prefers bubblewrap to landlock.

    Each level is tested once per process. Raises WorldError, which says what is missing, if no
    level works, or if a level was chosen that does not work.
    """
    if choice == "none":
        return Isolation("none", _UNENFORCED["none"])
    levels: tuple[IsolationLevel, ...] = (
        ("bubblewrap", "landlock") if choice == "auto" else (choice,)
    )
    problems: list[str] = []
    for level in levels:
        problem = find_problem(level)
        if problem is None:
            return Isolation(level, (*problems, *_UNENFORCED[level]))
        problems.append(f"{level} does not work here: {problem}")
    raise WorldError(
        f"programs cannot be isolated: {'; '.join(problems)}",
        hint="install bubblewrap (apt-get install bubblewrap), or use a Linux with Landlock "
        "(5.13 or later)",
    )


@cache
def find_problem(level: IsolationLevel) -> str | None:
    """Return the reason why a level does not work on this machine, or None if it works."""
    if sys.platform != "linux":
        return "it needs Linux"
    if platform.machine() not in MACHINES:
        return f"there is no seccomp filter for {platform.machine()}, only for x86_64 and aarch64"
    if level == "bubblewrap" and shutil.which("bwrap") is None:
        return "the command bwrap is not installed"
    try:
        worker = start_process(WorkerPlan(level))
    except WorldError as error:
        return str(error)
    try:
        status, text = _test(worker, WorkerPlan(level))
    except OSError as error:
        return str(error)
    finally:
        worker.process.kill()
        worker.process.wait()
        worker.close_pipes()
    if status == LOCKED:
        return f"a program could {', '.join(text.splitlines())}" if text else None
    return text


def _test(worker: WorkerProcess, plan: WorkerPlan) -> tuple[int, str]:
    """Return the status and the text of the reply of a worker that tests the isolation."""
    with suppress(BrokenPipeError):  # the worker says why on stderr
        os.write(worker.requests, render_setup(plan))
    content = b""
    deadline = time.monotonic() + _TEST_SECONDS
    while select.select([worker.replies], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(worker.replies, 65536)
        if not piece:
            break
        content += piece
    else:
        return REFUSED, f"its test did not end within {_TEST_SECONDS:g} s"
    if len(content) < HEADER.size:
        return REFUSED, worker.read_error() or "the worker ended"
    _, _, status, _ = HEADER.unpack_from(content)
    return status, content[HEADER.size :].decode("utf-8", "replace")
