"""Rows that cannot be kept exactly, and keys without a value, as `loom run` reports them."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project

JSONL = PIPELINE.replace("data/reviews.csv", "data/reviews.jsonl")
GOOD = '{"review_id": "r-1", "review": "This is great", "expected": "positive"}'
BAD = {
    "an integer": '{"review_id": 18446744073709551616, "review": "bad"}',
    "a key twice": '{"review_id": "r-2", "review": "bad", "review": "good"}',
    "deep": '{"review_id": "r-2", "review": "bad", "d": ' + "[" * 300 + "]" * 300 + "}",
    "half a character": '{"review_id": "r-2", "review": "\\ud83d"}',
    "no key": '{"review_id": null, "review": "bad"}',
    "an empty key": '{"review_id": "", "review": "bad"}',
}


@pytest.mark.parametrize("query", ["", '  query: "SELECT * FROM data"\n'])
@pytest.mark.parametrize("kind", BAD)
def test_a_row_that_cannot_be_kept_costs_only_itself(tmp_path, kind, query):
    pipeline = JSONL.replace("  key: review_id\n", f"  key: review_id\n{query}")
    files = {
        "pipelines/demo.yaml": pipeline,
        "data/reviews.jsonl": f"{GOOD}\n{BAD[kind]}\n{GOOD}\n",
    }
    project = make_project(tmp_path / "project", **files)
    done = loom(project, "run", "demo", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["results"]["records_processed"] == 3
    (entry,) = [
        json.loads(line)
        for line in (project / ".loom/state/quarantine/demo.jsonl").read_text().splitlines()
    ]
    assert entry["stage"] == "extract"
    if "key" not in kind or kind == "a key twice":
        assert entry["reason"].startswith("data/reviews.jsonl:2: ")
        assert entry["record"]["text"] == BAD[kind]
    else:
        assert "has no value in its key field 'review_id'" in entry["reason"]
    with closing(sqlite3.connect(project / "out/demo.db")) as connection:
        assert connection.execute("SELECT review_id FROM scores").fetchall() == [("r-1",)]


@pytest.mark.parametrize("url", ["sqlite://out/o.db/t", "out/o.csv", "out/o.parquet"])
def test_an_empty_extract_after_records_with_a_key_of_their_own(tmp_path, url):
    pipeline = PIPELINE.replace("  key: review_id\n", "").replace(
        "sqlite://out/demo.db/scores", url
    )
    project = make_project(tmp_path / "project", **{"pipelines/demo.yaml": pipeline})
    assert loom(project, "run", "demo").returncode == 0
    source = project / "data/reviews.csv"
    source.write_text(source.read_text().splitlines()[0] + "\n")
    assert loom(project, "validate", "demo").returncode == 0
    done = loom(project, "run", "demo")
    assert (done.returncode, done.stderr) == (0, "warning: the source has no records\n")


def test_the_summary_counts_refused_rows_where_they_are_read(tmp_path):
    files = {"pipelines/demo.yaml": JSONL, "data/reviews.jsonl": f"{GOOD}\n{BAD['deep']}\n"}
    done = loom(make_project(tmp_path / "project", **files), "run", "demo")
    assert "Extract:   ❌ 2 records, 1 of them refused" in done.stdout


def test_tests_name_a_row_that_they_cannot_use(tmp_path):
    files = {"pipelines/demo.yaml": JSONL, "data/reviews.jsonl": f"{GOOD}\n{BAD['a key twice']}\n"}
    files["tests/demo_test.yaml"] = (
        "pipeline: demo\ndataset: data/reviews.jsonl\ndistributional_tests:\n"
        "  - {name: q, type: statistical, sample_size: 2,\n"
        "     assertions: ['mean(scores.label) > 0.1']}\n"
    )
    done = loom(make_project(tmp_path / "project", **files), "test")
    assert done.returncode == 1
    assert (
        "data/reviews.jsonl:2: has the key 'review' twice in one object"
        in done.stdout + done.stderr
    )
