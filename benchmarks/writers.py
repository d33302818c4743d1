"""Checks concurrent writers: eight processes save 200 runs each in one store, and one is killed.

The script does this 20 times. Each file must be complete, each saved run must have its file, and
the index must be complete after it is rebuilt. If a check fails, the exit code is 1.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

from measure import ROOT, parse

sys.path.insert(0, str(ROOT))

from tests.writers import WRITERS, Left, attack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parse(parser, rounds=1, runs=5)
    generator = random.Random(options.seed)
    outcomes: list[Left] = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            expected = outcomes[-1].seconds if outcomes else options.runs / 50
            outcome = attack(Path(folder), options.runs, generator, expected=expected)
        outcomes.append(outcome)
        print(
            f"round {number + 1:2}: {outcome.seconds:5.1f} s, {outcome.files:,} files, "
            f"{outcome.promised:,} saved, {outcome.killed_at} by the killed process; "
            f"faults: {outcome.faults or 'none'}",
            flush=True,
        )
    rate = statistics.median(outcome.files / outcome.seconds for outcome in outcomes)
    figures = {
        "rounds": len(outcomes),
        "writers": WRITERS,
        "runs per writer": options.runs,
        "files": sum(outcome.files for outcome in outcomes),
        "faults (limit 0)": sum(len(outcome.faults) for outcome in outcomes),
        "runs per second (median)": round(rate, 1),
    }
    print("\n" + json.dumps({"benchmark": "writers", "figures": figures}))
    return 1 if figures["faults (limit 0)"] or not figures["files"] else 0


if __name__ == "__main__":
    sys.exit(main())
