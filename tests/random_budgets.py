"""Random budgets: work of every kind against a server that fails, charges for lost replies and
gives long or useless ones. What it charged is compared with the budget, and with what Loom
reports."""

import json
import random
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from loomgit.api import Project
from loomgit.domain.bills import Bill, billed_to
from loomgit.errors import LoomError
from loomgit.gateway.budget import Budget
from loomgit.gateway.retry import RetryGateway
from loomgit.workflows.guard.guard import Guard, GuardedChange
from tests.comparisons import reviews
from tests.projects import PIPELINE, PROMPT, make_project
from tests.pytest_plugin.sessions import command, environment
from tests.repos import commit, git
from tests.servers.openai_server import Charged, OpenAiServer, error, find_schema, instance

WAYS = ("run", "guard", "compare", "workers")
SUITE = """\
pipeline: {name}
dataset: data/reviews.csv
unit_tests:
  - name: plain
    samples: 2
    input: {{review: "I love it {name}"}}
    expected: {{sentiment: positive}}
distributional_tests:
  - {{name: quality, type: statistical, sample_size: 5, assertions: ["mean(scores.label) > 0.1"]}}
  - {{name: worse, type: regression, sample_size: 5, baseline: main}}
integration_tests:
  - {{name: whole, steps: [{{extract: 3 records}}], assertions: [records_loaded >= 1]}}
"""


@dataclass(frozen=True)
class Case:
    """One random configuration. Prices are USD per million tokens of input and output."""

    seed: int
    way: str
    prices: dict[str, tuple[float, float]]
    budget: float
    concurrency: int
    max_tokens: int | None
    model_limit: int | None
    judge_limit: int | None
    judged: bool
    fallback: bool
    token_bytes: int
    faults: float
    on_failure: str


def choose(seed: int, way: str | None = None) -> Case:
    """The case of a seed."""
    draw = random.Random(seed)
    prices = {
        model: (10 ** draw.uniform(1, 4), 10 ** draw.uniform(1, 4))
        for model in ("mine", "other", "judge")
    }
    token_bytes = draw.choice([1, 2, 4])
    likely = (600 / token_bytes * prices["mine"][0] + 15 * prices["mine"][1]) / 1e6
    return Case(
        seed=seed,
        way=way or draw.choices(WAYS, (5, 6, 4, 1))[0],
        prices=prices,
        budget=likely * 10 ** draw.uniform(-0.3, 2.7),
        concurrency=draw.choice([1, 2, 8, 32]),
        max_tokens=draw.choice([None, 40, 200]),
        model_limit=draw.choice([None, 100, 1000]),
        judge_limit=draw.choice([None, 300]),
        judged=draw.random() < 0.5,
        fallback=draw.random() < 0.4,
        token_bytes=token_bytes,
        faults=draw.choice([0.0, 0.1, 0.4]),
        on_failure=draw.choice(["skip", "retry"]),
    )


@dataclass(frozen=True)
class Outcome:
    """What a case came to, in USD: what the server charged, the part of it for replies that did not
    arrive, and what Loom reports (None: it reported nothing)."""

    case: Case
    charged: float
    lost: float
    reported: float | None
    calls: int

    @property
    def fault(self) -> str:
        """What is wrong, empty if nothing is."""
        if self.charged > self.case.budget + 1e-9:
            return f"spent {self.charged:.6f} of {self.case.budget:.6f}: {self.case}"
        expected = self.charged - self.lost
        if self.reported is not None and abs(self.reported - expected) > 1e-9 + 1e-6 * expected:
            return f"reported {self.reported:.6f}, charged {expected:.6f}: {self.case}"
        return ""


def check(case: Case, folder: Path) -> Outcome:
    """Do the work of a case in a folder that is not there yet."""
    draw = random.Random(case.seed + 1)
    lost: list[tuple[str, int, int]] = []
    delays = {"first_delay": 0.01, "longest_delay": 0.05}
    with (
        patch.dict(RetryGateway.__init__.__kwdefaults__, delays),
        OpenAiServer(lambda request: _respond(request, case, draw)) as server,
    ):
        server.token_bytes = case.token_bytes
        project = _project(folder, case, server)
        reported = DOERS[case.way](case, project)
        lost += server.lost
        return Outcome(
            case,
            sum(_price(case, model, *tokens) for model, tokens in server.charged.items()),
            sum(_price(case, *entry) for entry in lost),
            reported,
            server.calls,
        )


