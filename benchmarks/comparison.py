"""Compares `loom log` and `loom compare` with pytest-benchmark and asv.

Each tool reads the same scores in its own format: 1,000 saved runs of 1,000 cases. The script
installs pytest-benchmark and asv from PyPI in a separate environment. If `--keep FOLDER` is given,
the data and the environment stay in the folder, and the next call uses them again.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from measure import PYTHON, Sample, interleaved, parse, report, stdout

PATH = "prompts/classify.txt"
PEERS = ["pytest-benchmark==5.3.1", "asv==0.6.6"]
LOOM = [PYTHON, "-m", "loomgit"]


def prepare(folder: Path, runs: int, cases: int) -> list[str]:
    """Save the runs for the three tools, and install the two other tools; return the commits."""
    commits = folder / "commits.txt"
    if not commits.exists():
        # The peak memory of a new process starts at the memory of its parent. To keep this process
        # small, another process saves the runs.
        sizes = ["--runs", str(runs), "--cases", str(cases)]
        subprocess.run([PYTHON, __file__, "--save-in", str(folder), *sizes], check=True)
    peers = folder / "peers"
    if not (peers / "ready").exists():
        subprocess.run([PYTHON, "-m", "venv", "--clear", "--without-pip", peers], check=True)
        pip = [PYTHON, "-m", "pip", "--python", peers / "bin/python"]
        subprocess.run([*pip, "install", "--quiet", *PEERS], check=True)
        (peers / "ready").touch()
    return commits.read_text().split()


def build_commands(folder: Path, commits: list[str]) -> tuple[dict[str, list[str]], ...]:
    """Return two dicts of commands by name: quick ones, and slow ones that read all runs."""
    project = ["--project", str(folder / "loom")]
    first, last = commits[len(commits) // 2], commits[-1]
    asv = [str(folder / "peers/bin/asv")]
    conf = ["--config", str(folder / "asv/asv.conf.json")]
    storage = ["--storage", f"file://{folder / 'pytest-benchmark'}"]
    pytest = [str(folder / "peers/bin/pytest-benchmark"), *storage]
    numbers = [f"{commits.index(commit) + 1:04}" for commit in (first, last)]
    quick = {
        "loom log (20 versions)": [*LOOM, "log", PATH, *project],
        "loom log --limit all": [*LOOM, "log", PATH, *project, "--limit", str(len(commits))],
        "asv show <commit>": [*asv, "show", last, *conf],
        "asv compare A B": [*asv, "compare", first, last, *conf],
        "pytest-benchmark compare A B": [*pytest, "compare", *numbers],
        "pytest-benchmark compare A B, by name": [*pytest, "compare", "--group-by=name", *numbers],
        "loom compare A..B": [*LOOM, "compare", f"{first}..{last}", *project],
    }
    index = folder / "loom/.loom/index.json"
    without_index = ["sh", "-c", f'rm -f "{index}" && exec "$@"', "sh", *LOOM, "log", PATH]
    slow = {
        "loom log, its index deleted": [*without_index, *project],
        "asv show (all commits)": [*asv, "show", *conf],
        "pytest-benchmark compare, all runs of one case": [
            *pytest, "compare", "--group-by=name", "-k", "0000",
        ],
    }  # fmt: skip
    return quick, slow


def check(commands: dict[str, list[str]], commits: list[str], cases: int) -> None:
    """Check that the tools show the scores that the benchmark saved."""
    document = json.loads(stdout([*commands["loom log --limit all"], "--json"]))
    shown = [version["commit"] for version in document["versions"] if version["results"]]
    assert shown == commits[::-1], f"`loom log` shows {len(shown)} of {len(commits)} commits"
    document = json.loads(stdout([*commands["loom compare A..B"], "--json"]))
    metrics = document["pipelines"][0]["metrics"]
    compared = {metric["name"]: metric["cases"] for metric in metrics}
    assert compared["label"] == compared["tone"] == cases, f"`loom compare` shows {compared}"
    pairs = {
        "asv show <commit>": "track_tone_",
        "asv compare A B": "track_tone_",
        "pytest-benchmark compare A B": "test_tone[",
    }
    for name, text in pairs.items():
        assert text in stdout(commands[name]), f"`{name}` shows no scores"


def compute_figures(samples: dict[str, Sample]) -> dict[str, float | str]:
    """Return ratios: the time of the faster other tool divided by Loom's time."""

    def ratio(command: str, peers: list[str]) -> float:
        return min(samples[peer].wall for peer in peers) / samples[command].wall

    histories = ["asv show (all commits)", "pytest-benchmark compare, all runs of one case"]
    pairs = ["asv compare A B", "pytest-benchmark compare A B"]
    return {
        "history of the faster peer / loom log --limit all (limit 1)": ratio(
            "loom log --limit all", histories
        ),
        "asv show <commit> / loom log (limit 1)": ratio(
            "loom log (20 versions)", ["asv show <commit>"]
        ),
        "history of the faster peer / loom log, its index deleted": ratio(
            "loom log, its index deleted", histories
        ),
        "faster peer / loom compare (limit 1)": ratio("loom compare A..B", pairs),
    }


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Measure all commands on the saved runs in the folder."""
    commits = prepare(folder, options.runs, options.cases)
    quick, slow = build_commands(folder, commits)
    check(quick, commits, options.cases)
    samples = interleaved(quick, rounds=options.rounds)
    samples |= interleaved(slow, rounds=options.slow_rounds)
    title = f"{options.runs:,} saved runs of {options.cases:,} cases"
    report(title, samples, compute_figures(samples))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--save-in", type=Path, metavar="FOLDER", help="only save the runs in the folder"
    )
    options = parse(parser, runs=4, cases=5, rounds=1, slow_rounds=1)
    if options.save_in:
        from saved import save

        save(options.save_in, options.runs, options.cases)
    elif options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        measure(options.keep.resolve(), options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), options)


if __name__ == "__main__":
    main()
