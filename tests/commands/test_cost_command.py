"""`loom cost`: what was spent and what will be, against a server whose count is known."""

import json

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project
from tests.repos import commit
from tests.servers.openai_server import OpenAiServer, answer

MODEL = "gpt-4o-mini"


def respond(request):
    return json.dumps({"sentiment": "positive", "confidence": 0.9})


@pytest.fixture
def server():
    with OpenAiServer(respond) as running:
        yield running


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return make_project(tmp_path / "work")


def serve(project, server, model=MODEL, transform="", rest="", config=""):
    text = PIPELINE.replace("  prompt:", f"  model: {model}\n{transform}  prompt:") + rest
    settings = f"models:\n  {model}: {{base_url: '{server.url}', api_key: sk-x{config}}}\n"
    commit(project, {"pipelines/demo.yaml": text, ".loom/config.yaml": settings})


def ask(project, *arguments):
    done = loom(project, "cost", "demo", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run(project):
    done = loom(project, "run", "demo", "--json")
    return json.loads(done.stdout)


def files(project):
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_what_was_spent_is_what_the_runs_say(project, server):
    serve(project, server)
    first, second = run(project), run(project)
    (split,) = first["cost"]["models"]
    assert (split["stage"], split["asked"], split["model"]) == ("transform", MODEL, MODEL)
    assert split["cost"] == pytest.approx(first["cost"]["total"])
    assert (split["calls"], split["hits"]) == (4, 0)
    assert {name: split[name] for name in ("input", "output", "cached")} == first["cost"]["tokens"]
    found = ask(project)
    total = found["total"]
    assert (total["runs"], total["calls"], total["cached"]) == (2, 4, 4)
    assert total["cost"] == pytest.approx(first["cost"]["total"])
    assert total["saved"] == pytest.approx(first["cost"]["total"])
    assert second["cost"]["total"] == 0
    assert [(line["stage"], line["model"]) for line in found["models"]] == [("transform", MODEL)]
    assert [line["day"] for line in found["days"]] == [first["started"][:10]]


def test_since_leaves_out_what_was_before(project, server):
    serve(project, server)
    run(project)
    assert ask(project, "--since", "24h")["total"]["runs"] == 1
    assert ask(project, "--since", "2020-01-01")["total"]["runs"] == 1
    assert ask(project, "--since", "2200-01-01")["total"]["runs"] == 0
    done = loom(project, "cost", "demo", "--since", "lately")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'lately' is neither a date (2026-11-01) nor an age (7d, 24h)" in done.stderr


def test_a_spent_amount_of_unknown_price_is_not_zero(project, server):
    serve(project, server, "mine")
    run(project)
    assert ask(project)["total"]["cost"] is None
    done = loom(project, "cost", "demo")
    assert "Total Cost: unknown" in done.stdout
    assert "4 calls have no known price" in done.stdout


def test_an_estimate_asks_nothing_and_changes_no_file(project, server):
    serve(project, server)
    before = files(project)
    ask(project, "--dry-run")
    assert server.calls == 0
    after = files(project)
    assert {path for path in after if after[path] != before.get(path)} <= {".loom/.gitignore"}


def test_an_estimate_is_near_what_the_run_then_costs(project, server):
    serve(project, server)
    before = ask(project, "--dry-run")
    assert [part["output_basis"] for part in before["transform"]] == ["schema"]
    # The server counts no tokens for a schema that is asked for by OpenAI's own means.
    text = (project / "pipelines" / "demo.yaml").read_text()
    form = "  output: {sentiment: string, confidence: float}\n"
    commit(project, {"pipelines/demo.yaml": text.replace(form, "")})
    spent = run(project)["cost"]
    after = ask(project, "--dry-run")
    (part,) = after["transform"]
    assert (part["output_basis"], part["output_tokens"]) == ("runs", spent["tokens"]["output"])
    assert part["input_tokens"] == pytest.approx(spent["tokens"]["input"], rel=0.15)
    assert after["total"] == pytest.approx(spent["total"], rel=0.15)
    assert part["kept"] == 1.0, "all of its replies are in the cache now"
    assert before["transform"][0]["kept"] == 0.0


def test_an_estimate_reads_as_the_mission_shows_it(project, server):
    rest = "monitoring:\n  cost_budget: 10.00\n"
    serve(project, server, transform="  max_tokens: 100\n", rest=rest)
    done = loom(project, "cost", "demo", "--dry-run")
    (part,) = ask(project, "--dry-run")["transform"]
    assert done.stdout.splitlines()[:19] == [
        "Cost Estimate for: demo",
        "",
        "Input:",
        "  Records: 4",
        f"  Avg tokens per record: {part['input_tokens'] / 4:.0f}",
        "",
        "Transform:",
        "  Model: gpt-4o-mini ($0.15 / 1M input tokens, $0.60 / 1M output tokens)",
        f"  Input tokens:  {part['input_tokens']}",
        "  Output tokens: 400",
        f"  Cost: ${part['cost']:.2g}",
        "",
        "Evaluate:",
        "  Model: none",
        "  Cost: $0.00",
        "",
        f"Total Estimated Cost: ${part['cost']:.2g}",
        "Budget: $10.00 (<1% utilized)",
        "",
    ]
    assert "100 tokens a reply, the limit: an upper bound" in done.stdout


def test_records_beyond_the_sample_are_counted(project, server):
    lines = ["review_id,review,expected", *(f"r-{n},This is great,positive" for n in range(1000))]
    commit(project, {"data/reviews.csv": "\n".join(lines) + "\n"})
    serve(project, server)
    found = ask(project, "--dry-run")
    assert (found["records"], found["sampled"], found["transform"][0]["calls"]) == (1000, 200, 1000)
    assert ask(project, "--dry-run", "--limit", "50")["records"] == 50


def test_an_unknown_price_makes_the_total_unknown_and_says_what_to_write(project, server):
    serve(project, server, "mine")
    done = loom(project, "cost", "demo", "--dry-run")
    assert done.returncode == 0
    assert "  Model: mine (price unknown)" in done.stdout
    assert "Total Estimated Cost: unknown" in done.stdout
    assert "models: {mine: {input_price: ..., output_price: ...}}" in done.stderr
    assert ask(project, "--dry-run")["total"] is None


def test_the_embedded_model_costs_nothing_or_what_another_would(project):
    assert ask(project, "--dry-run")["total"] == 0
    settings = "models:\n  embedded/icl: {price_as: gpt-4o-mini}\n"
    commit(project, {".loom/config.yaml": settings})
    (part,) = ask(project, "--dry-run")["transform"]
    assert (part["input_price"], part["output_price"]) == pytest.approx((0.15, 0.6))
    assert part["cost"] > 0


def test_a_judge_is_estimated_by_the_questions_that_it_will_get(project, server):
    judges = (
        "  model: gpt-4o\n  evaluators:\n"
        "    - {name: tone, type: custom_criteria, criteria: Be polite.}\n"
        "    - {name: short, type: custom_criteria, criteria: Be brief.}\n"
    )
    serve(project, server)
    text = (project / "pipelines" / "demo.yaml").read_text().replace("  evaluators:\n", judges)
    commit(project, {"pipelines/demo.yaml": text})
    (part,) = ask(project, "--dry-run")["evaluate"]
    assert (part["model"], part["calls"], part["output_basis"]) == ("gpt-4o", 8, "schema")
    assert part["input_tokens"] > 8 * 100, "a judge's instruction is long"
    assert server.calls == 0


def test_a_judges_calls_are_a_stage_of_their_own(project, server):
    server.respond = lambda request: (
        respond(request) if request["model"] == MODEL else answer(request)
    )
    server.served = lambda model: f"{model}-2024-08-06" if model == "gpt-4o" else model
    serve(project, server, config=f"}}\n  gpt-4o: {{base_url: '{server.url}', api_key: sk-x")
    judge = (
        "  model: gpt-4o\n  evaluators:\n    - {name: tone, type: custom_criteria, criteria: X.}\n"
    )
    text = (project / "pipelines" / "demo.yaml").read_text().replace("  evaluators:\n", judge)
    commit(project, {"pipelines/demo.yaml": text})
    spent = run(project)["cost"]
    found = ask(project)
    stages = {line["stage"]: line for line in found["stages"]}
    assert {name: line["cost"] for name, line in stages.items()} == pytest.approx(
        spent["breakdown"]
    )
    assert stages["evaluate"]["cost"] > 0
    assert [(line["model"], line["calls"]) for line in found["models"]] == [
        (MODEL, 4),
        ("gpt-4o-2024-08-06", 4),
    ]
    tokens = [sum(line[f"{way}_tokens"] for line in found["models"]) for way in ("input", "output")]
    assert tokens == [spent["tokens"]["input"], spent["tokens"]["output"]]
    (part,) = ask(project, "--dry-run")["evaluate"]
    assert (part["output_basis"], part["output_tokens"]) == (
        "runs",
        stages["evaluate"]["output_tokens"],
    )
    assert part["kept"] == 1.0, "it is asked about the outputs of that run"


def test_documents_that_are_searched_for_are_a_part_of_the_prompt(project, server):
    pipeline = (
        "name: demo\nextract: {source: data/reviews.csv, key: review_id}\n"
        "transform:\n  type: rag\n  model: gpt-4o-mini\n  prompt: prompts/answer.txt\n"
        '  retrieve: {documents: ["docs/*.md"], top_k: 1, query_field: review}\n'
        "load: {destination: out/answers.jsonl}\n"
    )
    prompt = "From: {{ context.retrieved_documents }}\n{{ input.review }}\n"
    passage = f"Great reports are loved. {'They hold a thousand figures. ' * 20}\n"
    files = {"pipelines/demo.yaml": pipeline, "prompts/answer.txt": prompt}
    commit(project, {**files, "docs/reports.md": passage})
    (part,) = ask(project, "--dry-run")["transform"]
    assert part["input_tokens"] > len(passage) / 4, "one record at least has found it"


def test_a_misspelt_pipeline_is_exit_2_with_the_nearest_name(project):
    for more in ([], ["--dry-run"]):
        done = loom(project, "cost", "dmo", *more)
        assert done.returncode == 2
        assert "did you mean 'demo'?" in done.stderr


def test_a_pipeline_that_never_ran_has_cost_nothing(project):
    assert loom(project, "cost", "demo").stdout == "No runs of demo.\n"
    assert ask(project)["total"]["cost"] == 0


@pytest.mark.parametrize("flags", [["--dry-run", "--since", "7d"], ["--limit", "5"]])
def test_flags_of_the_other_question_are_refused(project, flags):
    assert loom(project, "cost", "demo", *flags).returncode == 2


@pytest.mark.parametrize("given", [True, False])
def test_an_estimate_takes_an_execution_date_and_warns_without_one(project, given):
    query = """query: "SELECT * FROM data WHERE '2026' < {{ execution_date }}\""""
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    text = text.replace("  key: review_id", f"  {query}\n  key: review_id")
    commit(project, {"pipelines/demo.yaml": text})
    flags = ["--execution-date", "2025-01-01"] if given else []
    done = loom(project, "cost", "demo", "--dry-run", *flags)
    assert done.returncode == 0, done.stderr
    assert ("Records: 0" in done.stdout) == given, done.stdout
    assert ("extract.query uses execution_date, which is now" in done.stderr) == (not given)


def unknown(project, *arguments):
    """What an estimate does not contain, by kind: (subject, reason) of each."""
    found = {}
    for item in ask(project, "--dry-run", *arguments)["unknown"]:
        found.setdefault(item["kind"], []).append((item["subject"], item["reason"]))
    return found


def test_an_estimate_lists_what_only_the_run_can_show(project, server):
    rest = "  on_failure: retry\n  retries: 3\n"
    serve(project, server, transform="  fallback_models: [gpt-4o]\n", rest=rest)
    rows = '{"review_id": 1, "review": "great", "expected": "positive"}\n{"review": "love"}\n'
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    text = text.replace("reviews.csv", "reviews.jsonl")
    commit(project, {"pipelines/demo.yaml": text, "data/reviews.jsonl": rows})
    done = loom(project, "cost", "demo", "--dry-run")
    lines = done.stdout.splitlines()
    assert lines[lines.index("Unknown:") - 1 :] == [
        "",
        "Unknown:",
        "  Records of data/reviews.jsonl: 1 row is not counted; a run refuses such rows",
        "  Repairs by gpt-4o-mini: one more call for each reply that is invalid or cut off",
        "  Fallback model gpt-4o: calls after a failure of gpt-4o-mini",
        "  Retries of gpt-4o-mini: up to 3 more attempts for each record that fails",
        "  Destination sqlite://out/demo.db/scores: the destination was not opened; a run checks "
        "it before the first call",
    ]
    assert list(unknown(project)) == ["records", "repair", "fallback_model", "retry", "destination"]


def test_an_unknown_price_is_listed_and_a_free_model_makes_no_further_calls(project, server):
    assert list(unknown(project)) == ["destination"], "the embedded model is free"
    serve(project, server, "mine")
    ((model, reason),) = unknown(project)["price"]
    assert model == "mine"
    assert reason == "the price is unknown, so that the cost of 4 calls is missing"


def test_an_evaluator_of_the_user_and_a_fallback_are_unknown(project, server):
    fallback = "  on_failure: fallback\n  fallback: {prompt: prompts/classify.txt, model: gpt-4o, "
    serve(project, server, rest=f"{fallback}context: [context/taxonomy.md]}}\n")
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    own = "  evaluators:\n    - {name: mine, type: 'checks.py:judge'}\n"
    code = "raise RuntimeError('an estimate runs no evaluator')\n"
    commit(
        project,
        {"pipelines/demo.yaml": text.replace("  evaluators:\n", own), "checks.py": code},
    )
    found = unknown(project)
    assert found["fallback"] == [("gpt-4o", "a call for each record that fails")]
    ((name, reason),) = found["evaluator"]
    assert (name, "checks.py:judge was not run" in reason) == ("mine", True)


def test_records_that_another_pipeline_writes_are_unknown(project):
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    first = text.replace("name: demo", "name: first")
    first = first.replace("sqlite://out/demo.db/scores", "data/reviews.csv")
    first = first.replace("source: data/reviews.csv", "source: data/raw.csv")
    commit(project, {"pipelines/first.yaml": first, "pipelines/broken.yaml": "name: ["})
    assert unknown(project)["records"] == [
        ("data/reviews.csv", "the next run of first can change the number of records")
    ]


def test_a_query_without_an_execution_date_has_unknown_records(project):
    query = """query: "SELECT * FROM data WHERE '2026' < {{ execution_date }}\""""
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    commit(project, {"pipelines/demo.yaml": text.replace("  key:", f"  {query}\n  key:")})
    ((_, reason),) = unknown(project)["records"]
    assert "uses execution_date" in reason
    assert "records" not in unknown(project, "--execution-date", "2025-01-01")


def test_a_missing_variable_ends_an_estimate_as_it_ends_a_run(project):
    prompt = (project / "prompts/classify.txt").read_text("utf-8")
    commit(project, {"prompts/classify.txt": prompt + "{{ vars.tone }}"})
    done = loom(project, "cost", "demo", "--dry-run", "--json")
    assert (done.returncode, "tone" in done.stderr) == (2, True)
    assert "tone" in json.loads(done.stdout)["error"]["message"]
