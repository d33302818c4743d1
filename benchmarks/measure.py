"""Measures whole processes, and prints medians and ratios as a table and as JSON."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable

# If this variable is set, Loom compiles its modules at each start, but the compared tools do not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True)
class Sample:
    """The wall and CPU seconds of a process, and its peak memory in MB.

    If the process has children, the peak memory is that of the largest single process.
    """

    wall: float
    cpu: float
    peak: float


def parse(parser: argparse.ArgumentParser, **smoke: object) -> argparse.Namespace:
    """Parse the command line. If `--smoke` is given, the values in `smoke` replace the defaults."""
    parser.add_argument(
        "--smoke", action="store_true", help="use tiny sizes and one round, to test the benchmark"
    )
    if "--smoke" in sys.argv[1:]:
        parser.set_defaults(**smoke)
    return parser.parse_args()


def run(
    command: list[str],
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    allowed: tuple[int, ...] = (0,),
) -> Sample:
    """Run a command and measure it. If its exit code is not in `allowed`, the benchmark ends."""
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        stderr = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{stderr.decode()}")
    wall = time.perf_counter() - started
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def stdout(command: list[str]) -> str:
    """Return the standard output of a command. If the command fails, the benchmark ends."""
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{process.stderr}")
    return process.stdout


def median(samples: list[Sample]) -> Sample:
    """Return the median of each field."""
    return Sample(
        statistics.median(sample.wall for sample in samples),
        statistics.median(sample.cpu for sample in samples),
        statistics.median(sample.peak for sample in samples),
    )


def measured_rounds(rounds: int) -> list[bool]:
    """Return a value for each round to run: whether the round is measured.

    The first round is a warm-up and is not measured. If `rounds` is 1, there is no warm-up.
    """
    return [True] if rounds == 1 else [False, *[True] * rounds]


def interleaved(commands: dict[str, list[str]], rounds: int) -> dict[str, Sample]:
    """Run all commands in turn, once per round; return the medians by the name of the command."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for measured in measured_rounds(rounds):
        for name, command in commands.items():
            sample = run(command)
            if measured:
                samples[name].append(sample)
    return {name: median(each) for name, each in samples.items()}


def report(title: str, samples: dict[str, Sample], figures: dict[str, float | str]) -> None:
    """Print the samples as a table, then the figures, and then both as one line of JSON."""
    print(f"# {title}\n")
    width = max(len(name) for name in samples)
    print(f"{'':<{width}}  wall s   CPU s  peak MB")
    for name, sample in samples.items():
        print(f"{name:<{width}}  {sample.wall:6.3f}  {sample.cpu:6.3f}  {sample.peak:7.1f}")
    print()
    for name, value in figures.items():
        print(f"{name}: {value if isinstance(value, str) else round(value, 3)}")
    document = {
        "benchmark": title,
        "samples": {name: asdict(sample) for name, sample in samples.items()},
        "figures": figures,
    }
    print("\n" + json.dumps(document) + "\n", flush=True)
