"""Measures executions of a loop app's program in isolated workers, at each level that works here.

The program is trivial, so that the times are those of the sandbox. Beside it: the bare function in
this process, and a bare process that copies a line from one pipe to another before each single
execution, without isolation, checks and asyncio. The script prints the times of single executions,
the rate of a batch, the CPU time of both sides, and the time to start a worker and execute one
input.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from measure import PYTHON, parse

from loomgit.domain.programs import ProgramFiles, ProgramLimits
from loomgit.errors import WorldError
from loomgit.sandbox.isolation import choose_isolation
from loomgit.sandbox.pool import WorkerPool

SOURCE = """
def execute(input_data):
    spam = "free" in input_data["text"]
    return {"result": "spam" if spam else "ham", "confidence": 0.9}
"""
INPUT = {"text": "Win a free holiday"}
OUTPUT = {"result": "spam", "confidence": 0.9}
ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.flush()"
GOALS = {"p50": 0.001, "p99": 0.005, "rate": 30_000}


def quantiles(times):
    """The median and the 99th percentile in seconds."""
    return {"p50": statistics.median(times), "p99": statistics.quantiles(times, n=100)[98]}


def bare_function(count):
    """The function in this process, in one batch."""
    scope = {}
    exec(SOURCE, scope)
    began = time.perf_counter()
    for _ in range(count):
        assert scope["execute"](INPUT) == OUTPUT
    return {"rate": count / (time.perf_counter() - began)}


class BarePipe:
    """A process that copies lines, and the times of the copies."""

    def __init__(self):
        self.times = []
        self._line = json.dumps(INPUT).encode() + b"\n"
        self._process = subprocess.Popen(
            [PYTHON, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.copy()
        self.times.clear()

    def copy(self):
        began = time.perf_counter()
        self._process.stdin.write(self._line)
        assert self._process.stdout.readline() == self._line
        self.times.append(time.perf_counter() - began)

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


async def execute(pool, count):
    for result in await pool.execute([INPUT] * count):
        assert result.output == OUTPUT, result


async def measure_pool(files, isolation, mode, singles, batch, pipe):
    """The figures of one worker. A line is copied before each single execution."""
    limits = ProgramLimits(wall_seconds=60, cpu_seconds=60, start_seconds=60)
    pool = WorkerPool(files, limits, isolation, mode=mode)
    try:
        began = time.perf_counter()
        await execute(pool, 1)
        start = time.perf_counter() - began
        await execute(pool, singles // 10)
        times = []
        for _ in range(singles):
            pipe.copy()
            began = time.perf_counter()
            await execute(pool, 1)
            times.append(time.perf_counter() - began)
        began, cpu = time.perf_counter(), time.process_time()
        (worker,) = pool._all
        worker_cpu = worker._cpu_seconds()
        await execute(pool, batch)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        figures = {"rate": batch / wall, "loom_cpu": cpu / batch, "start": start}
        if mode == "warm":  # the CPU time of forks is not in that of their parent
            figures["worker_cpu"] = (worker._cpu_seconds() - worker_cpu) / batch
        return quantiles(times) | figures
    finally:
        await pool.close()


def show(name, figures):
    """Print one line of the table: times in ms and µs."""
    cells = [
        f"{figures[key] * factor:{form}}" if key in figures else ""
        for key, factor, form in (
            ("p50", 1e3, ".3f"),
            ("p99", 1e3, ".3f"),
            ("rate", 1, ",.0f"),
            ("loom_cpu", 1e6, ".1f"),
            ("worker_cpu", 1e6, ".1f"),
            ("start", 1e3, ".0f"),
        )
    ]
    print(f"{name:<18}" + "".join(f"{cell:>13}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--singles", type=int, default=5000, help="executions one by one")
    parser.add_argument("--batch", type=int, default=200_000, help="executions in one batch")
    parser.add_argument("--forks", type=int, default=500, help="executions in forks")
    options = parse(parser, singles=20, batch=200, forks=5)
    titles = ("p50 ms", "p99 ms", "batch /s", "Loom CPU µs", "worker µs", "start ms")
    print(f"{'':<18}" + "".join(f"{title:>13}" for title in titles))
    results = {"bare function": bare_function(options.batch)}
    show("bare function", results["bare function"])
    pipe = BarePipe()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "program.py").write_text(SOURCE)
        files = ProgramFiles(Path(folder))
        for level in ("bubblewrap", "landlock", "none"):
            try:
                isolation = choose_isolation(level)
            except WorldError as error:
                print(error)
                continue
            for mode in ("warm", "fork"):
                singles = options.singles if mode == "warm" else options.forks
                batch = options.batch if mode == "warm" else options.forks
                figures = measure_pool(files, isolation, mode, singles, batch, pipe)
                results[f"{level}, {mode}"] = asyncio.run(figures)
                show(f"{level}, {mode}", results[f"{level}, {mode}"])
    pipe.close()
    results["bare pipe"] = quantiles(pipe.times)
    show("bare pipe", results["bare pipe"])
    print("\nGoals for a warm worker: p50 < 1 ms, p99 < 5 ms, >= 30,000 executions/s in batches")
    print(json.dumps({"benchmark": "programs", "results": results, "goals": GOALS}))


if __name__ == "__main__":
    main()
