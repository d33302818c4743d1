"""Checks with a real server that charges never exceed the budget and that Loom reports the charges.

Each case has random prices, limits, concurrency, faults, judges, fallback models and a random
budget. A case runs pipelines, guards a push, compares two revisions, or runs tests with two worker
processes. The script prints a line for each failed case, and a summary at the end. The exit code is
1 if a case fails or if no case calls the server.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measure import ROOT, parse

sys.path.insert(0, str(ROOT))

from tests.random_budgets import WAYS, check, choose

SMOKE_SEED = 21  # a case without a judge, in which the budget ends the work early


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="cases (default: 500)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=[None],
        help="default: a random one for each case",
    )
    options = parse(parser, count=1, first=SMOKE_SEED, ways=WAYS)
    began = time.perf_counter()
    outcomes = []
    for seed in range(options.first, options.first + options.count):
        for way in options.ways:
            with tempfile.TemporaryDirectory(prefix="loom-budget-") as folder:
                outcomes.append(check(choose(seed, way), Path(folder) / "work"))
            if outcomes[-1].fault:
                print(f"seed {seed}: {outcomes[-1].fault}", flush=True)
    counts = Counter(outcome.case.way for outcome in outcomes)
    shares = sorted(outcome.charged / outcome.case.budget for outcome in outcomes)
    faults = sum(bool(outcome.fault) for outcome in outcomes)
    calls = sum(outcome.calls for outcome in outcomes)
    ways = ", ".join(f"{count} {way}" for way, count in counts.items())
    print(f"{len(outcomes)} budgets ({ways}), {calls:,} calls")
    print(f"above the budget: {sum(share > 1 + 1e-9 for share in shares)}; faults: {faults}")
    print(f"share spent: median {shares[len(shares) // 2]:.0%}, highest {shares[-1]:.2%}, ", end="")
    print(f"over 50 %: {sum(share > 0.5 for share in shares)}")
    print(f"{time.perf_counter() - began:.0f} s")
    return int(faults > 0 or calls == 0)


if __name__ == "__main__":
    sys.exit(main())
