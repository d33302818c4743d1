"""Starts the process of a worker at a level of isolation."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from loomgit.domain.programs import IsolationLevel, ProgramLimits, WorkerMode
from loomgit.errors import UserError, WorldError
from loomgit.sandbox.interpreter import find_interpreter, outermost
from loomgit.sandbox.messages import LENGTH
from loomgit.sandbox.seccomp import build_filter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.programs import ProgramFiles
    from loomgit.sandbox.interpreter import Interpreter

_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from loomgit.sandbox.worker import main; main()"
)
_ENVIRONMENT = {
    "HOME": "/",
    "LANG": "C.UTF-8",
    "PATH": "",
    "TZ": "UTC",
    # The libraries that NumPy uses would start threads, which a worker may not do.
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_LONGEST_ERROR, _LONGEST_LINE = 65536, 300
_LINKED_FOLDERS = ("/lib", "/lib64")  # on most systems, links into /usr
_BUBBLEWRAP_OPTIONS = ("--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1",
                       "--cap-drop", "ALL")  # fmt: skip


class WorkerPlan(Struct, frozen=True):
    """The settings with which a worker is started.

    `artifact` is None for a worker that tests the isolation and ends. The keys of `mounts` are
    the paths that the program uses, and the values are paths on this machine.
    """

    level: IsolationLevel
    limits: ProgramLimits = ProgramLimits()
    artifact: str | None = None
    mounts: dict[str, str] = {}
    mode: WorkerMode = "warm"


class WorkerProcess(Struct):
    """A started process, and Loom's ends of its pipes.

    Loom writes messages to `requests` and reads replies from `replies`. bubblewrap writes the id of
    the process inside to `information`, which is None without bubblewrap.
    """

    process: subprocess.Popen[bytes]
    requests: int
    replies: int
    information: int | None

    def find_inner_pid(self) -> int | None:
        """Return the id of the Python process; None if bubblewrap has not reported it."""
        if self.information is None:
            return self.process.pid
        try:
            return int(json.loads(os.read(self.information, 4096))["child-pid"])
        except (OSError, ValueError, KeyError):
            return None

    def read_error(self) -> str:
        """Return the last line that the process has written to stderr, or ""."""
        assert self.process.stderr is not None
        text = (self.process.stderr.read(_LONGEST_ERROR) or b"").decode("utf-8", "replace")
        lines = text.strip().splitlines()
        return lines[-1][:_LONGEST_LINE] if lines else ""

    def close_pipes(self) -> None:
        """Close Loom's ends of the pipes."""
        for descriptor in (self.requests, self.replies, self.information):
            if descriptor is not None:
                os.close(descriptor)
        if self.process.stderr is not None:
            self.process.stderr.close()


def plan_worker(
    files: ProgramFiles, limits: ProgramLimits, level: IsolationLevel, mode: WorkerMode
) -> WorkerPlan:
    """Return the plan of a worker, with real paths.

    Raises WorldError if a file does not exist, and UserError if the path of a mount is not an
    absolute path without `..`.
    """
    artifact = Path(os.path.realpath(files.artifact))
    if not (artifact / "program.py").is_file():
        raise WorldError(f"{files.artifact}/program.py does not exist")
    mounts = {}
    for path, source in files.mounts.items():
        if not path.startswith("/") or os.path.normpath(path) != path.rstrip("/") or path == "/":
            raise UserError(f"the mount '{path}' must be an absolute path without '..'")
        real = os.path.realpath(source)
        if not Path(real).exists():
            raise WorldError(f"{source} does not exist; the program reads it as {path}")
        mounts[path.rstrip("/")] = real
    return WorkerPlan(level, limits, str(artifact), mounts, mode)


