"""Times whole processes, interleaved, and reports medians and ratios as a table and as JSON."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable


@dataclass(frozen=True)
class Sample:
    """One process: wall and CPU seconds, peak memory in MB (the largest single process)."""

    wall: float
    cpu: float
    peak: float


def run(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> Sample:
    """Run to the end; a failing command is an error."""
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{said.decode()}")
    wall = time.perf_counter() - started
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def interleaved(commands: dict[str, list[str]], rounds: int) -> dict[str, Sample]:
    """Medians over `rounds` rounds of all commands in turn, after one that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            sample = run(command)
            if number:
                samples[name].append(sample)
    return {
        name: Sample(
            statistics.median(sample.wall for sample in taken),
            statistics.median(sample.cpu for sample in taken),
            statistics.median(sample.peak for sample in taken),
        )
        for name, taken in samples.items()
    }


def report(title: str, samples: dict[str, Sample], figures: dict[str, float | str]) -> None:
    """Print the table, then the figures with their limits, then all of it as one JSON line."""
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
    print("\n" + json.dumps(document) + "\n")
