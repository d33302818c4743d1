"""What `loom validate` reports in one pass, and `loom run` and `loom test` refuse before a call."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests import processes
from tests.command import loom
from tests.projects import PIPELINE, PROMPT, make_project

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
        "'review' and 'Review' differ only in upper and lower case",
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
        "'review' and 'Review' differ only in upper and lower case",
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
    "an included field that the output has too": (
        {P: changed((LOAD, f"{LOAD}  include: [sentiment]\n"))},
        "",
        "load.include: the output has a field 'sentiment' too",
        18,
    ),
    "a schema of another type": (
        {P: changed((LOAD, f"{LOAD}  schema: {{properties: {{sentiment: {{type: integer}}}}}}\n"))},
        "",
        "load.schema: 'sentiment' is integer, but the output declares string",
        18,
    ),
    "a reference without a value": (
        {"data/reviews.csv": "review_id,review,expected\nr-1,great,\nr-2,bad,\n"},
        "",
        "'label': no record has a value in 'expected'",
        12,
    ),
    "a reference for another field": (
        {
            P: changed((f", {REFERENCE}", "")),
            "data/reviews.csv": "review_id,review,expected_other\nr-1,great,x\n",
        },
        "",
        "'label': the records have no reference to compare with",
        12,
    ),
    "a fallback that does not fit": (
        {
            P: changed(
                (
                    LOAD,
                    f"{LOAD}  schema: {{sentiment: string}}\n  on_failure: fallback\n"
                    "  fallback: {value: {sentiment: 5}}\n",
                )
            )
        },
        "",
        "does not fit load.schema: sentiment: 5 is not of type",
        20,
    ),
    "a fallback with a missing prompt": (
        {
            P: changed(
                (LOAD, f"{LOAD}  on_failure: fallback\n  fallback: {{prompt: prompts/nope.txt}}\n")
            )
        },
        "",
        "prompts/nope.txt",
        19,
    ),
    "a query of a column that is missing": (
        {P: changed(("  key: review_id", '  key: review_id\n  query: "SELECT nope FROM data"'))},
        "",
        '"nope" not found',
        6,
    ),
    "no judge beside the embedded model": (
        {P: changed(("exact_match", "semantic"))},
        "",
        "semantic needs a judge model",
        12,
    ),
    "no judge beside a name that the embedded model answers": (
        {
            P: changed(
                ("exact_match", "semantic"), ("transform:\n", "transform:\n  model: mine\n")
            ),
            ".loom/config.yaml": "models: {mine: {lane: embedded}}\n",
        },
        "",
        "semantic needs a judge model",
        13,
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


def run_tests(project, *arguments):
    """`loom test` in a process of its own: pytest does not run inside of pytest."""
    return processes.run("loomgit", "test", *arguments, cwd=project, env=dict(os.environ))


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


def test_an_error_during_collection_is_not_an_interrupt(tmp_path):
    project = make_project(tmp_path / "project", **{T: SUITE})
    (project / "test_broken.py").write_text("import nothing_of_this_name\n")
    done = run_tests(project, "--", "test_broken.py")
    assert done.returncode == 2
    assert "nothing_of_this_name" in done.stdout + done.stderr
    assert "stopping" not in done.stderr


LATE = {
    P: changed(("reviews.csv", "reviews.jsonl"), (LOAD, f"{LOAD}  include: [late]\n")),
    "data/reviews.jsonl": "".join(
        json.dumps({"review_id": f"r-{number}", "review": "great", "expected": "positive"}) + "\n"
        for number in range(1005)
    )
    + '{"review_id": "last", "review": "great", "expected": "positive", "late": 5}\n',
}
OWN = {
    P: changed(("exact_match", '"checks/own.py:score"'), ("field: sentiment", "field: review")),
    "checks/own.py": "def score(output, record):\n    return 1.0\n",
}


GUARDED = {
    "prompts/classify.txt": PROMPT
    + "{{ input.get('zz', '') }}{% for name in input.keys() %}{% endfor %}"
    "{% if 'yy' in input %}{{ input.yy }}{% endif %}"
    "{% if input.xx is defined %}{{ input.xx }}{% include 'part.txt' %}{% endif %}"
    "{% if input.get('ww') %}{{ input.ww }}{% endif %}"
    "{% if 'vv' in input.keys() %}{{ input['vv'] }}{% endif %}\n",
    "prompts/part.txt": "{{ input.xx }}",
}


SPACES = {
    P: changed(
        ("key: review_id", 'key: " review_id"'),
        ("reference_field: expected", 'reference_field: " expected "'),
        (LOAD, f'{LOAD}  include: [" expected "]\n'),
    ),
    "data/reviews.csv": " review_id,review, expected \nr-1,This is great,positive\n",
}
RUNNING = {"late": LATE, "own": OWN, "guarded": GUARDED, "spaces": SPACES, "plain": {}}


@pytest.mark.parametrize("files", RUNNING.values(), ids=RUNNING)
def test_what_runs_is_valid(tmp_path, files):
    project = make_project(tmp_path / "project", **{T: SUITE, **files})
    checked = loom(project, "validate", "demo")
    assert checked.returncode == 0, checked.stdout
    assert loom(project, "run", "demo").returncode == 0


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_key_that_is_there_already_fills_no_column_where_rows_are_added(tmp_path, mode):
    project = make_project(tmp_path / "project", **{P: changed((LOAD, f"{LOAD}  mode: {mode}\n"))})
    (project / "out").mkdir()
    with closing(sqlite3.connect(project / "out/demo.db")) as connection:
        connection.execute(
            "CREATE TABLE scores (review_id TEXT PRIMARY KEY, sentiment TEXT, confidence REAL, "
            "who TEXT NOT NULL)"
        )
        connection.execute("INSERT INTO scores VALUES ('r-1', 'positive', 1, 'x')")
        connection.commit()
    assert "column 'who' (NOT NULL)" in loom(project, "validate", "demo").stdout


def test_an_upsert_may_update_rows_whose_other_columns_are_filled(tmp_path):
    project = make_project(tmp_path / "project")
    (project / "out").mkdir()
    with closing(sqlite3.connect(project / "out/demo.db")) as connection:
        connection.execute(
            "CREATE TABLE scores (review_id TEXT PRIMARY KEY, sentiment TEXT, confidence REAL, "
            "who TEXT NOT NULL)"
        )
        connection.executemany(
            "INSERT INTO scores VALUES (?, NULL, NULL, 'x')", [(f"r-{n}",) for n in range(1, 5)]
        )
        connection.commit()
    assert loom(project, "validate", "demo").returncode == 0
    assert loom(project, "run", "demo").returncode == 0


def test_files_are_looked_for_beside_faults_of_the_schema(tmp_path):
    text = changed(("classify.txt", "clasify.txt"), ("version: 1.0.0", "versoin: 1.0.0"))
    text = text.replace("reviews.csv", "review.csv").replace("exact_match", "checks/no.py:f")
    project = make_project(tmp_path / "project", **{P: text})
    done = loom(project, "validate", "demo", "--json")
    (document,) = json.loads(done.stdout)["pipelines"]
    places = {(each["file"], each["line"]) for each in document["problems"]}
    assert {(P, 2), (P, 4), (P, 7), (P, 13)} <= places, document["problems"]


def test_run_reports_contradictions_and_missing_files_together(tmp_path):
    text = changed(("classify.txt", "clasify.txt"), (LOAD, f"{LOAD}  on_failure: fallback\n"))
    done = loom(make_project(tmp_path / "project", **{P: text}), "run", "demo", "--json")
    lines = [each["line"] for each in json.loads(done.stdout)["error"]["problems"]]
    assert lines == [18, 7]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "demo", "--limit", "0"],
        ["run", "demo", "--bogus"],
        ["run", "demo", "--execution-date", "zz"],
        ["schema", "zz"],
        ["bogus"],
        ["runs", "zz"],
    ],
)
def test_a_usage_error_is_a_document_too(tmp_path, arguments):
    project = make_project(tmp_path / "project")
    done = subprocess.run(
        [sys.executable, "-m", "loomgit", *arguments, "--json"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    (problem,) = json.loads(done.stdout)["error"]["problems"]
    assert problem["message"]
    assert problem["file"] is problem["line"] is problem["column"] is None


def test_validate_takes_the_values_of_a_run(tmp_path):
    text = changed(
        (
            "  key: review_id",
            "  key: review_id\n  query: \"SELECT * FROM data WHERE review_id <> '{}'"
            ' AND review_id <> {{ vars.x }}"',
        )
    )
    project = make_project(
        tmp_path / "project", **{P: text, "prompts/classify.txt": "{{ input.review }} {{ vars.y }}"}
    )
    assert "vars.x" in loom(project, "validate", "demo").stdout
    missing = loom(project, "validate", "demo", "--vars", "x=r-1")
    assert "vars.y" in missing.stdout
    given = loom(project, "validate", "demo", "--vars", "x=r-1", "--vars", "y=2")
    assert given.returncode == 0, given.stdout
