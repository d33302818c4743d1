"""Pipelines from PostgreSQL to PostgreSQL, as a user runs them."""

import json

import pytest

from tests.command import loom
from tests.projects import PIPELINE, REVIEWS, make_project
from tests.repos import commit, git

TEXT = (
    PIPELINE.replace("source: data/reviews.csv", "source: postgres://customers/reviews")
    .replace(
        "  key: review_id",
        """\
  query: "SELECT * FROM reviews WHERE created_at > {{ execution_date }}"
  key: review_id""",
    )
    .replace("sqlite://out/demo.db/scores", "postgres://analytics/sentiment_scores")
)
CONFIG = """\
connections:
  customers: ${CUSTOMERS_URL}
  analytics: {url: "${ANALYTICS_URL}", loom_schema: loom}
"""
DAY = ("--execution-date", "2026-01-01")


@pytest.fixture
def project(tmp_path, database, run_sql, monkeypatch):
    run_sql("CREATE SCHEMA loom; CREATE TABLE reviews (review_id text PRIMARY KEY, review text, "
            "expected text, created_at timestamptz DEFAULT '2026-02-01')")  # fmt: skip
    for line in REVIEWS.splitlines()[1:]:
        run_sql("INSERT INTO reviews VALUES (%s, %s, %s)", *line.split(","))
    monkeypatch.setenv("CUSTOMERS_URL", database)
    monkeypatch.setenv("ANALYTICS_URL", database)
    files = {"pipelines/demo.yaml": TEXT, ".loom/config.yaml": CONFIG}
    return make_project(tmp_path / "project", **files)


def test_a_pipeline_runs_from_postgresql_to_postgresql(project, run_sql):
    checked = loom(project, "validate", "demo", *DAY)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Source: postgres://customers/reviews reachable" in checked.stdout
    assert "Destination: postgres://analytics/sentiment_scores writable" in checked.stdout
    assert run_sql("SELECT to_regclass('sentiment_scores'), to_regclass('loom._loom_loads')") == [
        (None, None)
    ]
    done = loom(project, "run", "demo", *DAY, "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert (results["records_processed"], results["inserted"]) == (4, 4)
    assert run_sql("SELECT review_id, sentiment FROM sentiment_scores ORDER BY 1") == [
        ("r-1", "positive"), ("r-2", "negative"), ("r-3", "positive"), ("r-4", "negative"),
    ]  # fmt: skip
    assert run_sql("SELECT sum(inserted) FROM loom._loom_loads") == [(4,)]
    again = json.loads(loom(project, "run", "demo", *DAY, "--json").stdout)["results"]
    assert (again["inserted"], again["unchanged"]) == (0, 4)


def test_the_execution_date_selects_the_rows(project):
    done = loom(project, "run", "demo", "--execution-date", "2026-03-01", "--json")
    assert json.loads(done.stdout)["results"]["records_processed"] == 0


def test_a_refused_row_is_quarantined_and_the_others_are_loaded(project, run_sql):
    run_sql("CREATE TABLE sentiment_scores (review_id text PRIMARY KEY CHECK (review_id <> 'r-3'), "
            "sentiment text, confidence float8)")  # fmt: skip
    done = loom(project, "run", "demo", *DAY, "--json")
    results = json.loads(done.stdout)["results"]
    assert done.returncode == 0, done.stderr
    assert (results["inserted"], results["records_rejected"], results["records_failed"]) == (
        3,
        1,
        1,
    )
    (line,) = (project / ".loom/state/quarantine/demo.jsonl").read_text("utf-8").splitlines()
    entry = json.loads(line)
    assert (entry["record_key"], entry["stage"]) == ("r-3", "load")
    assert "violates check constraint" in entry["reason"]
    (reason,) = results["reasons"]
    assert "violates check constraint" in reason


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (("postgres://customers", "postgres://custmers"), 2, "'custmers' is not configured"),
        (("FROM reviews", "FROM revews"), 2, "did you mean 'reviews'?"),
        (("created_at >", "created >"), 2, 'column "created" does not exist'),
        (("  key: review_id", "  key: reviews"), 2, "no column 'reviews'"),
        (("postgres://analytics", "postgres://me:hunter2@h/d"), 2, "contains a password"),
        (("postgres://analytics", "postgres://analytcs"), 2, "'analytcs' is not configured"),
    ],
)
def test_a_mistake_names_the_line_of_the_pipeline(project, change, code, words):
    path = project / "pipelines/demo.yaml"
    text = path.read_text("utf-8")
    path.write_text(text.replace(*change), "utf-8")
    for command in (("validate", "demo"), ("run", "demo")):
        done = loom(project, *command, *DAY)
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert words in said
        assert "pipelines/demo.yaml:" in said
        assert "Extract:" not in said  # no record is read
        assert "hunter2" not in done.stderr


def test_a_variable_that_is_not_set_and_a_server_that_is_not_there(project, monkeypatch):
    monkeypatch.delenv("CUSTOMERS_URL")
    done = loom(project, "run", "demo", *DAY)
    assert done.returncode == 2
    assert ".loom/config.yaml:2" in done.stderr
    assert "CUSTOMERS_URL is not set" in done.stderr
    monkeypatch.setenv("CUSTOMERS_URL", "postgresql://me:hunter2@127.0.0.1:1/shop")
    done = loom(project, "run", "demo", *DAY)
    assert done.returncode == 4
    assert "connection 'customers': " in done.stderr
    assert "Connection refused" in done.stderr
    assert "hunter2" not in done.stderr


CHANGES = {
    "nothing": ({}, ""),
    "the query": (
        {"pipelines/demo.yaml": TEXT.replace("SELECT *", "SELECT current_user AS u, *")},
        "it changes what it reads from postgres://customers/reviews",
    ),
    "the connection": (
        {".loom/config.yaml": CONFIG.replace("${CUSTOMERS_URL}", "postgresql://thief/x")},
        "it changes connections in .loom/config.yaml",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_branch_reads_no_other_data_from_the_database(project, change):
    files, words = CHANGES[change]
    test = "pipeline: demo\ndistributional_tests:\n"
    test += '  - {name: a, type: statistical, assertions: ["mean(evaluation_scores) > 0.1"]}\n'
    commit(project, {"tests/demo_test.yaml": test}, "Test")
    git(project, "checkout", "--quiet", "-b", "theirs")
    prompt = (project / "prompts/classify.txt").read_text("utf-8")
    commit(project, {"prompts/classify.txt": prompt + "\nBe exact.\n", **files}, "Theirs")
    git(project, "checkout", "--quiet", "main")
    done = loom(project, "compare", "main...theirs", "--run-missing", "--json")
    said = done.stdout + done.stderr
    assert ("is unverified" in said) == bool(words), said
    assert words in said


@pytest.mark.parametrize(
    ("destination", "same"),
    [("customers/reviews", True), ("customers/public.reviews", True), ("analytics/reviews", True),
     ("analytics/other", False)],
)  # fmt: skip
def test_replacing_the_source_is_refused_in_every_spelling(project, destination, same):
    text = TEXT.replace("postgres://analytics/sentiment_scores", f"postgres://{destination}")
    text = text.replace("load:\n", "load:\n  mode: replace\n")
    (project / "pipelines/demo.yaml").write_text(text, "utf-8")
    done = loom(project, "run", "demo", *DAY)
    assert done.returncode == (2 if same else 0), done.stderr
    assert ("mode: replace would destroy it" in done.stderr) == same
