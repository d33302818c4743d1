"""Saves runs with the same scores for Loom, pytest-benchmark and asv: one run for each commit."""

import hashlib
import json
import random
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from msgspec.structs import replace
from synthetic import START, git

from loomgit.api import Project
from loomgit.domain.runs import Case, Cost, Performance, Results, Run, ScoreSummary
from loomgit.domain.versions import Commit
from loomgit.history.store import RunStore
from loomgit.pipeline.plan import Plan
from loomgit.wiring.assembly import Assembly
from loomgit.wiring.project import Wiring

PATH = "prompts/classify.txt"
TAG_EVERY = 50  # every 50th commit is a tagged version
EVALUATORS = ("label", "tone")
PIPELINE = """\
name: demo
extract: {source: data/reviews.csv, key: id}
transform: {prompt: prompts/classify.txt, output: {sentiment: string}}
evaluate:
  evaluators:
    - {name: label, type: exact_match, config: {field: sentiment, reference_field: expected}}
    - {name: tone, type: similarity, config: {field: sentiment, reference_field: expected}}
load: {destination: "sqlite://out/demo.db/scores"}
"""


def build(folder: Path, commits: int) -> list[str]:
    """Make a repository whose commits change the prompt; return the commits, oldest first."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    lines = []
    for number in range(commits):
        text = f"Classify {{{{ input.review }}}}, and mind rule {number}.\n"
        lines.append(f"commit refs/heads/main\nmark :{number + 1}\n")
        lines.append(f"committer Ada <ada@example.org> {START + number * 3600} +0000\n")
        lines.append(f"data 10\nRule {number:04}\n")
        if number == 0:
            lines.append(f"M 100644 inline pipelines/demo.yaml\ndata {len(PIPELINE)}\n{PIPELINE}\n")
        lines.append(f"M 100644 inline {PATH}\ndata {len(text)}\n{text}\n")
        if number % TAG_EVERY == 0:
            lines.append(f"reset refs/tags/prompts/classify@v{number // TAG_EVERY}.0\n")
            lines.append(f"from :{number + 1}\n\n")
    git(folder, "fast-import", "--quiet", stdin="".join(lines).encode())
    git(folder, "reset", "--quiet", "--hard")
    git(folder, "pack-refs", "--all")
    return git(folder, "rev-list", "--reverse", "HEAD").split()


def scores(number: int, cases: int) -> list[list[float]]:
    """Return the scores of run `number`, one list per evaluator. All tools save the same scores."""
    generator = random.Random(number)
    return [[round(generator.betavariate(8, 2), 4) for _ in range(cases)] for _ in EVALUATORS]


def save_loom(folder: Path, commits: list[str], cases: int) -> None:
    """Save a run for each commit in Loom's store, with the fingerprint of the commit's plan."""
    store = RunStore(folder / ".loom", print)
    wiring = Wiring(folder, {}, print)
    plan, _ = Assembly(wiring).plan(
        Project(folder).pipeline("demo"), {}, datetime.fromtimestamp(START, UTC)
    )
    prompts = wiring.repository.objects([f"{commit}:{PATH}" for commit in commits])
    definitions = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(cases)]
    for number, (commit, prompt) in enumerate(zip(commits, prompts, strict=True)):
        assert prompt is not None
        plan_of_commit = replace(plan, prompt=replace(plan.prompt, blob=prompt[0]))
        store.save(_run(number, commit, plan_of_commit, definitions))


def _run(number: int, commit: str, plan: Plan, definitions: list[str]) -> Run:
    now = datetime.fromtimestamp(START, UTC) + timedelta(hours=number)
    count = len(definitions)
    columns = scores(number, count)
    fingerprint = plan.fingerprint()
    cases = [
        Case(f"r-{index:04}", hashlib.sha256(f"{fingerprint} {definition}".encode()).hexdigest(),
             definition, dict(zip(EVALUATORS, ([value] for value in values), strict=True)),
             1, 1, 0.0004, 0.81)
        for index, (definition, *values) in enumerate(zip(definitions, *columns, strict=True))
    ]  # fmt: skip
    summaries = {
        name: ScoreSummary(sum(column) / count, 0.1, min(column), max(column), count, 0, 0.7, count)
        for name, column in zip(EVALUATORS, columns, strict=True)
    }
    return Run(
        schema_version=1,
        run_id=f"{now:%Y-%m-%d}-{number % 24 + 1:03}",
        uid=f"{now:%Y%m%dT%H%M%SZ}-demo-{number:06x}",
        kind="pipeline",
        pipeline="demo",
        pipeline_version=None,
        execution_date=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        started=f"{now:%Y-%m-%dT%H:%M:%S.000Z}",
        commit=Commit(commit, branch="main", time=now.isoformat(), author="Ada"),
        scope=plan.scope(),
        config=plan.config(),
        results=Results("success", count, count),
        evaluation=summaries,
        cost=Cost(0.4, 0.4, {"transform": 0.4, "evaluate": 0.0}, {"input": 1}, count, 0, 0),
        performance=Performance(30.0, {"p50": 0.8, "p95": 1.2, "p99": 1.9}, {"transform": 30.0}),
        selected=count,
        total=count,
        complete=True,
        environment={"loomgit": "0.1.0", "python": "3.12.1"},
        source="data/reviews.csv",
        destination="sqlite://out/demo.db/scores",
        question=plan.question(),
        cases=tuple(cases),
        files=dict(plan.files),
    )


def save_pytest_benchmark(folder: Path, commits: list[str], cases: int) -> None:
    """Write a file per run, as `--benchmark-autosave` does, with aggregates and no raw timings."""
    folder.mkdir(parents=True)
    for number, commit in enumerate(commits):
        benchmarks = [
            {
                "group": None, "name": f"test_{name}[{index:04}]",
                "fullname": f"tests/test_cases.py::test_{name}[{index:04}]",
                "params": {"case": index}, "param": f"{index:04}", "extra_info": {},
                "options": {"disable_gc": False, "timer": "perf_counter", "min_rounds": 5,
                            "max_time": 1.0, "min_time": 0.000005, "warmup": False},
                "stats": _stats(value),
            }
            for name, column in zip(EVALUATORS, scores(number, cases), strict=True)
            for index, value in enumerate(column)
        ]  # fmt: skip
        when = datetime.fromtimestamp(START + number * 3600, UTC).isoformat()
        document = {
            "machine_info": {"node": "x", "machine": "x86_64", "python_version": "3.12.1"},
            "commit_info": {"id": commit, "time": when, "dirty": False, "branch": "main"},
            "benchmarks": benchmarks, "datetime": when, "version": "5.3.1",
        }  # fmt: skip
        path = folder / f"{number + 1:04}_{commit}.json"
        path.write_text(json.dumps(document, indent=4))


def _stats(value: float) -> dict[str, object]:
    equal = ("min", "max", "mean", "median", "q1", "q3", "ld15iqr", "hd15iqr")
    others = {"stddev": 0.01, "rounds": 5, "iqr": 0.01, "iqr_outliers": 0, "stddev_outliers": 0,
              "outliers": "0;0", "ops": 1 / value, "total": 5 * value, "iterations": 1}  # fmt: skip
    return dict.fromkeys(equal, value) | others


def save_asv(folder: Path, repository: Path, commits: list[str], cases: int) -> None:
    """Write a results folder of format 2 with a file for each commit, and the configuration."""
    results = folder / "results" / "x"
    results.mkdir(parents=True)
    names = [
        f"cases.Suite.track_{name}_{index:04}" for name in EVALUATORS for index in range(cases)
    ]
    machine = {"arch": "x86_64", "cpu": "", "machine": "x", "num_cpu": "2", "os": "", "ram": "1"}
    (results / "machine.json").write_text(json.dumps({**machine, "version": 1}))
    benchmarks = {
        name: {"code": "", "name": name, "param_names": [], "params": [], "timeout": 60.0,
               "type": "track", "unit": "score", "version": "1"}
        for name in names
    }  # fmt: skip
    document = {**benchmarks, "version": 2}
    (results.parent / "benchmarks.json").write_text(json.dumps(document))
    columns = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a",
               "stats_ci_99_b", "stats_q_25", "stats_q_75", "stats_number", "stats_repeat",
               "samples", "profile"]  # fmt: skip
    for number, commit in enumerate(commits):
        when = (START + number * 3600) * 1000
        rows = {
            name: [[value], [], "1", when, 0.81]
            for name, value in zip(names, chain(*scores(number, cases)), strict=True)
        }
        document = {
            "commit_hash": commit, "env_name": "existing-py", "date": when,
            "params": {**machine, "python": "3.12"}, "python": "3.12", "requirements": {},
            "env_vars": {}, "result_columns": columns, "results": rows, "durations": {},
            "version": 2,
        }  # fmt: skip
        (results / f"{commit[:8]}-existing-py.json").write_text(json.dumps(document))
    (folder / "asv.conf.json").write_text(
        json.dumps(
            {"version": 1, "project": "x", "repo": str(repository), "branches": ["main"],
             "results_dir": str(results.parent), "env_dir": str(folder / "env"),
             "environment_type": "existing", "benchmark_dir": str(folder)}
        )
    )  # fmt: skip


def save(folder: Path, runs: int, cases: int) -> None:
    """Save the runs in one folder per tool, and the list of the commits in `commits.txt`."""
    commits = build(folder / "loom", runs)
    save_loom(folder / "loom", commits, cases)
    save_pytest_benchmark(folder / "pytest-benchmark" / "x", commits, cases)
    save_asv(folder / "asv", folder / "loom", commits, cases)
    (folder / "commits.txt").write_text("\n".join(commits))
