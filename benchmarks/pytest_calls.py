"""What `pytest --loom` adds to pytest: to a session without prompt tests, and to 1,000 of them.

But for the door, pytest runs without the other plugins that happen to be installed.

1. The door: `pytest --collect-only` in an empty folder with it and without it, in turns; and, since
   two whole processes differ by more than that, what a clock around its import and its hooks says.
2. 1,000 unit tests at 50 ms a call, 50 calls at once, against a server in a process of its own;
   beside that plain pytest collecting, and running, 1,000 empty tests. Each round begins with an
   empty store and an empty cache; then once more with both as that left them.
3. With `--beside NAME=COMMAND`, other tools on the same cases and the same server: `{url}` and
   `{folder}` in the command stand for the server and for the folder that holds what the tool reads
   (`promptfooconfig.yaml`, `test_deepeval.py`; written here).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from measure import PYTHON, ROOT, Sample, report, run

SERVER = ROOT / "tests" / "servers" / "openai_server.py"
LATENCY, CONCURRENCY = 0.05, 50
ROUNDS = {"door": 41, "tests": 5}
MODEL = "gpt-4o-mini"
PYTEST = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
PIPELINE = f"""\
name: demo
extract: {{source: data/rows.csv, key: id}}
transform:
  model: {MODEL}
  concurrency: {CONCURRENCY}
  prompt: prompts/classify.txt
  output: {{sentiment: string}}
evaluate:
  evaluators:
    - {{name: label, type: exact_match, config: {{field: sentiment, reference_field: sentiment}}}}
load: {{destination: sqlite://out/demo.db/scores}}
"""
PROMPT = "Classify the sentiment.\nReview: {{ input.review }}\n"
PROMPTFOO = """\
prompts: ["Classify the sentiment.\\nReview: {{review}}"]
providers:
  - id: openai:chat:gpt-4o-mini
    config: {apiBaseUrl: "URL", apiKey: none}
tests:
"""
CLOCK = """\
import atexit, functools, sys, time

spent = 0.0

def clocked(function):
    @functools.wraps(function)
    def call(*arguments, **named):
        global spent
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent += time.perf_counter() - began
    return call

door = clocked(__import__)("loomgit_pytest")
for name in dir(door):
    if name.startswith("pytest_"):
        setattr(door, name, clocked(getattr(door, name)))
atexit.register(lambda: print(spent, file=sys.__stderr__))
"""
DEEPEVAL = """\
import pytest, openai
from deepeval import assert_test
from deepeval.metrics import ExactMatchMetric
from deepeval.test_case import LLMTestCase

client = openai.OpenAI(base_url="URL", api_key="none")

@pytest.mark.parametrize("n", range(COUNT))
def test_case(n):
    said = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": f"Classify the sentiment.\\nReview: number {n}"}],
    )
    case = LLMTestCase(
        input=f"number {n}", actual_output=said.choices[0].message.content,
        expected_output="This is an answer.",
    )
    assert_test(case, [ExactMatchMetric()])
"""


@contextmanager
def serving():
    """The address of a server in a process of its own."""
    command = [PYTHON, str(SERVER), "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def calls(url: str) -> int:
    """How many calls the server has answered."""
    import urllib.request

    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/stats") as reply:
        return int(json.load(reply)["calls"])


def write_project(folder: Path, url: str, count: int) -> Path:
    tests = "".join(
        f"  - name: case_{n}\n"
        f'    input: {{review: "number {n}"}}\n'
        "    expected: {sentiment: a sentiment}\n"
        "    assertions: [evaluation_score > 0.9]\n"
        for n in range(count)
    )
    files = {
        "pipelines/demo.yaml": PIPELINE,
        "prompts/classify.txt": PROMPT,
        "data/rows.csv": "id,review\n1,x\n",
        "tests/demo_test.yaml": f"pipeline: demo\nunit_tests:\n{tests}",
        ".loom/config.yaml": f"models:\n  {MODEL}: {{base_url: '{url}', api_key: none}}\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Begin"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    return folder


def write_plain(folder: Path, count: int) -> Path:
    folder.mkdir()
    tests = "".join(f"def test_{n}():\n    pass\n" for n in range(count))
    (folder / "test_plain.py").write_text(tests, encoding="utf-8")
    return folder


def write_others(folder: Path, url: str, count: int) -> Path:
    folder.mkdir()
    check = "assert: [{type: equals, value: This is an answer.}]"
    cases = "".join(f"  - {{vars: {{review: number {n}}}, {check}}}\n" for n in range(count))
    promptfoo = PROMPTFOO.replace("URL", url) + cases
    (folder / "promptfooconfig.yaml").write_text(promptfoo, encoding="utf-8")
    deepeval = DEEPEVAL.replace("URL", url).replace("COUNT", str(count))
    (folder / "test_deepeval.py").write_text(deepeval, encoding="utf-8")
    return folder


def forget(project: Path) -> None:
    """Remove what a session left."""
    for name in ("runs", "records", "cache", "state"):
        shutil.rmtree(project / ".loom" / name, ignore_errors=True)
    (project / ".loom" / "index.json").unlink(missing_ok=True)


def median(taken: list[Sample]) -> Sample:
    return Sample(
        statistics.median(sample.wall for sample in taken),
        statistics.median(sample.cpu for sample in taken),
        statistics.median(sample.peak for sample in taken),
    )


def door(folder: Path, rounds: int) -> None:
    """Seconds of `pytest --collect-only` in an empty folder, with the door and without it.

    pytest finds its plugins itself here, as it does for users: `-p NAME` would charge the search
    through all installed packages to whoever is named. All others that happen to be installed are
    refused, since what they take varies by more than the door does.
    """
    (folder / "empty").mkdir()
    plugins = {entry.name for entry in entry_points(group="pytest11")} - {"loom"}
    refused = [word for name in sorted(plugins) for word in ("-p", f"no:{name}")]
    found = ["env", "-u", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", *PYTEST, "--collect-only", *refused]
    commands = {"without": [*found, "-p", "no:loom"], "with the door": found}
    taken: dict[str, list[Sample]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        order = list(commands.items())[:: 1 if number % 2 else -1]
        for name, command in order:
            sample = timed(command, folder / "empty")
            if number:
                taken[name].append(sample)
    pairs = zip(taken["with the door"], taken["without"], strict=True)
    differences = sorted((a.cpu - b.cpu) * 1000 for a, b in pairs)
    low, _, high = statistics.quantiles(differences, n=4)
    (folder / "clock.py").write_text(CLOCK, encoding="utf-8")
    clocked = [*found, "-p", "clock"]
    inside = [seconds(clocked, folder) * 1000 for _ in range(max(rounds // 4, 1))]
    report(
        "the door",
        {name: median(samples) for name, samples in taken.items()},
        {
            "CPU added, ms (median of pairs; limit 3)": statistics.median(differences),
            "the middle half of the pairs, ms": f"{low:.1f} to {high:.1f}",
            "its import and its hooks by a clock inside, ms (limit 3)": statistics.median(inside),
            "the longest of these, ms": max(inside),
        },
    )


def seconds(command: list[str], folder: Path) -> float:
    """What the clock in a session says."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder / "empty", env=env, capture_output=True, text=True, check=False
    )
    return float(done.stderr.splitlines()[-1])


