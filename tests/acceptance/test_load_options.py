"""`load.evolve` and `load.fallback: extractive`, as a user runs them."""

import csv
import json
import sqlite3
from contextlib import closing

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project

P = "pipelines/demo.yaml"
SCORES = "sqlite://out/demo.db/scores"
EVOLVE = "  evolve: add\n"
INCLUDE = "  include: [review]\n  lineage_columns: true\n"


def project_with(tmp_path, text, **files):
    return make_project(tmp_path / "project", **{P: text, **files})


def problems(done):
    return json.loads(done.stdout)["error"]["problems"]


@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
@pytest.mark.parametrize("destination", [SCORES, "out/scores.csv", "out/scores.parquet"])
def test_new_columns_are_refused_and_then_added(tmp_path, destination, mode):
    text = f"{PIPELINE.replace(SCORES, destination)}  mode: {mode}\n"
    project = project_with(tmp_path, text)
    assert loom(project, "run", "demo").returncode == 0
    (project / P).write_text(text + INCLUDE)
    refused = loom(project, "run", "demo", "--json")
    if mode == "replace" and destination != SCORES:
        assert refused.returncode == 0, "a replaced file has the new columns anyway"
        return
    assert refused.returncode == 2
    (problem,) = problems(refused)
    assert (problem["file"], problem["line"]) == (P, 17)
    assert "no column 'review'" in problem["message"]
    assert "`load.evolve: add` adds the column" in problem["hint"]
    (project / P).write_text(text + INCLUDE + EVOLVE)
    checked = loom(project, "validate", "demo")
    assert checked.returncode == 0, checked.stdout
    done = loom(project, "run", "demo", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    if mode == "upsert":
        assert (results["inserted"], results["updated"]) == (0, 4)
    else:
        assert results["inserted"] == 4
    names = ("review_id", "sentiment", "confidence", "review", "_loom_run_id", "_loom_record_key")
    if destination == SCORES:
        with closing(sqlite3.connect(project / "out/demo.db")) as connection:
            rows = connection.execute("SELECT * FROM scores WHERE review IS NOT NULL")
            assert {name for name, *_ in rows.description} == {*names}
            assert len(rows.fetchall()) == 4
    elif destination.endswith("csv"):
        with (project / destination).open(newline="") as file:
            first, *others = csv.reader(file)
        assert set(first) == {*names}
        assert len(others) == (8 if mode == "append" else 4)
    (project / P).write_text(text + INCLUDE)
    assert loom(project, "validate", "demo").returncode == 0, "the columns are there now"


def test_a_role_that_does_not_own_the_table_is_told_so(tmp_path, database, run_sql, monkeypatch):
    run_sql("DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    run_sql("CREATE TABLE scores (review_id text PRIMARY KEY, sentiment text, confidence float8); "
            "GRANT SELECT, INSERT, UPDATE ON scores TO writer; "
            "CREATE SCHEMA loom; GRANT USAGE, CREATE ON SCHEMA loom TO writer")  # fmt: skip
    monkeypatch.setenv("SHOP", database.replace("loom@", "writer@"))
    project = project_with(
        tmp_path,
        PIPELINE.replace(SCORES, "postgres://shop/scores") + EVOLVE + INCLUDE,
        **{".loom/config.yaml": 'connections: {shop: {url: "${SHOP}", loom_schema: loom}}\n'},
    )
    for command in ("validate", "run"):
        done = loom(project, command, "demo")
        assert done.returncode == 2
        assert "the role does not own table scores" in done.stdout + done.stderr
    run_sql("ALTER TABLE scores OWNER TO writer")
    done = loom(project, "run", "demo", "--json")
    assert json.loads(done.stdout)["results"]["inserted"] == 4
    assert run_sql("SELECT count(review), count(_loom_run_id) FROM scores") == [(4, 4)]
    run_sql("DROP OWNED BY writer")


# -- the extractive fallback

NOTES = (
    '{"id": 1, "note": "Great mill. The mill in Bergen burned. The fire at the mill was bad.", '
    '"expected": "negative"}\n'
    '{"id": 2, "note": "I love it.", "expected": "positive"}\n'
    '{"id": 3, "note": " ", "expected": "negative"}\n'
)
PROMPT = """\
Review: {{ input.note }}

Classify the sentiment as one of: positive, negative

{"sentiment": "positive|negative", "confidence": 0.9}
"""


def extracting(fallback="extractive", output="{sentiment: string, confidence: float?}"):
    text = PIPELINE.replace("reviews.csv", "notes.jsonl").replace("key: review_id", "key: id")
    text = text.replace("{sentiment: string, confidence: float}", output)
    return f"{text}  on_failure: fallback\n  fallback: {fallback}\n"


def notes_project(tmp_path, text):
    return project_with(
        tmp_path, text, **{"data/notes.jsonl": NOTES, "prompts/classify.txt": PROMPT}
    )


@pytest.mark.parametrize(
    ("fallback", "summary"),
    [
        ("extractive", "Great mill. The mill in Bergen burned. The fire at the mill was bad."),
        (
            "{type: extractive, field: note, output: sentiment, sentences: 2}",
            "The mill in Bergen burned. The fire at the mill was bad.",
        ),
    ],
)
def test_a_failed_record_is_loaded_with_sentences_of_its_text(tmp_path, fallback, summary):
    project = notes_project(tmp_path, extracting(fallback))
    (project / "data/notes.jsonl").write_text(NOTES.replace('"negative"', '"neither"'))
    checked = loom(project, "validate", "demo")
    assert checked.returncode == 0, checked.stdout
    done = loom(project, "run", "demo", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(done.stdout)
    lines = [
        json.loads(line)
        for line in (project / ".loom" / run["records"]["path"]).read_text("utf-8").splitlines()
    ]
    assert lines[0]["fallback"] is True
    with closing(sqlite3.connect(project / "out/demo.db")) as connection:
        rows = dict(connection.execute("SELECT id, sentiment FROM scores"))
        (confidence,) = connection.execute("SELECT confidence FROM scores WHERE id = 1").fetchone()
    assert rows[1] == summary
    assert confidence is None
    assert rows[2] == "positive"
    if "field" in fallback:
        assert 3 not in rows, "a record without text stays failed"
        assert run["results"]["records_fallback"] == 1


@pytest.mark.parametrize(
    ("fallback", "output", "message"),
    [
        ("extractive", "{sentiment: string, confidence: float}", "no value for the output field"),
        ("extractive", "{confidence: float?}", "no field for a text"),
        ("{type: extractive, output: summary}", "{sentiment: string}", "has no field 'summary'"),
        ("{type: extractive, field: body}", "{sentiment: string}", "have no field 'body'"),
        ("extractiv", "{sentiment: string}", "unknown fallback 'extractiv'"),
    ],
)
def test_a_fallback_that_cannot_work_is_reported_before_the_run(
    tmp_path, fallback, output, message
):
    text = extracting(fallback, output)
    if "confidence: float?" in output and "sentiment" not in output:
        text = text.replace("field: sentiment", "field: confidence")
    project = notes_project(tmp_path, text)
    for command in ("validate", "run"):
        done = loom(project, command, "demo", "--json")
        assert done.returncode == 2, done.stdout
        document = json.loads(done.stdout)
        found = problems(done) if command == "run" else document["pipelines"][0]["problems"]
        (problem,) = [each for each in found if message in each["message"]]
        assert (problem["file"], problem["line"]) == (P, 19)


def test_the_schema_for_editors_has_the_options(tmp_path):
    schema = json.loads(loom(project_with(tmp_path, PIPELINE), "schema", "pipeline").stdout)
    text = json.dumps(schema)
    assert '"extractive"' in text
    assert '"evolve"' in text
