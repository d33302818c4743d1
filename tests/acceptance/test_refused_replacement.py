"""With `mode: replace`, rows that the database refuses are quarantined, and the others loaded."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project
from tests.repos import write

COPY = """\
name: demo
extract: {{source: data/items.jsonl, key: review_id}}
load:
  destination: {destination}
  mode: replace
"""
CONFIG = "connections: {shop: '${SHOP_URL:-postgres://none/none}'}\n"
DESTINATIONS = {"sqlite": "sqlite://out/demo.db/scores", "postgres": "postgres://shop/scores"}
BAD = "r-25"
OLD = [("old",)]

TABLE = "CREATE TABLE scores (review_id text PRIMARY KEY, review text, expected text, "
OUTPUT = "sentiment text, confidence real, value "
PLPGSQL = """
CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF new.value = 'bad' THEN RAISE EXCEPTION 'no bad values'; END IF; RETURN new; END $$;
CREATE TRIGGER complain BEFORE INSERT ON scores FOR EACH ROW EXECUTE FUNCTION complain();
"""
LABELS = "CREATE TABLE labels (name text PRIMARY KEY); INSERT INTO labels VALUES ('good');"
# For each kind of refusal: the definition of the column `value`, further statements, and the value
# of the bad row. The other rows have the value 'good', or a number if the column is numeric.
POSTGRES = {
    "NUL": ("text", "", "a\0b"),
    "CHECK": ("text CHECK (value <> 'bad')", "", "bad"),
    "NOT NULL": ("text NOT NULL", "", None),
    "foreign key": ("text REFERENCES labels", "", "bad"),
    "deferred foreign key": ("text REFERENCES labels DEFERRABLE INITIALLY DEFERRED", "", "bad"),
    "unique": ("bigint UNIQUE", "", 7),
    "deferred unique": ("bigint UNIQUE DEFERRABLE INITIALLY DEFERRED", "", 7),
    "overflow": ("smallint", "", 99_999),
    "type": ("bigint", "", "word"),
    "trigger": ("text", PLPGSQL, "bad"),
}
SQLITE = {
    "CHECK": ("text CHECK (value <> 'bad')", "", "bad"),
    "NOT NULL": ("text NOT NULL", "", None),
    "unique": ("integer UNIQUE", "", 7),
    "overflow": ("real", "", 2**53 + 1),
    "type": ("integer CHECK (typeof(value) = 'integer')", "", "word"),
    "trigger": (
        "text",
        "CREATE TRIGGER complain BEFORE INSERT ON scores WHEN new.value = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'no bad values'); END;",
        "bad",
    ),
}
CASES = [("postgres", name) for name in POSTGRES] + [("sqlite", name) for name in SQLITE]


def items(definition, bad, *, count=50):
    """The rows of the source: all are good, except the row BAD."""
    is_number = definition.split()[0] in ("bigint", "smallint", "integer", "real")
    rows = [
        {
            "review_id": f"r-{i}",
            "review": "This is great",
            "expected": "positive",
            "value": i if is_number else "good",
        }
        for i in range(count)
    ]
    rows[25]["value"] = bad
    return "".join(json.dumps(row) + "\n" for row in rows)


def text(destination, *, transform):
    if not transform:
        return COPY.format(destination=destination)
    return PIPELINE.replace("reviews.csv", "items.jsonl").replace(
        "  destination: sqlite://out/demo.db/scores",
        f"  destination: {destination}\n  mode: replace\n  include: [value]",
    )


class Bench:
    """A project with a table that contains one old row."""

    def __init__(self, folder, request, monkeypatch):
        self.folder, self.request, self.monkeypatch = folder, request, monkeypatch
        self.path = folder / "out/demo.db"

    def make(self, kind, definition, more, bad, *, transform=False):
        self.kind = kind
        if kind == "postgres":
            self.monkeypatch.setenv("SHOP_URL", self.request.getfixturevalue("database"))
        files = {
            "pipelines/demo.yaml": text(DESTINATIONS[kind], transform=transform),
            "data/items.jsonl": items(definition, bad),
            ".loom/config.yaml": CONFIG,
        }
        make_project(self.folder, **files)
        self.path.parent.mkdir()
        good = 100 if definition.split()[0] in ("bigint", "smallint", "integer", "real") else "good"
        table = f"{TABLE}{OUTPUT}{definition}); "
        self.sql((LABELS if "labels" in definition else "") + table + more)
        self.sql(f"INSERT INTO scores (review_id, value) VALUES ('old', '{good}')")

    def sql(self, statement):
        if self.kind == "postgres":
            return self.request.getfixturevalue("run_sql")(statement)
        with closing(sqlite3.connect(self.path)) as db, db:
            if statement.startswith("SELECT"):
                return db.execute(statement).fetchall()
            return db.executescript(statement) and None

    def keys(self):
        return {key for (key,) in self.sql("SELECT review_id FROM scores")}

    def lines(self):
        paths = (self.folder / ".loom/records").glob("*.jsonl")
        newest = max(paths, key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(line) for line in newest.read_text().splitlines()]

    def quarantine(self):
        path = self.folder / ".loom/state/quarantine/demo.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        return [(entry["record_key"], entry["stage"]) for entry in entries]


@pytest.fixture
def bench(tmp_path, request, monkeypatch):
    return Bench(tmp_path / "project", request, monkeypatch)


def case(kind, name):
    return (POSTGRES if kind == "postgres" else SQLITE)[name]


@pytest.mark.parametrize("transform", [True, False])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_refused_row_is_quarantined_and_the_others_are_loaded(bench, kind, name, transform):
    bench.make(kind, *case(kind, name), transform=transform)
    done = loom(bench.folder, "run", "demo", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    assert (results["records_loaded"], results["inserted"], results["duplicates"]) == (49, 49, 0)
    assert (results["records_validated"], results["records_rejected"]) == (49, 1)
    assert (results["records_failed"], sum(results["reasons"].values())) == (1, 1)
    assert bench.keys() == {f"r-{i}" for i in range(50)} - {BAD}
    statuses = {line["key"]: line["status"] for line in bench.lines()}
    assert statuses.pop(BAD) == "quarantined"
    assert set(statuses.values()) == {"loaded"}
    assert len(statuses) == 49
    assert bench.quarantine() == [(BAD, "load")]


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_the_cases_and_the_records_file_of_the_run_agree(bench, kind):
    bench.make(kind, *case(kind, "CHECK"), transform=True)
    run = json.loads(loom(bench.folder, "run", "demo", "--json").stdout)
    assert {case["id"]: case["passed"] for case in run["cases"]}[BAD] == 0
    assert sum(case["passed"] for case in run["cases"]) == 49
    assert loom(bench.folder, "runs", "show", "latest").returncode == 0
    line = next(line for line in bench.lines() if line["key"] == BAD)
    assert line["failure"]["stage"] == "load"
    assert run["results"]["reasons"] == {line["failure"]["reason"]: 1}


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_the_old_rows_stay_if_all_rows_are_refused(bench, kind):
    bench.make(kind, "text CHECK (value IN ('old', 'good'))", "", "bad")
    write(bench.folder, {"data/items.jsonl": items("text", "bad").replace("good", "bad")})
    done = loom(bench.folder, "run", "demo", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    run = json.loads(done.stdout)
    assert (run["results"]["status"], run["results"]["records_loaded"]) == ("failed", 0)
    assert "no record passed" in run["results"]["message"]
    assert bench.keys() == {"old"}
    assert {line["status"] for line in bench.lines()} == {"quarantined"}
    assert len(bench.quarantine()) == 50


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_nothing_is_replaced_if_too_many_rows_are_refused(bench, kind):
    bench.make(kind, *case(kind, "CHECK"))
    limited = text(DESTINATIONS[kind], transform=False) + "max_failure_rate: 0.01\n"
    write(bench.folder, {"pipelines/demo.yaml": limited})
    done = loom(bench.folder, "run", "demo", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "too many records fail: 2.0% > 1.0%" in done.stdout
    assert bench.keys() == {"old"}
    assert {line["status"] for line in bench.lines()} == {"quarantined", "passed"}


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_skipped_rows_are_counted(bench, kind):
    bench.make(kind, *case(kind, "CHECK"))
    skipping = text(DESTINATIONS[kind], transform=False) + "  on_failure: skip\n"
    write(bench.folder, {"pipelines/demo.yaml": skipping})
    results = json.loads(loom(bench.folder, "run", "demo", "--json").stdout)["results"]
    assert (results["records_loaded"], results["records_rejected"]) == (49, 1)
    statuses = [line["status"] for line in bench.lines()]
    assert (statuses.count("loaded"), statuses.count("skipped")) == (49, 1)
    assert not (bench.folder / ".loom/state/quarantine").exists()


FALLBACK = "  on_failure: fallback\n  fallback: {value: {sentiment: SENTIMENT, confidence: 0.0}}\n"
LABEL_CHECK = "text, CHECK (review_id <> 'r-25' OR sentiment IN ('none'))"


@pytest.mark.parametrize("kind", DESTINATIONS)
@pytest.mark.parametrize(("fallback", "loaded"), [("none", 50), ("worse", 49)])
def test_a_constant_fallback_row_is_loaded_or_quarantined(bench, kind, fallback, loaded):
    bench.make(kind, LABEL_CHECK, "", "good", transform=True)
    constant = text(DESTINATIONS[kind], transform=True) + FALLBACK.replace("SENTIMENT", fallback)
    write(bench.folder, {"pipelines/demo.yaml": constant})
    done = loom(bench.folder, "run", "demo", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    assert (results["records_loaded"], results["records_fallback"]) == (loaded, loaded - 49)
    assert (results["records_validated"], results["records_failed"]) == (49, 1)
    line = next(line for line in bench.lines() if line["key"] == BAD)
    assert line["status"] == ("loaded" if loaded == 50 else "quarantined")
    assert line["output"]["sentiment"] == fallback
    assert len(bench.keys()) == loaded
    labels = bench.sql("SELECT sentiment FROM scores WHERE review_id = 'r-25'")
    assert labels == ([("none",)] if loaded == 50 else [])


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_a_retry_is_not_possible_so_that_the_record_is_quarantined(bench, kind):
    bench.make(kind, *case(kind, "CHECK"), transform=True)
    retrying = text(DESTINATIONS[kind], transform=True) + "  on_failure: retry\n"
    write(bench.folder, {"pipelines/demo.yaml": retrying})
    assert json.loads(loom(bench.folder, "run", "demo", "--json").stdout)["cost"]["calls"] == 50
    assert bench.quarantine() == [(BAD, "load")]


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_of_two_rows_with_a_key_the_accepted_one_is_loaded(bench, kind):
    bench.make(kind, *case(kind, "CHECK"))
    again = {"review_id": "r-3", "review": "again", "expected": "positive", "value": "bad"}
    more = items("text", "good") + json.dumps(again) + "\n"
    write(bench.folder, {"data/items.jsonl": more})
    results = json.loads(loom(bench.folder, "run", "demo", "--json").stdout)["results"]
    assert (results["records_loaded"], results["records_rejected"]) == (50, 1)
    assert bench.sql("SELECT review FROM scores WHERE review_id = 'r-3'") == [("This is great",)]
    assert bench.quarantine() == [("r-3", "load")]


@pytest.mark.parametrize("deferrable", ["", "DEFERRABLE INITIALLY DEFERRED"])
def test_a_row_may_refer_to_a_later_row_of_its_table(bench, deferrable):
    bench.make("postgres", "text", "", "absent")
    bench.sql(
        "UPDATE scores SET value = NULL; ALTER TABLE scores ADD FOREIGN KEY (value) "
        f"REFERENCES scores {deferrable}"
    )
    rows = [
        {"review_id": f"r-{i}", "review": "x", "expected": "y", "value": f"r-{i + 1}"}
        for i in range(50)
    ]
    rows[-1]["value"] = None
    rows[10]["value"] = "absent"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write(bench.folder, {"data/items.jsonl": lines})
    assert loom(bench.folder, "run", "demo").returncode == 0
    # Row 9 refers to row 10, which is refused, and so on.
    assert bench.keys() == {f"r-{i}" for i in range(11, 50)}
    assert len(bench.quarantine()) == 11


@pytest.mark.parametrize(("deferrable", "key"), [("INITIALLY DEFERRED", "r-1"),
                                                 ("INITIALLY DEFERRED", "old"),
                                                 ("", "r-1")])  # fmt: skip
def test_a_row_that_another_table_refers_to(bench, deferrable, key):
    bench.make("postgres", *POSTGRES["CHECK"])
    bench.sql(
        f"UPDATE scores SET review_id = '{key}'; "
        f"CREATE TABLE notes (id text REFERENCES scores {deferrable}); "
        f"INSERT INTO notes VALUES ('{key}')"
    )
    done = loom(bench.folder, "run", "demo")
    if deferrable and key == "r-1":
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(bench.keys()) == 49
    else:
        assert done.returncode == 2, done.stdout + done.stderr
        assert "violates foreign key constraint" in done.stdout + done.stderr
        assert bench.keys() == {key}


KILLED = """
import os, sys
from loomgit.cli import main
from loomgit.rows.stage import Stage

