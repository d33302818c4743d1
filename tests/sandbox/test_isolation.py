"""The choice of a level: what works is used, what does not work says why."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.errors import WorldError
from loomgit.sandbox import isolation
from loomgit.sandbox.isolation import choose_isolation, find_problem
from tests.sandbox.pools import LEVELS, require

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def forget_trials():
    find_problem.cache_clear()
    yield
    find_problem.cache_clear()


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_that_works_is_used(level):
    require(level)
    chosen = choose_isolation(level)
    assert chosen.level == level
    assert len(chosen.warnings) == (1 if level == "landlock" else 0)


def test_auto_prefers_bubblewrap():
    require("bubblewrap")
    assert choose_isolation("auto").level == "bubblewrap"


def test_without_bubblewrap_auto_uses_landlock_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = choose_isolation("auto")
    assert chosen.level == "landlock"
    assert chosen.warnings[0] == "bubblewrap does not work here: the command bwrap is not installed"
    with pytest.raises(WorldError, match="the command bwrap is not installed"):
        choose_isolation("bubblewrap")


def fake_bubblewrap(folder, script):
    (folder / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bwrap").chmod(0o755)


def test_bubblewrap_that_may_make_no_namespaces_does_not_work(monkeypatch, tmp_path):
    fake_bubblewrap(tmp_path, "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(WorldError, match="setting up uid map: Permission denied") as caught:
        choose_isolation("bubblewrap")
    assert "\n" not in caught.value.message
    assert choose_isolation("auto").level == "landlock"


def test_bubblewrap_that_isolates_nothing_does_not_work(monkeypatch, tmp_path):
    script = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
    fake_bubblewrap(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(WorldError, match="a program could list /proc, read /etc/passwd"):
        choose_isolation("bubblewrap")


def test_another_machine_has_no_level(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(WorldError, match="no seccomp filter for riscv64") as caught:
        choose_isolation("auto")
    assert "bubblewrap" in caught.value.message
    assert "landlock" in caught.value.message
    assert caught.value.hint


def test_another_system_has_no_level(monkeypatch):
    monkeypatch.setattr(isolation.sys, "platform", "darwin")
    with pytest.raises(WorldError, match="it needs Linux"):
        choose_isolation("auto")
    assert choose_isolation("none").warnings


def test_a_level_is_tried_once_per_process(monkeypatch):
    assert find_problem("landlock") is None
    monkeypatch.setattr(isolation, "start_process", None)
    assert find_problem("landlock") is None


NO_LANDLOCK = """
import ctypes
from loomgit.sandbox import lockdown, seccomp, syscalls
from loomgit.sandbox.isolation import choose_isolation
import os, struct, platform

# A kernel without Landlock: its calls fail with ENOSYS for this process and its children.
arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
rules = [(0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x25, 1, 0, 446), (0x06, 0, 0, 0x00050000 | 38),
         (0x06, 0, 0, 0x7FFF0000)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
lockdown.install_filter(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
try:
    choose_isolation("landlock")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_kernel_without_landlock_says_so():
    process = subprocess.run(
        [sys.executable, "-c", NO_LANDLOCK], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout == (
        "WorldError programs cannot be isolated: landlock does not work here: "
        "Landlock: Function not implemented\n"
    ), process