def start_process(plan: WorkerPlan) -> WorkerProcess:
    """Start a worker. Its set-up is not sent yet: see `render_setup`.

    The kernel ends the worker when the calling thread ends. Raises WorldError if the process cannot
    be started.
    """
    interpreter = find_interpreter()
    requests_in, requests_out = os.pipe()
    replies_in, replies_out = os.pipe()
    given = [requests_in, replies_out]
    information: int | None = None
    command = [interpreter.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _START,
               interpreter.package_root, str(requests_in), str(replies_out)]  # fmt: skip
    try:
        if plan.level == "bubblewrap":
            information, information_out = os.pipe()
            given.append(information_out)
            command = [*_bubblewrap_arguments(plan, interpreter, information_out), *command]
        process = subprocess.Popen(  # noqa: S603 - the command is Loom's
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=given,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        for descriptor in (requests_out, replies_in, information):
            if descriptor is not None:
                os.close(descriptor)
        raise WorldError(f"a worker for programs cannot be started: {error}") from error
    finally:
        for descriptor in given:
            os.close(descriptor)
    assert process.stderr is not None
    for descriptor in (requests_out, replies_in, information, process.stderr.fileno()):
        if descriptor is not None:
            os.set_blocking(descriptor, False)
    return WorkerProcess(process, requests_out, replies_in, information)


def render_setup(plan: WorkerPlan) -> bytes:
    """Return the first message to a worker."""
    interpreter = find_interpreter()
    sees_loom = plan.level != "bubblewrap" and sys.platform == "linux"
    setup: dict[str, Any] = {
        "level": plan.level,
        "mode": plan.mode,
        "artifact": plan.artifact,
        "parent": os.getpid() if sees_loom else 0,
        "memory_bytes": plan.limits.memory_bytes,
        "cpu_seconds": plan.limits.cpu_seconds,
        "program_paths": sorted({*_program_paths(plan), *_program_paths(plan).values()}),
        "output_bytes": plan.limits.output_bytes,
        "library_paths": interpreter.library_paths,
        "readable_paths": [*interpreter.readable_paths, *_program_paths(plan).values()],
        "translated_mounts": {} if plan.level == "bubblewrap" else plan.mounts,
    }
    if plan.level != "none":
        machine = platform.machine()
        setup["filter"] = build_filter(machine).hex()
        setup["forking_filter"] = build_filter(machine, forks=True).hex()
    return frame(json.dumps(setup).encode())


def frame(content: bytes) -> bytes:
    """Return a message to a worker with its length."""
    return LENGTH.pack(len(content)) + content


def _program_paths(plan: WorkerPlan) -> Mapping[str, str]:
    """Return the paths that a program may read: its own paths, and the paths on this machine."""
    artifact = {} if plan.artifact is None else {plan.artifact: plan.artifact}
    return artifact | plan.mounts


def _environment() -> dict[str, str]:
    """Return the environment of a worker. From Loom's, it has only the path of libraries."""
    path = os.environ.get("LD_LIBRARY_PATH")
    return {**_ENVIRONMENT, "LD_LIBRARY_PATH": path} if path else dict(_ENVIRONMENT)


def _bubblewrap_arguments(
    plan: WorkerPlan, interpreter: Interpreter, information: int
) -> Iterator[str]:
    """Yield the command of bubblewrap, without the command that bubblewrap runs.

    The worker sees the files of the interpreter, the artifact and the mounts, all read-only. There
    is no /tmp, /dev or /proc.
    """
    yield shutil.which("bwrap") or "bwrap"
    yield from _BUBBLEWRAP_OPTIONS
    yield from ("--info-fd", str(information))
    for path in outermost((*interpreter.readable_paths, *interpreter.own_paths)):
        yield from ("--ro-bind", path, path)
    for path in _LINKED_FOLDERS:
        if Path(path).is_symlink():
            yield from ("--symlink", str(Path(path).readlink()), path)
    for path, source in sorted(_program_paths(plan).items()):
        yield from ("--ro-bind", source, path)
    yield from ("--remount-ro", "/", "--chdir", "/", "--")
