"""Eight processes write 200 runs each into one store while one of them is killed, 20 times over.

Every file that exists is whole, none whose `save` returned is lost, the index builds again; exits
with 1 otherwise.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.writers import WRITERS, Left, attack

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rounds", type=int, default=20)
parser.add_argument("--runs", type=int, default=200)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()
chance = random.Random(options.seed)
rounds: list[Left] = []
for number in range(options.rounds):
    with tempfile.TemporaryDirectory() as folder:
        expected = rounds[-1].seconds if rounds else options.runs / 50
        left = attack(Path(folder), options.runs, chance, expected=expected)
    rounds.append(left)
    print(
        f"round {number + 1:2}: {left.seconds:5.1f} s, {left.files:,} files, {left.promised:,} "
        f"promised, the victim wrote {left.killed_at}; faults: {left.faults or 'none'}",
        flush=True,
    )
figures = {
    "rounds": len(rounds),
    "writers": WRITERS,
    "runs a writer": options.runs,
    "files": sum(left.files for left in rounds),
    "faults (limit 0)": sum(len(left.faults) for left in rounds),
    "runs a second (median)": round(statistics.median(r.files / r.seconds for r in rounds), 1),
}
print("\n" + json.dumps({"benchmark": "writers", "figures": figures}))
sys.exit(1 if figures["faults (limit 0)"] else 0)
