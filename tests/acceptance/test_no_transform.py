"""Pipelines without a transform: the record is the output."""

import json
import sqlite3
from contextlib import closing

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
    assert loom(project, "report", "--html", "report.html").returncode == 0
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
