"""Random budgets, against a real server: what it charges is never above any of them, and what Loom
reports is what it charged.

Each case has random prices, limits, concurrency, faults, judges, fallback models and a budget; it
runs pipelines, guards a push, compares, or tests with two worker processes. Prints a line for each
case that fails, and the figures at the end; exits with 1 if a case failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.random_budgets import check, choose


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="cases (default: 500)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed")
    options = parser.parse_args()
    began = time.perf_counter()
    outcomes = []
    for seed in range(options.first, options.first + options.count):
        with tempfile.TemporaryDirectory(prefix="loom-budget-") as folder:
            outcomes.append(check(choose(seed), Path(folder) / "work"))
        if outcomes[-1].fault:
            print(f"seed {seed}: {outcomes[-1].fault}", flush=True)
    ways = Counter(outcome.case.way for outcome in outcomes)
    shares = sorted(outcome.charged / outcome.case.budget for outcome in outcomes)
    faults = sum(bool(outcome.fault) for outcome in outcomes)
    print(
        f"{len(outcomes)} budgets ({', '.join(f'{n} {way}' for way, n in ways.items())}), ", end=""
    )
    print(f"{sum(outcome.calls for outcome in outcomes):,} calls")
    print(f"above the budget: {sum(share > 1 + 1e-9 for share in shares)}; faults: {faults}")
    print(f"share spent: median {shares[len(shares) // 2]:.0%}, highest {shares[-1]:.2%}, ", end="")
    print(f"over 50 %: {sum(share > 0.5 for share in shares)}")
    print(f"{time.perf_counter() - began:.0f} s")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
