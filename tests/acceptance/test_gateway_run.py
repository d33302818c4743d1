"""What stands between `loom run` and a model: cache, cassettes, budgets, fallbacks, lanes."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from loomgit.api import Project
from loomgit.domain.models import Message, Request
from loomgit.errors import BudgetExceeded, Denied, ProblemsFound, Unrecorded, UserError
from loomgit.gateway.budget import Budget
from loomgit.wiring.assembly import Assembly
from loomgit.wiring.project import Wiring
from tests.projects import PIPELINE, make_project
from tests.repos import commit
from tests.servers.openai_server import OpenAiServer, Reply, error

KEY = "sk-very-secret-value-0123456789"


def respond(request):
    review = request["messages"][-1]["content"].partition("Review:")[2]
    label = "positive" if "great" in review or "love" in review else "negative"
    return json.dumps({"sentiment": label, "confidence": 0.9})


@pytest.fixture
def server():
    with OpenAiServer(respond, api_key=KEY) as running:
        yield running


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return make_project(tmp_path / "work")


def serve(project, server, transform="", config="", model="gpt-4o-mini"):
    """Let the pipeline ask `model` at the server; `transform` and `config` are more lines."""
    text = PIPELINE.replace("  prompt:", f"  model: {model}\n{transform}  prompt:")
    settings = (
        f"models:\n  {model}: {{base_url: '{server.url}', api_key: '${{LOOM_TEST_KEY}}'}}\n{config}"
    )
    commit(project, {"pipelines/demo.yaml": text, ".loom/config.yaml": settings})


def run(project, **options):
    done = Project(project, warn=pytest.fail).run("demo", **options)
    assert done.results.status == "success", done.results.message
    return done


def test_a_second_run_asks_nothing_and_costs_nothing(project, server):
    serve(project, server)
    first, second = run(project), run(project)
    assert server.calls == 4
    assert first.cost.total > 0
    assert (second.cost.total, second.cost.cached, second.cost.tokens["input"]) == (0, 4, 0)
    assert second.performance.latency["p50"] is None
    assert second.evaluation["label"].mean == first.evaluation["label"].mean == 1.0
    for path in (project / ".loom").rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_changed_prompt_asks_again(project, server):
    serve(project, server)
    run(project)
    prompt = project / "prompts" / "classify.txt"
    prompt.write_text(prompt.read_text().replace("Task", "Your task"))
    run(project)
    assert server.calls == 8


@pytest.mark.parametrize(
    "lines",
    [
        {"transform": "  cache: {enabled: false}\n"},
        {"config": "defaults: {cache: false}\n"},
    ],
)
def test_the_cache_can_be_turned_off(project, server, lines):
    serve(project, server, **lines)
    run(project)
    run(project)
    assert server.calls == 8


def test_the_pipelines_word_on_the_cache_goes_before_the_projects(project, server):
    serve(project, server, "  cache: {enabled: true, ttl: 7d}\n", "defaults: {cache: false}\n")
    run(project)
    run(project)
    assert server.calls == 4


def test_the_embedded_model_is_asked_each_time_and_fills_no_cache(project):
    run(project)
    assert run(project).cost.cached == 0
    assert not (project / ".loom" / "cache" / "responses.sqlite").exists()


def test_another_model_answers_where_the_first_refuses(project, server):
    def choose(request):
        return error(400, "too long") if request["model"] == "gpt-4o-mini" else respond(request)

    server.respond = choose
    other = f"  other: {{base_url: '{server.url}', api_key: '${{LOOM_TEST_KEY}}'}}\n"
    serve(project, server, "  fallback_models: [other]\n", other)
    done = run(project)
    assert done.results.records_validated == 4
    lines = Project(project).run_document(done)["records"]["path"]
    assert lines
    assert server.statuses == {400: 4, 200: 4}


def test_a_key_that_is_missing_is_told_before_anything_begins(project, server):
    text = PIPELINE.replace("  prompt:", "  model: gpt-4o-mini\n  prompt:")
    commit(project, {"pipelines/demo.yaml": text})
    with pytest.raises(Denied, match="OPENAI_API_KEY is not set"):
        Project(project).run("demo")
    assert Project(project).runs() == []


def test_a_run_through_the_direct_lane_loads_no_model_library(project, server):
    serve(project, server)
    program = (
        "import sys\nfrom loomgit.api import Project\n"
        "run = Project.find().run('demo')\n"
        "print(run.results.status, {'litellm', 'openai', 'httpx'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "success set()\n", done.stderr


# -- sessions with a gateway of their own, as tests and commands open it


def session(project, *texts, **options):
    """The replies (or errors) to texts, by the gateway of a run that is opened so."""
    wiring = Wiring(project, os.environ, pytest.fail)
    assembly = Assembly(wiring)
    pipeline = Project(project).pipeline("demo")
    plan, _ = assembly.plan(pipeline, {}, datetime.now(UTC))
    gateway = assembly.gateway(plan, **options)

    async def ask():
        model = plan.sampling.model
        asked = [Request(model, (Message("user", text),), max_tokens=50) for text in texts]
        try:
            return await asyncio.gather(*map(gateway.complete, asked), return_exceptions=True)
        finally:
            await gateway.close()

    return asyncio.run(ask())


def test_a_recorded_session_replays_without_server_and_key(project, server, monkeypatch):
    serve(project, server)
    recorded = session(project, "Review: great", "Review: bad", replay="record")
    monkeypatch.delenv("LOOM_TEST_KEY")
    server.respond = lambda _: Reply(500)
    replayed = session(project, "Review: great", "Review: bad", "Review: new", replay="only")
    assert [r.text for r in replayed[:2]] == [r.text for r in recorded]
    assert [r.cached for r in replayed[:2]] == [True, True]
    assert isinstance(replayed[2], Unrecorded)
    assert server.calls == 2
    written = (project / ".loom" / "cassettes" / "demo.jsonl").read_text()
    assert KEY not in written
    assert "uthorization" not in written


def test_recording_asks_anew_whatever_the_cache_holds(project, server):
    serve(project, server)
    session(project, "Review: great")
    session(project, "Review: great", replay="record")
    assert server.calls == 2


def test_a_damaged_cassette_is_told_before_anything_is_asked(project, server):
    serve(project, server)
    commit(project, {".loom/cassettes/demo.jsonl": "{}\n"})
    with pytest.raises(ProblemsFound, match=r".loom/cassettes/demo.jsonl:1:1: a damaged entry"):
        session(project, "Review: great", replay="auto")


PRICED = (
    "  {m}: {{base_url: '{url}', api_key: '${{LOOM_TEST_KEY}}', input_price: 0, "
    "output_price: 2000}}\n"
)


def test_a_budget_is_kept_by_the_servers_own_count(project, server):
    server.respond = lambda _: "x" * 200  # 50 tokens: 0.10
    server.latency = 0.02
    text = PIPELINE.replace("  prompt:", "  model: mine\n  max_tokens: 50\n  prompt:")
    config = "models:\n" + PRICED.format(m="mine", url=server.url)
    commit(project, {"pipelines/demo.yaml": text, ".loom/config.yaml": config})
    budget = Budget(1.0)
    done = session(project, *[f"Review: {n}" for n in range(50)], budget=budget)
    assert server.calls == 10
    assert sum(isinstance(one, BudgetExceeded) for one in done) == budget.refused == 40
    assert budget.spent == pytest.approx(1.0)
    more = session(project, *[f"Review: {n}" for n in range(50)], budget=0.5)
    assert server.calls == 15, "what was paid for is not paid again"
    assert sum(isinstance(one, BudgetExceeded) for one in more) == 35


def test_a_budget_for_a_model_of_unknown_price_is_refused_at_once(project, server):
    serve(project, server, model="mine")
    with pytest.raises(UserError, match="mine: a budget needs the price of the model"):
        session(project, "x", budget=1.0)
    assert server.calls == 0
