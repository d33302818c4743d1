"""What `loom validate` reports in one pass, and `loom run` and `loom test` refuse before a call."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project

P, T = "pipelines/demo.yaml", "tests/demo_test.yaml"
SUITE = """\
pipeline: demo
unit_tests:
  - name: plain
    input: {review: I love it}
    expected: {sentiment: positive}
"""


def changed(*pairs):
    text = PIPELINE
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


LOAD = "  destination: sqlite://out/demo.db/scores\n"
REFERENCE = "reference_field: expected"
JSONL = {
    "data/reviews.jsonl": '{"review_id": "r-1", "review": "a", "Review": "b", "expected": "c"}\n'
}

# What is wrong, the files, the table at the destination, a part of the message, the line.
CASES = {
    "a key in another case": (
        {P: changed(("key: review_id", "key: Review_ID"))},
        "",
        "Review_ID",
        5,
    ),
    "no fallback": (
        {P: changed((LOAD, f"{LOAD}  on_failure: fallback\n"))},
        "",
        "load.fallback",
        18,
    ),
    "a required field that the output lacks": (
        {P: changed((LOAD, f"{LOAD}  schema: {{type: object, required: [label]}}\n"))},
        "",
        "the output has no field 'label'",
        18,
    ),
    "an evaluator of a field that the output lacks": (
        {P: changed(("field: sentiment,", "field: sentimnt,"))},
        "",
        "'label': the output has no field 'sentimnt'",
        12,
    ),
    "a reference that no record has": (
        {P: changed((REFERENCE, "reference_field: label"))},
        "",
        "'label': the records have no field 'label'",
        12,
    ),
    "no reference at all": (
        {
            P: changed((f", {REFERENCE}", "")),
            "data/reviews.csv": "review_id,review\nr-1,great\n",
        },
        "",
        "'label': the records have no reference to compare with",
        12,
    ),
    "an included field that no record has": (
        {P: changed((LOAD, f"{LOAD}  include: [reviewer]\n"))},
        "",
        "load.include: the records have no field 'reviewer'",
        18,
    ),
    "names that differ in case": (
        {
            P: changed(
                ("reviews.csv", "reviews.jsonl"), (LOAD, f"{LOAD}  include: [review, Review]\n")
            ),
            **JSONL,
        },
        "",
        "'review' and 'Review' differ in upper and lower case only",
        17,
    ),
    "names that differ in case, in Parquet": (
        {
            P: changed(
                ("reviews.csv", "reviews.jsonl"),
                (LOAD, "  destination: out/o.parquet\n  include: [review, Review]\n"),
            ),
            **JSONL,
        },
        "",
        "'review' and 'Review' differ in upper and lower case only",
        17,
    ),
    "a NOT NULL column that nothing fills": (
        {},
        "review_id TEXT PRIMARY KEY, sentiment TEXT, confidence REAL, who TEXT NOT NULL",
        "needs a value in column 'who' (NOT NULL)",
        17,
    ),
    "a STRICT column of another type": (
        {},
        "review_id TEXT PRIMARY KEY, sentiment INTEGER, confidence REAL) STRICT",
        "cannot store TEXT in INTEGER column",
        17,
    ),
    "a column that is missing": (
        {P: changed((LOAD, f"{LOAD}  include: [review]\n"))},
        "review_id TEXT PRIMARY KEY, sentiment TEXT, confidence REAL",
        "no column 'review'",
        17,
    ),
    "an integer key": (
        {},
        "review_id INTEGER PRIMARY KEY, sentiment TEXT, confidence REAL",
        "integer key",
        17,
    ),
    "a missing prompt": (
        {P: changed(("classify.txt", "clasify.txt"))},
        "",
        "prompts/clasify.txt",
        7,
    ),
    "a missing context": ({P: changed(("taxonomy.md", "taxonmy.md"))}, "", "context/taxonmy.md", 8),
    "a missing source": ({P: changed(("reviews.csv", "review.csv"))}, "", "data/review.csv", None),
    "a missing evaluator file": (
        {P: changed(("exact_match", "checks/rules.py:right"))},
        "",
        "checks/rules.py",
        12,
    ),
}


@pytest.fixture
def broken(tmp_path, request):
    files, table, message, line = CASES[request.param]
    project = make_project(tmp_path / "project", **{T: SUITE, **files})
    if table:
        (project / "out").mkdir()
        with closing(sqlite3.connect(project / "out/demo.db")) as connection:
            connection.execute(f"CREATE TABLE scores ({table}" + ("" if "STRICT" in table else ")"))
            connection.commit()
    return project, message, line


def run_tests(project):
    """`loom test` in a process of its own: pytest does not run inside of pytest."""
    return subprocess.run(
        [sys.executable, "-m", "loomgit", "test"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def problem_of(document, message):
    return next(each for each in document if message in each["message"])


@pytest.mark.parametrize("broken", CASES, indirect=True)
def test_validate_reports_it_and_run_refuses_it_before_any_call(broken):
    project, message, line = broken
    checked = loom(project, "validate", "demo", "--json")
    assert checked.returncode == 2, checked.stdout
    (document,) = json.loads(checked.stdout)["pipelines"]
    problem = problem_of(document["problems"], message)
    if line is not None:
        assert (problem["file"], problem["line"]) == (P, line)
        assert problem["column"] >= 1
    ran = loom(project, "run", "demo", "--json")
    assert ran.returncode == 2
    refused = json.loads(ran.stdout)
    assert problem_of(refused["error"]["problems"], message)
    assert "calls" not in refused


@pytest.mark.parametrize(
    "broken",
    [
        "no fallback",
        "a required field that the output lacks",
        "a missing prompt",
        "an evaluator of a field that the output lacks",
        "a missing evaluator file",
    ],
    indirect=True,
)
def test_test_refuses_it_too(broken):
    project, message, _ = broken
    done = run_tests(project)
    assert done.returncode in (1, 2)
    assert message in done.stdout + done.stderr
