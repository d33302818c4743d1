"""Measures the start-up time of commands, and compares `loom --help` with an import of click."""

import argparse
import os

from measure import PYTHON, ROOT, interleaved, parse, report

LOOM = [PYTHON, "-m", "loomgit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parse(parser, rounds=1)
    os.environ["LOOM_PROJECT"] = str(ROOT)
    samples = interleaved(
        {
            "python -c pass": [PYTHON, "-c", "pass"],
            "import click": [PYTHON, "-c", "import click"],
            "import loomgit": [PYTHON, "-c", "import loomgit"],
            "loom --help": [*LOOM, "--help"],
            "loom runs list": [*LOOM, "runs", "list"],
            "loom validate --offline": [*LOOM, "validate", "--offline"],
            "loom run --limit 1": [*LOOM, "run", "customer_sentiment", "--limit", "1"],
        },
        rounds=options.rounds,
    )
    ratio = samples["loom --help"].wall / samples["import click"].wall
    report("start-up", samples, {"loom --help / import click (limit 2.0)": ratio})


if __name__ == "__main__":
    main()
