"""The board, where the processes of a session agree who draws what."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from loomgit.domain.bills import Charge
from loomgit.domain.models import Usage
from loomgit.history.shared_draws import SharedDraws

ROUNDS, MANY, SOON = 60, 3, 0.01
OPENER = """
import sys, time
from pathlib import Path
from loomgit.history.shared_draws import SharedDraws

print("ready", flush=True)
for line in sys.stdin:
    path, moment = line.split()
    while time.time() < float(moment):
        pass
    print(SharedDraws(Path(path)).claim(("key", 0)), flush=True)
"""


def test_of_processes_that_open_it_at_the_same_moment_one_draws(tmp_path):
    """Changing a database to WAL waits for nobody: without a lock the second one fails."""
    command = [sys.executable, "-c", OPENER]
    with ExitStack() as stack:
        openers = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(MANY)
        ]
        assert [opener.stdout.readline() for opener in openers] == ["ready\n"] * MANY
        for number in range(ROUNDS):
            for opener in openers:
                opener.stdin.write(f"{tmp_path / str(number)}.db {time.time() + SOON}\n")
                opener.stdin.flush()
            said = sorted(opener.stdout.readline() for opener in openers)
            assert said == [*["False\n"] * (MANY - 1), "True\n"]


def test_processes_share_a_budget(tmp_path):
    one, two = SharedDraws(tmp_path / "board.db"), SharedDraws(tmp_path / "board.db")
    two._owner = os.getppid()
    assert one.reserve(0.6, 1.0) is None
    assert two.reserve(0.6, 1.0) == (0.0, pytest.approx(0.6))
    one.settle_cost(0.6, 0.2)
    assert two.reserve(0.6, 1.0) is None
    assert one.reserve(0.6, 1.0) == (pytest.approx(0.2), pytest.approx(0.6))
    assert one.sums() == two.sums() == (pytest.approx(0.2), pytest.approx(0.6))


def test_what_a_process_that_is_gone_had_reserved_is_spent(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    board, gone = SharedDraws(tmp_path / "board.db"), SharedDraws(tmp_path / "board.db")
    gone._owner = ended.pid
    assert gone.reserve(0.7, 1.0) is None
    assert board.sums() == (pytest.approx(0.7), 0.0)
    assert board.reserve(0.4, 1.0) == (pytest.approx(0.7), 0.0)


def test_bills_are_kept_by_pipeline(tmp_path):
    board = SharedDraws(tmp_path / "board.db")
    board.add_charge("/a", "demo", Charge("transform", Usage(10, 2), 0.5))
    board.add_charge("/a", "demo", Charge("evaluate", Usage(1, 1), None))
    board.add_charge("/a", "other", Charge("transform", Usage(), 0.0, answered=False))
    bills = board.bills()
    demo, other = bills["/a", "demo"], bills["/a", "other"]
    assert (demo.calls, demo.known, demo.cost, demo.usage) == (2, 0.5, None, Usage(11, 3))
    assert (other.calls, other.unanswered) == (0, 1)
