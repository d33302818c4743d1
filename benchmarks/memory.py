"""Measures the peak memory of a run with 1,000, 10,000 and 100,000 CSV rows.

The pipeline uses the embedded model, one deterministic evaluator and SQLite. Each run uses a new
repository.
"""

import argparse
import csv
import json
import shutil
import tempfile
from pathlib import Path

from measure import PYTHON, ROOT, Sample, parse, report, run

ADJECTIVES = ["great", "slow", "useful", "broken", "clear", "confusing", "fair", "late"]
NOUNS = ["dashboard", "export", "support team", "price", "import", "alert", "chart", "release"]


def make(folder: Path, rows: int) -> None:
    """Write a project with this number of rows and commit it."""
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


def measure(folder: Path, rows: int) -> Sample:
    """Run the pipeline on this number of rows, and measure it."""
    make(folder, rows)
    sample = run([PYTHON, "-m", "loomgit", "run", "customer_sentiment", "-q"], cwd=folder)
    (run_file,) = (folder / ".loom/runs").glob("*/*.json")
    results = json.loads(run_file.read_bytes())["results"]
    assert results["records_processed"] == rows, results
    return sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    sizes = parse(parser, rows=[10, 20]).rows
    samples: dict[str, Sample] = {}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            samples[f"{rows:,} rows"] = measure(Path(folder), rows)
    previous, largest = (samples[f"{rows:,} rows"] for rows in sizes[-2:])
    report(
        "memory",
        samples,
        {
            "peak of the largest / the previous size (limit 1.3)": largest.peak / previous.peak,
            "records per second (largest)": sizes[-1] / largest.wall,
        },
    )


if __name__ == "__main__":
    main()
