"""Memory does not grow with the data: 1,000, 10,000 and 100,000 CSV rows through a pipeline.

The embedded model, one deterministic evaluator, SQLite; each run in a fresh repository.
"""

import argparse
import csv
import shutil
import tempfile
from pathlib import Path

from measure import PYTHON, ROOT, Sample, report, run

ADJECTIVES = ["great", "slow", "useful", "broken", "clear", "confusing", "fair", "late"]
NOUNS = ["dashboard", "export", "support team", "price", "import", "alert", "chart", "release"]


def make(folder: Path, rows: int) -> None:
    for name in ("pipelines", "prompts", "context"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "data").mkdir()
    with (folder / "data" / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review_id", "review", "expected_sentiment"])
        for number in range(rows):
            first, second = number % 8, number // 8 % 8
            text = f"The {NOUNS[first]} is {ADJECTIVES[second]}, said customer {number}."
            writer.writerow(
                [f"r-{number:07d}", text, "positive" if second % 2 == 0 else "negative"]
            )
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        run(command, cwd=folder)
    run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"],
        cwd=folder,
    )


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
sizes = parser.parse_args().rows
samples: dict[str, Sample] = {}
for rows in sizes:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), rows)
        command = [PYTHON, "-m", "loomgit", "run", "customer_sentiment", "-q"]
        samples[f"{rows:,} rows"] = run(command, cwd=Path(folder))
smallest, *_, before, largest = (samples[f"{rows:,} rows"] for rows in sizes)
report(
    "memory",
    samples,
    {
        "peak of the largest / the one before (limit 1.3)": largest.peak / before.peak,
        "records per second (largest)": sizes[-1] / largest.wall,
    },
)
