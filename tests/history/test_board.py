"""The board, where the processes of a session agree who draws what."""

import subprocess
import sys
import time
from contextlib import ExitStack

ROUNDS, MANY, SOON = 60, 3, 0.01
OPENER = """
import sys, time
from pathlib import Path
from loomgit.history.board import Board

print("ready", flush=True)
for line in sys.stdin:
    path, moment = line.split()
    while time.time() < float(moment):
        pass
    print(Board(Path(path)).claim(("key", 0)), flush=True)
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
