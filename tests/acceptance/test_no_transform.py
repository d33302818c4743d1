"""Pipelines without a transform: the record is the output."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import duckdb
import pytest

from loomgit.api import Project
from tests.command import loom
from tests.projects import make_project
from tests.repos import commit, write

COPY = """\
name: copy
extract:
  source: data/reviews.csv
load:
  destination: sqlite://out/copy.db/reviews
"""
EVALUATED = """\
evaluate:
  evaluators:
    - {name: length, type: length, config: {field: review, max: 12}}
"""


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project", **{"pipelines/copy.yaml": COPY})


def rows(project, columns="*"):
    with closing(sqlite3.connect(project / "out/copy.db")) as connection:
        return connection.execute(f"SELECT {columns} FROM reviews ORDER BY review_id").fetchall()


def test_the_records_are_loaded_as_they_are(project):
    checked = loom(project, "validate", "copy")
    assert checked.returncode == 0, checked.stdout
    assert "Prompts" not in checked.stdout
    done = loom(project, "run", "copy")
    assert done.returncode == 0, done.stderr
    assert "Transform:" not in done.stdout.partition("Cost:")[0]
    assert rows(project) == [
        ("r-1", "This is great", "positive"),
        ("r-2", "It is broken and bad", "negative"),
        ("r-3", "I love it", "positive"),
        ("r-4", "I hate the reports", "negative"),
    ]
    run = Project(project).get_run("latest")
    assert (run.config.model, run.config.prompt_blob, run.cost.total) == ("", None, 0.0)
    again = json.loads(loom(project, "run", "copy", "--json").stdout)["results"]
    assert (again["unchanged"], again["inserted"]) == (4, 0)
    shown = loom(project, "runs", "show", "latest").stdout
    assert "Model:" not in shown
    assert "Prompt:" not in shown


def test_the_records_are_evaluated_and_rejected(project):
    write(project, {"pipelines/copy.yaml": COPY + EVALUATED})
    done = loom(project, "run", "copy", "--json")
    results = json.loads(done.stdout)["results"]
    assert (results["records_validated"], results["records_rejected"]) == (1, 3)
    assert rows(project, "review_id") == [("r-3",)]


def test_built_in_evaluators_judge_batches_like_single_records(project):
    write(project, {"pipelines/copy.yaml": COPY + EVALUATED})
    assert loom(project, "run", "copy").returncode == 0
    own = "evaluate:\n  evaluators:\n    - {name: length, type: 'app/judge.py:judge'}\n"
    judge = """\
async def judge(output, record):
    length = len(output["review"])
    reason = f"{length} characters" + ("" if length <= 12 else " > 12")
    return float(length <= 12), reason
"""
    commit(project, {"pipelines/copy.yaml": COPY + own, "app/judge.py": judge})
    assert loom(project, "run", "copy").returncode == 0
    ids = [run["uid"] for run in json.loads(loom(project, "runs", "list", "--json").stdout)["runs"]]
    second, first = (
        list(map(json.loads, (project / f".loom/records/{uid}.jsonl").read_text().splitlines()))
        for uid in ids
    )
    for line in (*first, *second):
        for name in ("case_key", "def", "reasons", "failure"):
            line.pop(name, None)
    assert first == second


@pytest.mark.parametrize(
    ("load", "columns"),
    [
        ("  include: [expected]\n", ["review_id", "review", "expected"]),
        ("  lineage_columns: true\n", ["review_id", "review", "expected", "_loom_run_id",
                                       "_loom_record_key"]),
        ("  schema: {review: string}\n", ["review_id", "review"]),
    ],
)  # fmt: skip
def test_the_settings_of_the_load_apply(project, load, columns):
    write(project, {"pipelines/copy.yaml": COPY + load})
    assert loom(project, "run", "copy").returncode == 0
    with closing(sqlite3.connect(project / "out/copy.db")) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(reviews)")]
    assert names == columns


def test_a_record_that_does_not_fit_the_schema_fails(project):
    write(project, {"pipelines/copy.yaml": COPY + "  schema: {review: integer}\n"})
    done = loom(project, "run", "copy")
    assert done.returncode == 1
    assert "load.schema" in done.stderr


def test_the_other_commands_know_such_a_pipeline(project):
    commit(project, {"pipelines/copy.yaml": COPY + EVALUATED})
    assert "Total Estimated Cost: $0.00" in loom(project, "cost", "copy", "--dry-run").stdout
    assert loom(project, "run", "copy").returncode == 0
    assert loom(project, "log", "pipelines/copy.yaml").returncode == 0
    assert loom(project, "report", "--html", str(project / "report.html")).returncode == 0
    assert loom(project, "compare", "HEAD~1", "--run-missing").returncode in (0, 1)


def test_prompt_tests_of_such_a_pipeline_test_its_records(project):
    test = """\
