"""What is reported as loaded is in the destination."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.command import loom
from tests.comparisons import classify, with_transform
from tests.projects import PIPELINE, make_project
from tests.servers.openai_server import OpenAiServer, error

TRIGGER = "CREATE TRIGGER t BEFORE INSERT ON scores WHEN new.review_id IN ('r-2', 'r-4') "
TABLE = "CREATE TABLE scores (review_id TEXT PRIMARY KEY, sentiment TEXT, confidence REAL);"
KEEPING_OUT = {
    "a trigger": TABLE + TRIGGER + "BEGIN SELECT RAISE(IGNORE); END;",
    "a column": "CREATE TABLE scores (review_id TEXT PRIMARY KEY, "
    "sentiment TEXT UNIQUE ON\n CONFLICT IGNORE, confidence REAL);",
    "a trigger that writes elsewhere": TABLE + "CREATE TABLE log (x);" + TRIGGER
    + "BEGIN INSERT INTO log VALUES (1); INSERT INTO log VALUES (2); SELECT RAISE(IGNORE); END;",
}  # fmt: skip


def count(path):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT count(*) FROM scores").fetchone()[0]


@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
@pytest.mark.parametrize("sql", KEEPING_OUT.values(), ids=KEEPING_OUT)
def test_rows_that_the_destination_keeps_out_are_counted_as_that(tmp_path, sql, mode):
    text = PIPELINE.replace("load:\n", f"load:\n  mode: {mode}\n")
    project = make_project(tmp_path / "project", **{"pipelines/demo.yaml": text})
    (project / "out").mkdir()
    with closing(sqlite3.connect(project / "out/demo.db")) as db:
        db.executescript(sql)
    done = loom(project, "run", "demo", "--json")
    results = json.loads(done.stdout)["results"]
    there = count(project / "out/demo.db")
    assert there == 2
    assert results["records_loaded"] == results["inserted"] == there
    assert results["kept_out"] == 2
    shown = loom(project, "runs", "show", "latest").stdout
    assert "2 not stored by the destination" in shown


def test_a_row_that_a_trigger_does_not_update_is_kept_out(tmp_path):
    project = make_project(tmp_path / "project")
    (project / "out").mkdir()
    never = "CREATE TRIGGER t BEFORE UPDATE ON scores BEGIN SELECT RAISE(IGNORE); END;"
    with closing(sqlite3.connect(project / "out/demo.db")) as db:
        db.executescript(TABLE + never + "INSERT INTO scores VALUES ('r-1', 'other', 0.5);")
    results = json.loads(loom(project, "run", "demo", "--json").stdout)["results"]
    assert (results["inserted"], results["updated"], results["kept_out"]) == (3, 0, 1)


def test_without_such_rules_nothing_is_kept_out(tmp_path):
    project = make_project(tmp_path / "project")
    results = json.loads(loom(project, "run", "demo", "--json").stdout)["results"]
    assert (results["inserted"], results["kept_out"]) == (4, 0)
    assert "kept out" not in loom(project, "runs", "show", "latest").stdout


@pytest.mark.parametrize("destination", ["sqlite://out/demo.db/scores", "out/scores.jsonl"])
def test_no_record_is_called_loaded_if_nothing_was_replaced(tmp_path, destination):
    """A key that is refused in the middle ends the run."""

    def respond(request):
        if "I love it" in request["messages"][-1]["content"]:
            return error(401, "Incorrect API key provided")
        return classify(request)

    with OpenAiServer(respond=respond) as server:
        text = with_transform("model: m\n  concurrency: 1\n  batch_size: 1").replace(
            "  destination: sqlite://out/demo.db/scores",
            f"  destination: {destination}\n  mode: replace",
        )
        config = f"models:\n  m: {{base_url: '{server.url}', api_key: some-key-1}}\n"
        project = make_project(
            tmp_path / "project", **{"pipelines/demo.yaml": text, ".loom/config.yaml": config}
        )
        done = loom(project, "run", "demo")
    assert done.returncode == 2, done.stdout + done.stderr
    (path,) = (project / ".loom/records").glob("*.jsonl")
    statuses = [json.loads(line)["status"] for line in path.read_text().splitlines()]
    assert "loaded" not in statuses
    assert "passed" in statuses
    shown = json.loads(loom(project, "runs", "show", "latest", "--json").stdout)
    assert shown["results"]["records_loaded"] == 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]