def _price(case: Case, model: str, asked: int, replied: int) -> float:
    prices = case.prices[model]
    return (asked * prices[0] + replied * prices[1]) / 1e6


def _respond(request, case: Case, draw: random.Random):
    text = request["messages"][-1]["content"]
    schema = find_schema(request)
    if "Review:" in text:
        label = draw.choice(["positive", "positive", "negative"])
        reply = json.dumps(
            {"sentiment": label, "confidence": 0.9, "note": "x" * draw.choice([0, 0, 300])}
        )
    else:
        reply = "I see." if schema is None else json.dumps(instance(schema, schema))
    if draw.random() >= case.faults:
        return reply
    kind = draw.randrange(8)
    if kind == 0:
        return error(429, "slow down", "rate_limit_exceeded", retry_after="0.01")
    if kind == 1:
        return error(500, "this call was made to fail")
    if kind == 2:
        return "no JSON at all"
    if kind == 3:
        return "x" * 3000
    return Charged(reply, ("hang", "close", "no choices", "length")[kind - 4])


def _project(folder: Path, case: Case, server: OpenAiServer) -> Path:
    limits = {"mine": case.model_limit, "other": case.model_limit, "judge": case.judge_limit}
    models = ""
    for model, (asked, replied) in case.prices.items():
        limit = f", max_output_tokens: {limits[model]}" if limits[model] else ""
        models += (
            f"  {model}: {{base_url: '{server.url}', api_key: k, timeout: 0.3, "
            f"input_price: {asked}, output_price: {replied}{limit}}}\n"
        )
    transform = f"  model: mine\n  concurrency: {case.concurrency}\n"
    transform += f"  max_tokens: {case.max_tokens}\n" if case.max_tokens else ""
    transform += "  fallback_models: [other]\n" if case.fallback else ""
    pipeline = PIPELINE.replace("  prompt:", f"{transform}  prompt:")
    if case.judged:
        criteria = "{name: tone, type: custom_criteria, config: {criteria: Is it polite?}}"
        pipeline = pipeline.replace("  quality_gate", f"    - {criteria}\n  quality_gate")
    if case.on_failure == "retry":
        pipeline += "  on_failure: retry\n"
    files = {}
    for name in ("demo", "second"):
        files[f"pipelines/{name}.yaml"] = pipeline.replace(
            "name: demo", f"name: {name}", 1
        ).replace("demo.db", f"{name}.db")
        files[f"tests/{name}_test.yaml"] = SUITE.format(name=name)
    files["data/reviews.csv"] = reviews(8)
    files[".loom/config.yaml"] = f"defaults: {{judge_model: judge}}\nmodels:\n{models}"
    made = make_project(folder, **files)
    git(made, "checkout", "--quiet", "-b", "change")
    commit(made, {"prompts/classify.txt": f"{PROMPT}\nBe brief.\n"}, "Change the prompt")
    return made


def _run(case: Case, folder: Path) -> float:
    """Two pipelines with one budget."""
    project, budget = Project(folder, warn=str), Budget(case.budget)
    runs = [project.run(name, budget=budget) for name in ("demo", "second")]
    return sum(run.cost.known for run in runs)


def _guard(case: Case, folder: Path) -> float:
    """A push of two refs: tests and comparisons of both, with one budget."""
    wiring = Project(folder, warn=str)._wiring
    head, base = (git(folder, "rev-parse", name) for name in ("change", "main"))
    other = commit(folder, {"prompts/classify.txt": f"{PROMPT}\nBe quick.\n"}, "Another")
    guard = Guard(wiring, budget=case.budget, outage=0.2)
    bill = Bill()
    with billed_to(bill):
        for tip in (head, other):
            guard.judge(GuardedChange(base, "main", tip, "change"))
    return bill.known


def _compare(case: Case, folder: Path) -> float:
    """A comparison that measures what is missing."""
    bill = Bill()
    with billed_to(bill), suppress(LoomError):
        Project(folder, warn=str).compare(
            expression="main", run_missing=True, budget=Budget(case.budget)
        )
    return bill.known


def _workers(case: Case, folder: Path) -> float:
    """A session of two processes."""
    report = folder.parent / f"{folder.name}.json"
    arguments = [f"--loom-budget={case.budget}", f"--loom-report={report}", "-n", "2", "-q"]
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    return sum(table["cost"] for table in json.loads(report.read_text())["pipelines"])


DOERS = {"run": _run, "guard": _guard, "compare": _compare, "workers": _workers}
