"""The tests of hostile programs and of the levels, run by another user than root.

The suite of another user runs them directly, so this file has work only for root. The other user
reads a copy of the sources. Root's folders may hide the interpreter from other users: bubblewrap
shows it at the same path. They may hide the locale of this process too, so the tests run in one
that every system has.
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
PYTHON = Path(sys.prefix).resolve() / "bin" / Path(sys.executable).name
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
    paths = {prefix.resolve(), Path(sys.prefix).resolve()}
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


def copy_sources(folder):
    """Copy what the tests need to a folder that every user may read."""
    for name in ("loomgit", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "loomgit_pytest.py"):  # pytest loads the installed plugin
        shutil.copy(ROOT / name, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.skipif(os.getuid() != 0, reason="not root: the tests themselves run as another user")
def test_hostile_programs_are_contained_for_another_user_too():
    require("bubblewrap")
    own = ("PYTEST", "COV", "LOOM")  # set by the pytest that runs this test
    environment = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    folder = Path("/tmp") / f"loom-nobody-{os.getpid()}"
    folder.mkdir()
    try:
        copy_sources(folder)
        folder.chmod(0o777)
        tests = [str(folder / "tests/sandbox" / name) for name in TESTS]
        process = subprocess.run(
            [*as_nobody(), str(PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--basetemp={folder}/base", *tests],
            cwd=folder, capture_output=True, text=True, check=False, timeout=900,
            env={**environment, "PYTHONPATH": str(folder), "HOME": str(folder),
                 "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-2000:]
    last = process.stdout.strip().splitlines()[-1]
    assert "passed" in last
    assert "skipped" not in last