def die(self, *args):
    os._exit(9)

after = getattr(Stage, sys.argv[1])
if sys.argv[2] == "before":
    setattr(Stage, sys.argv[1], die)
else:
    setattr(Stage, sys.argv[1], lambda self, *args: (after(self, *args), os._exit(9)))
sys.argv = ["loom", "run", "demo", "-q"]
main()
"""


@pytest.mark.parametrize("kind", DESTINATIONS)
@pytest.mark.parametrize("method", ["refuse", "finish"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_is_killed_while_it_publishes_can_be_resumed(bench, kind, method, moment):
    bench.make(kind, *case(kind, "CHECK"), transform=True)
    program = [sys.executable, "-c", KILLED, method, moment]
    assert subprocess.run(program, cwd=bench.folder, check=False).returncode == 9
    assert bench.keys() == (
        {f"r-{i}" for i in range(50)} - {BAD} if method == "finish" else {"old"}
    )
    done = loom(bench.folder, "run", "demo", "--resume", "latest", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)["results"]
    assert (results["records_loaded"], results["records_rejected"]) == (49, 1)
    assert (results["records_processed"], results["duplicates"]) == (50, 0)
    assert bench.keys() == {f"r-{i}" for i in range(50)} - {BAD}
    assert bench.quarantine() == [(BAD, "load")]
    statuses = [line["status"] for line in bench.lines()]
    assert (statuses.count("loaded"), statuses.count("quarantined")) == (49, 1)
