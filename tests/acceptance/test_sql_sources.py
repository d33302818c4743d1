"""Pipelines that read a database through SQLAlchemy, as a user runs them."""

import json
import sqlite3
import sys

import duckdb
import pytest

from tests.command import loom
from tests.projects import PIPELINE, REVIEWS, make_project
from tests.repos import commit, git

TEXT = PIPELINE.replace("source: data/reviews.csv", "source: duckdb://shop/reviews").replace(
    "  key: review_id",
    """\
  query: "SELECT * FROM reviews WHERE created_at > {{ execution_date }}"
  key: review_id""",
)
CONFIG = "connections: {shop: 'duckdb:///data/shop.duckdb'}\n"
DAY = ("--execution-date", "2026-01-01")


@pytest.fixture
def project(tmp_path):
    files = {"pipelines/demo.yaml": TEXT, ".loom/config.yaml": CONFIG}
    project = make_project(tmp_path / "project", **files)
    with duckdb.connect(str(project / "data/shop.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE reviews (review_id VARCHAR, review VARCHAR, expected VARCHAR, "
            "created_at TIMESTAMP DEFAULT '2026-02-01')"
        )
        for line in REVIEWS.splitlines()[1:]:
            connection.execute("INSERT INTO reviews VALUES (?, ?, ?, DEFAULT)", line.split(","))
    return project


def test_a_pipeline_runs_from_a_database_that_sqlalchemy_reads(project, monkeypatch):
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")  # the path of the database refers to the project folder
    checked = loom(project, "validate", "demo", *DAY)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Source: duckdb://shop/reviews reachable" in checked.stdout
    done = loom(project, "run", "demo", *DAY, "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert (results["records_processed"], results["inserted"]) == (4, 4)
    with sqlite3.connect(project / "out/demo.db") as connection:
        assert len(connection.execute("SELECT * FROM scores").fetchall()) == 4
    connection.close()
    later = loom(project, "run", "demo", "--execution-date", "2026-03-01", "--json")
    assert json.loads(later.stdout)["results"]["records_processed"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("duckdb://shop", "duckdb://shp"), "'shp' is not configured"),
        (("FROM reviews", "FROM revews"), "Table with name revews does not exist"),
        (("  key: review_id", "  key: reviews"), "no column 'reviews'"),
        (("sqlite://out/demo.db", "duckdb://shop"), "duckdb:// is only available as a source"),
        (("sqlite://out/demo.db", "mysql://me:hunter2@h"), "mysql:// is only available as a"),
        (("SELECT * FROM reviews", "DELETE FROM reviews"), "must be a SELECT statement"),
    ],
)
def test_a_mistake_names_the_line_of_the_pipeline(project, change, words):
    path = project / "pipelines/demo.yaml"
    text = path.read_text("utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), "utf-8")
    for command in (("validate", "demo"), ("run", "demo")):
        done = loom(project, *command, *DAY)
        said = done.stdout + done.stderr
        assert done.returncode == 2, said
        assert words in said
        assert "pipelines/demo.yaml:" in said
        assert "Extract:" not in said  # no record is read
        assert "hunter2" not in said


def test_without_the_extra_both_commands_name_it(project, monkeypatch):
    for name in ("loomgit.rows.sql_source", "loomgit.rows.sql_connection",
                 "loomgit.rows.sql_statements"):  # fmt: skip
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    for command in (("validate", "demo"), ("run", "demo")):
        done = loom(project, *command, *DAY)
        assert done.returncode == 2
        (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "pip" in line)
        assert "duckdb databases need SQLAlchemy: pip install 'loom-aietl[sql]'" in line


CHANGES = {
    "nothing": ({}, ""),
    "the query": (
        {"pipelines/demo.yaml": TEXT.replace("SELECT *", "SELECT 1 AS x, *")},
        "it changes what it reads from duckdb://shop/reviews",
    ),
    "the connection": (
        {".loom/config.yaml": CONFIG.replace("data/shop", "/tmp/other")},
        "it changes connections in .loom/config.yaml",
    ),
    "the database": (
        {"pipelines/demo.yaml": TEXT.replace("duckdb://", "MySQL+pymysql://")},
        "it changes what it reads from MySQL+pymysql://shop/reviews",
    ),
    "a dialect that Loom does not know": (
        {
            "pipelines/demo.yaml": TEXT.replace("duckdb://", "teradatasql://"),
            ".loom/config.yaml": "connections: {shop: 'teradatasql://thief/x'}\n",
        },
        "it changes what it reads from teradatasql://shop/reviews",
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
