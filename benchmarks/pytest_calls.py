"""Measures the cost of the pytest plugin, in a session without prompt tests and with 1,000 of them.

1. Start-up: `pytest --collect-only` runs in an empty folder, in turn with and without the plugin.
   The times of two processes vary by more than the cost of the plugin. Therefore, a clock inside
   the process also measures the import and the hooks of the plugin.
2. Tests: 1,000 unit tests run at 50 ms per call and 50 calls at once. The server runs in its own
   process. For comparison, pytest collects and runs 1,000 empty tests. Each round begins with an
   empty store and an empty cache. Then a second session uses the saved results.
3. Other tools: if `--beside NAME=COMMAND` is given, this command runs the same cases with the same
   server. In the command, `{url}` is replaced by the address of the server, and `{folder}` by the
   folder with the files for the tool (`promptfooconfig.yaml` or `test_deepeval.py`).
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
import urllib.request
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from measure import PYTHON, ROOT, Sample, measured_rounds, median, parse, report, run

SERVER = ROOT / "tests" / "servers" / "openai_server.py"
LATENCY, CONCURRENCY = 0.05, 50
NO_TESTS = 5  # pytest's exit code if it collects no tests
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

plugin = clocked(__import__)("loomgit_pytest")
for name in dir(plugin):
    if name.startswith("pytest_"):
        setattr(plugin, name, clocked(getattr(plugin, name)))
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
    completion = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": f"Classify the sentiment.\\nReview: number {n}"}],
    )
    case = LLMTestCase(
        input=f"number {n}", actual_output=completion.choices[0].message.content,
        expected_output="This is an answer.",
    )
    assert_test(case, [ExactMatchMetric()])
"""


@contextmanager
def serving():
    """Run the server in its own process, and yield its address."""
    command = [PYTHON, str(SERVER), "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def calls(url: str) -> int:
    """Return the number of calls that the server received."""
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
    """Remove the results, replies and samples of earlier sessions."""
    for name in ("runs", "records", "cache", "state"):
        shutil.rmtree(project / ".loom" / name, ignore_errors=True)
    (project / ".loom" / "index.json").unlink(missing_ok=True)


def start_up(folder: Path, rounds: int) -> None:
    """Measure `pytest --collect-only` in an empty folder, with the plugin and without it.

    pytest finds the plugin by its entry point, as it does for users. The option `-p NAME` would
    add the time for the search through all installed packages. All other plugins are disabled,
    because their time varies by more than the time of Loom's plugin.
    """
    (folder / "empty").mkdir()
    plugins = {entry.name for entry in entry_points(group="pytest11")}
    assert "loom" in plugins, "the plugin is not installed"
    disabled = [word for name in sorted(plugins - {"loom"}) for word in ("-p", f"no:{name}")]
    pytest = ["env", "-u", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", *PYTEST, "--collect-only", *disabled]
    commands = {"without the plugin": [*pytest, "-p", "no:loom"], "with the plugin": pytest}
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for number, measured in enumerate(measured_rounds(rounds)):
        order = list(commands.items())[:: 1 if number % 2 else -1]
        for name, command in order:
            sample = run(command, folder / "empty", allowed=(NO_TESTS,))
            if measured:
                samples[name].append(sample)
    pairs = zip(samples["with the plugin"], samples["without the plugin"], strict=True)
    differences = sorted((a.cpu - b.cpu) * 1000 for a, b in pairs)
    low, _, high = statistics.quantiles(differences, n=4) if rounds > 1 else differences * 3
    (folder / "clock.py").write_text(CLOCK, encoding="utf-8")
    clocked = [*pytest, "-p", "clock"]
    inside = [seconds(clocked, folder) * 1000 for _ in range(max(rounds // 4, 1))]
    report(
        "start-up of the plugin",
        {name: median(each) for name, each in samples.items()},
        {
            "CPU added, ms (median of pairs; limit 3)": statistics.median(differences),
            "CPU added, ms (middle half of the pairs)": f"{low:.1f} to {high:.1f}",
            "import and hooks by the clock inside, ms (limit 3)": statistics.median(inside),
            "import and hooks by the clock inside, ms (maximum)": max(inside),
        },
    )


def seconds(command: list[str], folder: Path) -> float:
    """Run a session with the plugin `clock`; return the seconds that the clock prints."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path}
    process = subprocess.run(
        command, cwd=folder / "empty", env=env, capture_output=True, text=True, check=False
    )
    if process.returncode != NO_TESTS:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{process.stderr}")
    return float(process.stderr.splitlines()[-1])


def tests(folder: Path, count: int, rounds: int, beside: dict[str, str]) -> None:
    """Measure in turn: the prompt tests, pytest with empty tests, and the tools in `beside`."""
    with serving() as url:
        project = write_project(folder / "work", url, count)
        plain = write_plain(folder / "plain", count)
        others = write_others(folder / "others", url, count)
        loom = [*PYTEST, "-p", "loom", "--loom"]
        samples_of: dict[str, list[Sample]] = {}
        for measured in measured_rounds(rounds):
            round_samples = {
                "pytest collects": run([*PYTEST, "--collect-only"], plain),
                "pytest runs": run(PYTEST, plain),
            }
            forget(project)
            before = calls(url)
            round_samples["pytest --loom"] = run(loom, project)
            assert calls(url) - before == count, "wrong number of calls"
            round_samples["pytest --loom, second session"] = run(loom, project)
            assert calls(url) - before == count, "the second session called the server"
            for name, command in beside.items():
                words = command.replace("{url}", url).replace("{folder}", str(others))
                round_samples[name] = run(shlex.split(words), others)
            for name, sample in round_samples.items():
                if measured:
                    samples_of.setdefault(name, []).append(sample)
    samples = {name: median(each) for name, each in samples_of.items()}
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
            "pytest runs the empty tests (a part of the limit), s": running,
            "CPU over pytest with empty tests, ms per test": 1000
            * (samples["pytest --loom"].cpu - samples["pytest runs"].cpu)
            / count,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--start-up", type=int, default=41, metavar="ROUNDS")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=COMMAND")
    options = parse(parser, tests=10, rounds=1, start_up=1)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    beside = dict(part.split("=", 1) for part in options.beside)
    with tempfile.TemporaryDirectory() as name:
        if options.start_up:
            start_up(Path(name), options.start_up)
        if options.rounds:
            tests(Path(name), options.tests, options.rounds, beside)


if __name__ == "__main__":
    sys.exit(main())