def timed(command: list[str], cwd: Path) -> Sample:
    """As `measure.run`, of a command that may say that there is nothing to do."""
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 5):
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    wall = time.perf_counter() - started
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def tests(folder: Path, count: int, rounds: int, beside: dict[str, str]) -> None:
    """1,000 prompt tests beside plain pytest, in turns."""
    with serving() as url:
        project = write_project(folder / "work", url, count)
        plain = write_plain(folder / "plain", count)
        others = write_others(folder / "others", url, count)
        ours = [*PYTEST, "-p", "loom", "--loom"]
        taken: dict[str, list[Sample]] = {}
        for number in range(rounds + 1):
            found = {
                "pytest collects": run([*PYTEST, "--collect-only"], plain),
                "pytest runs": run(PYTEST, plain),
            }
            forget(project)
            before = calls(url)
            found["pytest --loom"] = run(ours, project)
            assert calls(url) - before == count
            found["pytest --loom, again"] = run(ours, project)
            assert calls(url) - before == count
            for name, command in beside.items():
                words = command.replace("{url}", url).replace("{folder}", str(others))
                found[name] = timed(shlex.split(words), others)
            for name, sample in found.items():
                if number:
                    taken.setdefault(name, []).append(sample)
    samples = {name: median(each) for name, each in taken.items()}
    ideal = count * LATENCY / CONCURRENCY
    limit = 1.5 * ideal + samples["pytest collects"].wall
    running = samples["pytest runs"].wall - samples["pytest collects"].wall
    report(
        f"{count:,} unit tests",
        samples,
        {
            "ideal, s": ideal,
            "limit, s (1.5 x ideal + pytest collects)": limit,
            "wall over the limit": samples["pytest --loom"].wall / limit,
            "of the limit, what pytest itself takes to run as many empty tests, s": running,
            "CPU over pytest running as many empty tests, ms a test": 1000
            * (samples["pytest --loom"].cpu - samples["pytest runs"].cpu)
            / count,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=ROUNDS["tests"])
    parser.add_argument("--door", type=int, default=ROUNDS["door"], metavar="ROUNDS")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=COMMAND")
    options = parser.parse_args()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    beside = dict(part.split("=", 1) for part in options.beside)
    with tempfile.TemporaryDirectory() as name:
        if options.door:
            door(Path(name), options.door)
        if options.rounds:
            tests(Path(name), options.tests, options.rounds, beside)


if __name__ == "__main__":
    sys.exit(main())
