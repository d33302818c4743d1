"""Runs programs in pools of workers, and looks at the processes that they leave."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from loomgit.domain.programs import ProgramFiles, ProgramLimits
from loomgit.sandbox.isolation import Isolation, find_problem
from loomgit.sandbox.pool import WorkerPool

LEVELS = ("bubblewrap", "landlock")
LIMITS = ProgramLimits(wall_seconds=20, cpu_seconds=20, start_seconds=60)


def require(level):
    """Fail where a level does not work. Skip the test where the system cannot run bubblewrap.

    LOOM_TEST_WITHOUT_BUBBLEWRAP skips the tests of bubblewrap, too.
    """
    problem = find_problem(level)
    if problem and level == "bubblewrap":
        if os.environ.get("LOOM_TEST_WITHOUT_BUBBLEWRAP"):
            pytest.skip(f"LOOM_TEST_WITHOUT_BUBBLEWRAP is set ({problem})")
        if refuses_namespaces():
            pytest.skip(f"this system does not let bubblewrap make namespaces ({problem})")
    assert problem is None, f"{level}: {problem} (.ci/install-bubblewrap installs bubblewrap)"


def refuses_namespaces():
    """Whether bubblewrap is installed, but fails even without the options of Loom."""
    command = shutil.which("bwrap")
    options = ("--unshare-all", "--ro-bind", "/", "/", "true")
    return bool(command) and subprocess.run([command, *options], check=False).returncode != 0


def write_program(folder, source, **files):
    """Write an artifact; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.py").write_text(source)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


class Runner:
    """A pool with an event loop of its own."""

    def __init__(self, artifact, level="landlock", *, limits=LIMITS, mounts=None, **options):
        self.loop = asyncio.new_event_loop()
        self._arguments = (ProgramFiles(Path(artifact), mounts or {}), limits, Isolation(level))
        self.pool = self.loop.run_until_complete(self._open(options))
        self.seen = set()

    async def _open(self, options):
        return WorkerPool(*self._arguments, **options)

    def run(self, *inputs):
        """Execute inputs; return the results."""
        results = self.loop.run_until_complete(self.pool.execute(inputs))
        self.note_processes()
        return list(results)

    def note_processes(self):
        """Remember the processes of the pool's workers."""
        for worker in self.pool._all:
            self.seen |= {worker._process.pid, worker._pid}

    def close(self):
        self.loop.run_until_complete(self.pool.close())
        self.loop.close()
        assert running_in_sessions(self.seen) == []


@contextlib.contextmanager
def runner(artifact, level="landlock", **options):
    """A runner that is closed at the end; then none of its processes runs."""
    it = Runner(artifact, level, **options)
    try:
        yield it
    finally:
        it.close()


def running_in_sessions(leaders):
    """The processes whose id, parent or session is one of these ids. A worker starts a session."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if folder.name.isdigit():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if {int(folder.name), int(fields[1]), int(fields[3])} & (leaders - {0, 1, None}):
                    found.append((folder / "cmdline").read_bytes())
    return found
