"""The test files of the specification, as it has them, against a server that answers well, badly,
or not at all. What judges is Arbiter, through the same server."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.pytest_plugin.sessions import only, pytest_in, runs
from tests.repos import commit, git, make
from tests.servers.openai_server import OpenAiServer, find_schema, instance

VALID = Path(__file__).parents[1] / "config" / "valid"
PROMPT = """\
You classify customer reviews. {{ context.customer_domain }}
{{ context.sentiment_taxonomy }}
Review: {{ input.review }}
Classify the sentiment as one of: positive, negative, neutral

## Output Format

{"sentiment": "positive|negative|neutral", "confidence": 0.95, "reasoning": "why"}
"""
KINDS = [("amazing", "positive"), ("Terrible", "negative"), ("works", "neutral")]
NAMES = {
    "unit::obvious_positive",
    "unit::obvious_negative",
    "unit::subtle_neutral",
    "distributional::quality_distribution",
    "distributional::hallucination_check",
    "distributional::cost_check",
    "integration::end_to_end_pipeline",
}


def block(name):
    return (VALID / f"{name}.yaml").read_text(encoding="utf-8")


def specified_project(folder, url):
    """The specified project: its pipeline with SQLite for Postgres, its tests as they are."""
    make(folder)
    pipeline = block("customer_sentiment").replace("postgres://", "sqlite://")
    tests = "\n".join(map(block, ("unit_tests", "distributional_tests", "integration_tests")))
    model = f"{{base_url: '{url}', api_key: '${{LOOM_TEST_KEY}}'}}"
    settings = (
        f"models:\n  gpt-4o-mini: {model}\n  gpt-4o-mini-2024-07-18: {model}\n"
        "connections:\n  customers: sqlite:///CUSTOMERS\n  analytics: sqlite:///ANALYTICS\n"
    )
    for word in ("customers", "analytics"):
        settings = settings.replace(f"/{word.upper()}", str(folder / f"{word}.db"))
    commit(
        folder,
        {
            "pipelines/customer_sentiment.yaml": pipeline,
            "tests/customer_sentiment_test.yaml": tests,
            "prompts/classify_sentiment.txt": PROMPT,
            "context/customer_domain.md": "Customers are B2B companies.\n",
            "context/sentiment_taxonomy.md": "### positive\n### negative\n### neutral\n",
            ".loom/config.yaml": settings,
            ".gitignore": "*.db\n",
        },
    )
    git(folder, "tag", "-a", "v2.3.0", "-m", "v2.3.0")
    with sqlite3.connect(folder / "customers.db") as database:
        database.execute(
            "CREATE TABLE reviews "
            "(review_id INTEGER, review TEXT, expected_sentiment TEXT, created_at TEXT)"
        )
        database.executemany(
            "INSERT INTO reviews VALUES (?, ?, ?, '2199-01-01')",
            [(n, f"Number {n} is {KINDS[n % 3][0]}", KINDS[n % 3][1]) for n in range(100)],
        )
    return folder


def model(sentiment, judged):
    """A model that finds a review's sentiment by `sentiment`, and as a judge gives `judged`."""

    def respond(request):
        text = request["messages"][-1]["content"]
        if "one of: positive, negative, neutral" in text:
            review = text.partition("Review:")[2].partition("\n")[0]
            label = next((kind for word, kind in KINDS if word in review), "neutral")
            return json.dumps(
                {"sentiment": sentiment(label), "confidence": 0.97, "reasoning": "its words"}
            )
        schema = find_schema(request)
        answer = instance(schema, schema)
        return json.dumps({name: judged.get(name, value) for name, value in answer.items()})

    return respond


def verdicts(project):
    return {test["name"]: test["verdict"] for test in only(runs(project))["tests"]}


def test_a_good_model_passes_all_of_them(tmp_path):
    with OpenAiServer(model(str, {"score": 0.96, "unsupported_statements": []})) as server:
        project = specified_project(tmp_path / "work", server.url)
        done = pytest_in(project, env={"LOOM_TEST_KEY": "k"}).expect(0, passed=7)
    assert "customer_sentiment (v2.1.0): 7 tests, 7 pass" in done.out
    assert verdicts(project) == dict.fromkeys(NAMES, "pass")
    run = only(runs(project))
    assert run["config"]["prompt_version"] == "v2.3.0"
    assert len(run["cases"]) == 103
    assert not (project / "analytics.db").exists()


def test_a_bad_model_fails_each_of_them_for_its_own_reason(tmp_path):
    def sentiment(_):
        return "mixed"

    answer = model(sentiment, {"score": 0.4})

    def respond(request):
        return answer(request).replace('"its words"', json.dumps("much " * 3600))

    with OpenAiServer(respond) as server:
        project = specified_project(tmp_path / "work", server.url)
        done = pytest_in(project, env={"LOOM_TEST_KEY": "k"}).expect(1, failed=7)
    assert verdicts(project) == dict.fromkeys(NAMES, "fail")
    for line in (
        "[FAIL] sentiment == 'positive' (actual: 'mixed')",
        "[FAIL] sentiment == 'negative' (actual: 'mixed')",
        "[FAIL] sentiment == 'neutral' (actual: 'mixed')",
        "[FAIL] evaluation_score > 0.9 (actual: 0.40)",
        "[FAIL] mean_score > 0.75 (actual: 0.40, 90% interval",
        "[FAIL] min_score > 0.5 (actual: 0.40",
        "[FAIL] hallucination_rate < 0.05 (actual: 1.00, 90% interval",
        "[FAIL] cost per 1,000 records <= $2.50 (actual: $",
        "[FAIL] records_loaded > 95 (actual: 0)",
        "prompt: prompts/classify_sentiment.txt (v2.3.0)",
        "semantic_similarity: 0.40 < threshold 0.80 [gpt-4o-mini]",
    ):
        assert line in done.out, line
    assert "Traceback" not in done.out
    assert "/loomgit/" not in done.out


@pytest.mark.parametrize("absent", ["server", "key"])
def test_without_a_model_all_of_them_are_unverified(tmp_path, absent):
    url = "http://127.0.0.1:9/v1"
    environment = {"LOOM_TEST_KEY": "k"} if absent == "server" else {}
    project = specified_project(tmp_path / "work", url)
    done = pytest_in(project, env=environment).expect(0, unverified=7)
    reason = "LOOM_TEST_KEY" if absent == "key" else "127.0.0.1:9"
    named = [line for line in done.out.splitlines() if line.strip().startswith("unverified: ")]
    assert len(named) == 7
    assert all(reason in line for line in named), named
    assert verdicts(project) == dict.fromkeys(NAMES, "unverified")
    if absent == "key":  # that is found out at once
        strict = pytest_in(project, "--loom-strict", env=environment)
        strict.expect(1, failed=7)
        assert "Traceback" not in strict.out