pipeline: copy
unit_tests:
  - {name: short, input: {review_id: x, review: "I love it"}, expected: {review: "I love it"}}
  - {name: long, input: {review_id: y, review: "This is too long for the check"}}
"""
    commit(project, {"pipelines/copy.yaml": COPY + EVALUATED, "tests/copy_test.yaml": test})
    done = loom(project, "test", "copy")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "short" in done.stdout
    assert "long" in done.stdout


TABLE = "review_id TEXT PRIMARY KEY, review TEXT NOT NULL"
DESTINATIONS = {
    "sqlite": "sqlite://out/copy.db/reviews",
    "postgres": "postgres://here/reviews",
    "csv": "out/reviews.csv",
    "parquet": "out/reviews.parquet",
}


@pytest.fixture
def existing(request, tmp_path, monkeypatch):
    """Return a function that makes a project with a destination that exists and some records."""
    kind = request.param

    def make(rows, table=TABLE):
        files = {
            "pipelines/copy.yaml": COPY.replace("sqlite://out/copy.db/reviews", DESTINATIONS[kind])
            .replace("reviews.csv", "reviews.jsonl", 1)
            .replace("load:", "  key: review_id\nload:"),
            "data/reviews.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            ".loom/config.yaml": "connections: {here: '${HERE_URL:-postgres://none/none}'}\n",
        }
        project = make_project(tmp_path / "existing", **files)
        (project / "out").mkdir()
        if kind == "sqlite":
            with closing(sqlite3.connect(project / "out/copy.db")) as connection:
                connection.execute(f"CREATE TABLE reviews ({table})")
        elif kind == "postgres":
            monkeypatch.setenv("HERE_URL", request.getfixturevalue("database"))
            request.getfixturevalue("run_sql")(f"CREATE TABLE reviews ({table})")
        elif kind == "csv":
            (project / "out/reviews.csv").write_text("review_id,review\nr-0,x\n")
        else:
            path = project / "out/reviews.parquet"
            duckdb.sql(f"COPY (SELECT 'r-0' review_id, 'x' review) TO '{path}'")
        return project

    return make


PLAIN = [{"review_id": f"r-{number}", "review": "x"} for number in range(1, 30)]


@pytest.mark.parametrize("existing", DESTINATIONS, indirect=True)
def test_a_column_that_every_record_needs_is_missing(existing):
    project = existing([{**row, "stars": 5} for row in PLAIN])
    for command in ("validate", "run"):
        done = loom(project, command, "copy")
        assert done.returncode == 2
        assert "no column 'stars'" in done.stdout + done.stderr
        assert "pipelines/copy.yaml:6:3: load.destination: " in done.stdout + done.stderr


@pytest.mark.parametrize("existing", DESTINATIONS, indirect=True)
def test_a_column_that_one_record_needs_costs_only_this_record(existing):
    project = existing([*PLAIN, {"review_id": "r-99", "review": "x", "stars": 5}])
    assert loom(project, "validate", "copy").returncode == 0
    results = json.loads(loom(project, "run", "copy", "--json").stdout)["results"]
    assert (results["records_loaded"], results["records_rejected"]) == (29, 1)


@pytest.mark.parametrize("existing", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("bad", [{"review": None}, {}])
def test_a_not_null_column_is_filled_by_the_records(existing, bad):
    project = existing([{"review_id": "r-0", **bad}, *PLAIN])
    assert loom(project, "validate", "copy").returncode == 0
    results = json.loads(loom(project, "run", "copy", "--json").stdout)["results"]
    assert (results["records_loaded"], results["records_rejected"]) == (29, 1)


@pytest.mark.parametrize("existing", ["sqlite", "postgres"], indirect=True)
def test_a_not_null_column_that_no_record_has(existing):
    project = existing(PLAIN, TABLE + ", stars INTEGER NOT NULL")
    for command in ("validate", "run"):
        done = loom(project, command, "copy")
        assert done.returncode == 2
        assert "needs a value in column 'stars' (NOT NULL)" in done.stdout + done.stderr


def test_a_misspelt_transform_is_an_error(project):
    write(project, {"pipelines/copy.yaml": COPY + "transfrom: {prompt: prompts/classify.txt}\n"})
    done = loom(project, "run", "copy")
    assert done.returncode == 2
    assert "pipelines/copy.yaml:6:1" in done.stderr
    assert "did you mean 'transform'?" in done.stderr


def test_a_judge_needs_a_model_of_its_own(project):
    judged = """\
