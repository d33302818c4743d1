"""1,000 saved runs of 1,000 cases: `loom log` and `loom compare` beside pytest-benchmark and asv.

Each tool reads the same scores as it keeps them itself. The peers come from PyPI into a temporary
environment. `--keep FOLDER` builds the data there once and finds them again the next time.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from measure import PYTHON, Sample, interleaved, report

from loomgit.cli import COMMANDS

PATH = "prompts/classify.txt"
PEERS = ["pytest-benchmark==5.3.1", "asv==0.6.6"]


def prepare(folder: Path, runs: int, cases: int) -> list[str]:
    """The saved runs of the three tools, and the peers' environment; returns the commits."""
    listed = folder / "commits.txt"
    if not listed.exists():
        here = Path(__file__).with_name("saved.py")
        subprocess.run([PYTHON, here, folder, str(runs), str(cases)], check=True)
    if not (folder / "peers").exists():
        subprocess.run([PYTHON, "-m", "venv", folder / "peers"], check=True)
        subprocess.run([folder / "peers/bin/pip", "install", "--quiet", *PEERS], check=True)
    return listed.read_text().split()


def subjects(folder: Path, commits: list[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The commands that take a moment, and those that read all runs and take long."""
    loom = [PYTHON, "-m", "loomgit"]
    project = ["--project", str(folder / "loom")]
    first, last = commits[len(commits) // 2], commits[-1]
    everything = str(len(commits))
    asv = [str(folder / "peers/bin/asv")]
    conf = ["--config", str(folder / "asv/asv.conf.json")]
    storage = ["--storage", f"file://{folder / 'pytest-benchmark'}"]
    pytest = [str(folder / "peers/bin/pytest-benchmark"), *storage]
    numbers = [f"{commits.index(commit) + 1:04}" for commit in (first, last)]
    quick = {
        "loom log (20 versions)": [*loom, "log", PATH, *project],
        "loom log --limit all": [*loom, "log", PATH, *project, "--limit", everything],
        "asv show <commit>": [*asv, "show", last, *conf],
        "asv compare A B": [*asv, "compare", first, last, *conf],
        "pytest-benchmark compare A B": [*pytest, "compare", *numbers],
        "pytest-benchmark compare A B, by name": [*pytest, "compare", "--group-by=name", *numbers],
    }
    if "compare" in COMMANDS:
        quick["loom compare A..B"] = [*loom, "compare", f"{first}..{last}", *project]
    index = folder / "loom/.loom/index.json"
    anew = ["sh", "-c", f'rm -f "{index}" && exec "$@"', "sh", *loom, "log", PATH, *project]
    slow = {
        "loom log, its index deleted": anew,
        "asv show (all commits)": [*asv, "show", *conf],
        "pytest-benchmark compare, all runs of one case": [
            *pytest, "compare", "--group-by=name", "-k", "0000",
        ],
    }  # fmt: skip
    return quick, slow


def figures(samples: dict[str, Sample]) -> dict[str, float | str]:
    """What the faster peer takes by what we take: above 1 we are faster."""

    def ratio(ours: str, peers: list[str]) -> float:
        return min(samples[peer].wall for peer in peers) / samples[ours].wall

    histories = ["asv show (all commits)", "pytest-benchmark compare, all runs of one case"]
    pairs = ["asv compare A B", "pytest-benchmark compare A B"]
    found: dict[str, float | str] = {
        "faster peer's history / loom log --limit all (limit 1)": ratio(
            "loom log --limit all", histories
        ),
        "asv show <commit> / loom log (limit 1)": ratio(
            "loom log (20 versions)", ["asv show <commit>"]
        ),
        "faster peer's history / loom log, its index deleted": ratio(
            "loom log, its index deleted", histories
        ),
    }
    if "loom compare A..B" in samples:
        found["faster peer / loom compare (limit 1)"] = ratio("loom compare A..B", pairs)
    return found


def main(folder: Path, options: argparse.Namespace) -> None:
    commits = prepare(folder, options.runs, options.cases)
    quick, slow = subjects(folder, commits)
    samples = interleaved(quick, rounds=options.rounds)
    samples |= interleaved(slow, rounds=options.slow_rounds)
    title = f"{options.runs:,} saved runs of {options.cases:,} cases"
    report(title, samples, figures(samples))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        main(given.keep.resolve(), given)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary), given)
