"""Budgets of whole commands: what a server charges is never more than the budget, and what a
command reports is what the server charged."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests import processes
from tests.comparisons import CUES, reviews
from tests.projects import PIPELINE, make_project
from tests.pytest_plugin.sessions import environment
from tests.random_budgets import check, choose
from tests.repos import commit, git
from tests.servers.openai_server import Charged, OpenAiServer, find_schema, instance

INPUT, OUTPUT = 1000.0, 2000.0  # USD per million tokens
SUITE = """\
pipeline: demo
dataset: data/reviews.csv
distributional_tests:
  - {name: quality, type: statistical, sample_size: 40, assertions: ["mean(scores.label) > 0.1"]}
"""
JUDGED = PIPELINE.replace(
    "  quality_gate",
    "    - {name: tone, type: custom_criteria, config: {criteria: Is it polite?}}\n  quality_gate",
).replace("  prompt:", "  model: mine\n  max_tokens: 60\n  concurrency: 8\n  prompt:")


def respond(request):
    """A model that reads reviews well; as a judge it gives 0.9."""
    text = request["messages"][-1]["content"]
    if "Review:" in text:
        good = any(word in text.partition("Review:")[2] for word in CUES["positive"])
        return json.dumps({"sentiment": "positive" if good else "negative", "confidence": 0.9})
    schema = find_schema(request)
    return "I see." if schema is None else json.dumps(instance(schema, schema))


def charged(server):
    """USD that the server charged, by its own count."""
    return sum(asked * INPUT + replied * OUTPUT for asked, replied in server.charged.values()) / 1e6


@pytest.fixture
def server():
    with OpenAiServer(respond) as running:
        yield running


def project(folder, server, pipeline=JUDGED, **files):
    """A project that asks the server and is judged by it; the prompt differs from the baseline."""
    priced = f"base_url: '{server.url}', api_key: k, input_price: {INPUT}, output_price: {OUTPUT}"
    judge = f"  judge: {{{priced}, max_output_tokens: 200}}\n"
    made = make_project(
        folder,
        **{
            "pipelines/demo.yaml": pipeline,
            "tests/demo_test.yaml": SUITE,
            "data/reviews.csv": reviews(40),
            ".loom/config.yaml": f"defaults: {{judge_model: judge}}\nmodels:\n"
            f"  mine: {{{priced}}}\n{judge}",
            **files,
        },
    )
    git(made, "checkout", "--quiet", "-b", "change")
    text = (made / "prompts/classify.txt").read_text()
    commit(made, {"prompts/classify.txt": text + "\nBe brief.\n"}, "Change the prompt")
    return made


def loom(folder, *arguments, **variables):
    """Run the command."""
    done = processes.run("loomgit", *arguments, cwd=folder, env=environment(**variables))
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_what_a_test_spent_before_its_budget_ended_counts_in_ci(tmp_path, server):
    folder = project(tmp_path / "work", server)
    done = loom(folder, "ci", "--budget", "1.2", "--json")
    assert 0.2 < charged(server) <= 1.2
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["spent"]["total"] == pytest.approx(charged(server))
    assert document["spent"]["calls"] == server.calls
    assert "samples were not drawn: budget: " in document["unmeasured"]
    assert f"for {server.calls} model calls" in done.stderr
    assert "warning: unverified: demo: " in done.stderr


@pytest.mark.parametrize("budget", [3.0, 100.0])
def test_the_tests_of_two_workers_share_one_budget(tmp_path, server, budget):
    folder = project(tmp_path / "work", server)
    arguments = ("--budget", str(budget), "--json", "--", "-p", "xdist", "-n", "2")
    done = loom(folder, "test", *arguments)
    (table,) = json.loads(done.stdout)["pipelines"]
    assert charged(server) <= budget
    assert charged(server) > 1.5, "no worker has only a part of it"
    assert done.returncode == (0 if budget == 100.0 else 1), done.stderr
    assert (table["cost"], table["calls"]) == (pytest.approx(charged(server)), server.calls)


def test_the_cost_of_a_test_whose_judge_was_not_asked_is_reported(tmp_path, server):
    folder = project(tmp_path / "work", server)
    done = loom(folder, "test", "--budget", "3", "--json")
    (table,) = json.loads(done.stdout)["pipelines"]
    assert done.returncode == 1
    assert 1.5 < charged(server) <= 3
    assert table["cost"] == pytest.approx(charged(server))


def test_pipelines_of_one_run_share_the_budget_and_report_their_costs(tmp_path, server):
    second = JUDGED.replace("name: demo", "name: second").replace("demo.db", "second.db")
    folder = project(tmp_path / "work", server, **{"pipelines/second.yaml": second})
    done = loom(folder, "run", "demo", "second", "--budget", "1.1", "--json")
    runs = json.loads(done.stdout)["runs"]
    assert done.returncode == 1
    assert {run["results"]["status"] for run in runs} == {"budget_exceeded"}
    assert 0.5 < charged(server) <= 1.1
    assert sum(run["cost"]["total"] for run in runs) == pytest.approx(charged(server))
    assert sum(run["cost"]["calls"] for run in runs) == server.calls
    for run in runs:
        assert sum(run["cost"]["breakdown"].values()) == pytest.approx(run["cost"]["total"])


def test_a_comparison_has_a_budget(tmp_path, server):
    folder = project(tmp_path / "work", server)
    done = loom(folder, "compare", "main", "--run-missing", "--budget", "2")
    assert (done.returncode, 0.8 < charged(server) <= 2) == (1, True), done.stderr
    assert "samples were not drawn: budget: " in done.stderr
    assert f"for {server.calls} model calls" in done.stderr
    done = loom(folder, "compare", "main", "--run-missing", "--json")
    assert done.returncode == 0, done.stderr
    spent = json.loads(done.stdout)["spent"]
    first = charged(server) - spent["total"]
    assert 0.8 < first <= 2, "the second command pays only for what the first one lacked"


def test_a_push_of_two_refs_has_one_budget(tmp_path, server):
    folder = project(tmp_path / "work", server)
    settings = (folder / ".loom/config.yaml").read_text()
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(folder, "remote", "add", "origin", "../remote.git")
    git(folder, "push", "--quiet", "origin", "main")
    commit(folder, {".loom/config.yaml": f"{settings}hooks: {{budget: 3}}\n"}, "Limit hooks")
    git(folder, "branch", "other")
    text = (folder / "prompts/classify.txt").read_text()
    commit(folder, {"prompts/classify.txt": f"{text}\nBe quick.\n"}, "Change it again")
    refs = [git(folder, "rev-parse", name) for name in ("change", "other")]
    said = "".join(
        f"refs/heads/{name} {tip} refs/heads/{name} {'0' * 40}\n"
        for name, tip in zip(("change", "other"), refs, strict=True)
    )
    done = subprocess.run(
        [sys.executable, "-m", "loomgit", "hooks", "run", "pre-push", "origin"],
        cwd=folder, env=environment(), input=said, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert 1.5 < charged(server) <= 3
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("loom: pre-push blocked") == 2, done.stderr
    assert "the budget (hooks.budget in .loom/config.yaml) is spent" in done.stderr
    assert f"loom: spent ${charged(server):.2f} for {server.calls} model calls" in done.stderr


@pytest.mark.parametrize("command", ["test", "run", "compare", "ci"])
def test_what_was_spent_before_ctrl_c_is_reported(tmp_path, server, command):
    server.latency = 0.05
    folder = project(tmp_path / "work", server)
    more = {"run": ["demo", "--json"], "compare": ["main", "--run-missing"]}.get(command, [])
    process = subprocess.Popen(
        [sys.executable, "-m", "loomgit", command, *more],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while server.calls < 12 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    if command == "run":
        assert json.loads(out)["cost"]["total"] == pytest.approx(charged(server))
    elif command == "test":
        assert f"spent ${charged(server):.2f} for {server.calls} model calls" in out + err
    else:
        assert f"Spent: ${charged(server):.2f} for {server.calls} model calls" in err


LOST = [
    ("length", "cut off", True),
    ("no choices", "without a choice", True),
    ("close", "unavailable", False),
    ("hang", "no reply within 0.2 s", False),
]


@pytest.mark.parametrize(("then", "why", "counted"), LOST, ids=[then for then, *_ in LOST])
def test_a_reply_that_is_charged_and_cannot_be_used_is_paid(tmp_path, server, then, why, counted):
    server.respond = lambda request: Charged('{"sentiment": "posi', then)
    plain = PIPELINE.replace("  prompt:", "  model: mine\n  max_tokens: 60\n  prompt:")
    folder = project(tmp_path / "work", server, plain)
    settings = (
        (folder / ".loom/config.yaml").read_text().replace("api_key", "timeout: 0.2, api_key")
    )
    (folder / ".loom/config.yaml").write_text(settings)
    done = loom(folder, "run", "demo", "--budget", "2", "--json")
    run = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert 0 < charged(server) <= 2
    assert run["cost"]["known"] == (pytest.approx(charged(server)) if counted else 0)
    assert run["results"]["status"] == "budget_exceeded" or why in str(run["results"]["reasons"])
    if not counted:
        assert "calls without a reply" in run["results"]["message"]


@pytest.mark.parametrize("seed", range(18))
def test_random_budgets_hold(tmp_path, seed):
    way = ("run", "guard", "compare")[seed % 3]
    assert check(choose(1000 + seed, way), tmp_path / "work").fault == ""


def test_the_cost_budget_of_the_pipeline_is_a_hard_limit(tmp_path, server):
    limited = JUDGED + "monitoring: {cost_budget: 4}\n"
    folder = project(tmp_path / "project", server, limited)
    done = processes.run("loomgit", "run", "demo", "--json", cwd=folder, env=environment())
    run = json.loads(done.stdout)
    assert (done.returncode, run["results"]["status"]) == (1, "budget_exceeded"), done.stderr
    assert 0 < charged(server) <= 4
    before = charged(server)
    done = processes.run(
        "loomgit", "run", "demo", "--json", "--budget", "2", cwd=folder, env=environment()
    )
    assert json.loads(done.stdout)["results"]["status"] == "budget_exceeded"
    assert charged(server) - before <= 2