evaluate:
  evaluators:
    - {type: custom_criteria, criteria: "is polite"}
"""
    write(project, {"pipelines/copy.yaml": COPY + judged})
    done = loom(project, "run", "copy")
    assert done.returncode == 2
    assert "judge" in done.stderr


CONFIG = "connections: {here: '${HERE_URL}'}\n"
BETWEEN = """\
name: copy
extract: {source: postgres://here/source, key: id}
load: {destination: postgres://here/target}
"""


@pytest.fixture
def tables(tmp_path, database, run_sql, monkeypatch):
    monkeypatch.setenv("HERE_URL", database)
    run_sql("CREATE TABLE source (id text, n integer, data jsonb)")
    run_sql("CREATE TABLE target (id text PRIMARY KEY, n integer CHECK (n <> 777), data jsonb)")
    files = {"pipelines/copy.yaml": BETWEEN, ".loom/config.yaml": CONFIG}
    return make_project(tmp_path / "tables", **files)


def test_rows_travel_from_postgresql_to_postgresql_in_batches(tables, run_sql):
    run_sql("INSERT INTO source SELECT 'r-' || n, n, NULL FROM generate_series(1, 25000) n")
    run_sql("UPDATE source SET id = NULL WHERE n = 5000; UPDATE source SET id = 'r-1' WHERE n = 2")
    run_sql("UPDATE source SET data = '9007199254740993123456789' WHERE n = 12000")
    done = loom(tables, "run", "copy", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    results = run["results"]
    assert results["records_processed"] == 25000
    assert results["records_rejected"] == 3  # a check, a missing key, a number beyond 64 bits
    assert (results["inserted"], results["duplicates"]) == (24996, 1)
    assert run_sql("SELECT count(*), sum(n) FROM target") == [
        (24996, 25000 * 25001 // 2 - 5000 - 12000 - 777 - 1)
    ]
    lines = (tables / ".loom" / run["records"]["path"]).read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert sorted(record["index"] for record in records) == list(range(25000))
    failed = {record["key"]: record["failure"]["stage"] for record in records if
              "failure" in record}  # fmt: skip
    assert failed["r-777"] == "load"
    assert sorted(failed.values()) == ["extract", "extract", "load"]
    again = json.loads(loom(tables, "run", "copy", "--json").stdout)["results"]
    # The first of the two rows with the key r-1 changes the row that the last run has loaded.
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 1, 24995)


def test_a_killed_copy_is_resumed_with_each_row_once(tables, run_sql):
    run_sql("INSERT INTO source SELECT 'r-' || n, n + 1000, NULL FROM generate_series(1, 60000) n")
    run_sql("ALTER TABLE target DROP CONSTRAINT target_pkey")
    write(tables, {"pipelines/copy.yaml": BETWEEN.replace("target}", "target, mode: append}")})
    process = subprocess.Popen([sys.executable, "-m", "loomgit", "run", "copy", "-q"], cwd=tables)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if run_sql("SELECT count(*) FROM target") != [(0,)]:
            break
    process.kill()
    process.wait(timeout=60)
    done = loom(tables, "run", "copy", "--resume", "latest", "--json")
    assert done.returncode == 0, done.stderr
    assert run_sql("SELECT count(*), count(DISTINCT id) FROM target") == [(60000, 60000)]
    assert json.loads(done.stdout)["results"]["records_loaded"] == 60000
