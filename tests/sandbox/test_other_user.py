"""The tests of hostile programs and of the levels, run by another user than root.

The suite of another user runs them directly, so this file has work only for root. Root's folders
may hide the interpreter and the sources from other users. bubblewrap shows them at the same paths.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.sandbox.interpreter import find_interpreter
from tests.sandbox.pools import require

ROOT = Path(__file__).parents[2]
TESTS = (
    "test_hostile.py",
    "test_isolation.py",
    "test_pool.py::test_a_program_opens_shared_artifacts_at_their_path",
    "test_pool.py::test_a_program_uses_numpy_and_its_own_modules",
    "test_pool.py::test_workers_end_with_loom_even_if_it_is_killed",
)


def as_nobody():
    """The start of a command that runs as `nobody`."""
    prefix = Path(find_interpreter().executable).parents[1]
    paths = {ROOT.resolve(), prefix.resolve(), Path(sys.prefix).resolve()}
    command = ["bwrap", "--cap-add", "ALL", "--dev-bind", "/", "/", "--proc", "/proc"]
    hidden = {folder for folder in map(find_hidden_folder, paths) if folder}
    for folder in sorted(hidden):
        command += ["--perms", "0755", "--tmpfs", str(folder)]
    for path in sorted(paths):
        hidden_folder = find_hidden_folder(path)
        if hidden_folder:
            for folder in reversed(path.relative_to(hidden_folder).parents):
                command += ["--perms", "0755", "--dir", str(hidden_folder / folder)]
            command += ["--ro-bind", str(path), str(path)]
    return [*command, "--", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]


def find_hidden_folder(path):
    """The outermost folder above a path that other users may not enter, or None."""
    closed = (folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001)
    return next(closed, None)


@pytest.mark.skipif(os.getuid() != 0, reason="not root: the tests themselves run as another user")
def test_hostile_programs_are_contained_for_another_user_too():
    require("bubblewrap")
    folder = Path("/tmp") / f"loom-nobody-{os.getpid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    try:
        process = subprocess.run(
            [*as_nobody(), sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--basetemp={folder}/base", *(f"{Path(__file__).parent}/{name}" for name in TESTS)],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder),
                 "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    last = process.stdout.strip().splitlines()[-1]
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-2000:]
    assert "passed" in last
    assert "skipped" not in last
