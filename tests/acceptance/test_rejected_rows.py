"""`load.on_rejected`, and rows that the database refuses, as a user runs them."""

import json
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from tests.command import loom
from tests.projects import PIPELINE, REVIEWS, make_project
from tests.repos import write
from tests.servers.openai_server import OpenAiServer, error

P = "pipelines/demo.yaml"
SCORES = "sqlite://out/demo.db/scores"
DESTINATIONS = (
    SCORES,
    "postgres://analytics/scores",
    "out/scores.csv",
    "out/scores.jsonl",
    "out/scores.json",
    "out/scores.parquet",
)
# The gate rejects r-2 and r-3, because the model answers something else.
REJECTING = REVIEWS.replace("bad,negative", "bad,positive").replace("love it,positive", "love it,x")
CONFIG = "connections: {analytics: '${ANALYTICS_URL:-postgres://none/none}'}\n"
DELETE = "  on_rejected: delete\n"


@pytest.fixture
def make(tmp_path, request, monkeypatch):
    def one(destination, settings="", text=PIPELINE, **files):
        if destination.startswith("postgres"):
            monkeypatch.setenv("ANALYTICS_URL", request.getfixturevalue("database"))
        text = text.replace(SCORES, destination) + settings
        files = {P: text, ".loom/config.yaml": CONFIG, **files}
        return make_project(tmp_path / "project", **files)

    return one


def results_of(project, *arguments, codes=(0, 1)):
    done = loom(project, "run", "demo", "--json", *arguments)
    assert done.returncode in codes, done.stderr
    return json.loads(done.stdout)["results"]


def keys_at(project, destination, request):
    if destination.startswith("postgres"):
        rows = request.getfixturevalue("run_sql")("SELECT review_id FROM scores ORDER BY 1")
    elif destination.startswith("sqlite"):
        with closing(sqlite3.connect(project / "out/demo.db")) as connection:
            rows = connection.execute("SELECT review_id FROM scores ORDER BY 1").fetchall()
    else:
        import duckdb

        if not (project / destination).read_bytes():
            return []
        rows = duckdb.sql(f"SELECT review_id FROM '{project / destination}' ORDER BY 1").fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_earlier_rows_of_rejected_records_are_kept_or_deleted(make, destination, request):
    project = make(destination)
    assert results_of(project)["inserted"] == 4
    write(project, {"data/reviews.csv": REJECTING})
    shown = loom(project, "run", "demo").stdout
    assert "Changed:   nothing (2 rows unchanged); 2 earlier rows of rejected records kept" in shown
    results = results_of(project)
    assert (results["unchanged"], results["kept_rows"], results["deleted"]) == (2, 2, 0)
    assert len(keys_at(project, destination, request)) == 4
    write(project, {P: (project / P).read_text() + DELETE})
    assert loom(project, "validate", "demo").returncode == 0
    shown = loom(project, "run", "demo").stdout
    assert "Changed:   2 deleted, 2 unchanged\n" in shown
    assert keys_at(project, destination, request) == ["r-1", "r-4"]
    results = results_of(project)
    assert (results["unchanged"], results["kept_rows"], results["deleted"]) == (2, 0, 0)


@pytest.mark.parametrize("destination", [SCORES, "out/scores.jsonl"])
def test_a_run_that_rejects_every_record(make, destination, request):
    project = make(destination, DELETE)
    assert results_of(project)["inserted"] == 4
    write(project, {"data/reviews.csv": re.sub(r"(posi|nega)tive\n", "x\n", REVIEWS)})
    results = results_of(project)
    assert (results["status"], results["records_loaded"], results["deleted"]) == ("failed", 0, 4)
    assert keys_at(project, destination, request) == []


@pytest.mark.parametrize("order", [(1, 0), (0, 1)])
def test_a_row_that_another_record_of_the_run_loads_is_not_deleted(make, order):
    text = PIPELINE.replace("transform:\n", "transform:\n  batch_size: 1\n")
    project = make(SCORES, DELETE, text)
    assert results_of(project)["inserted"] == 4
    with closing(sqlite3.connect(project / "out/demo.db")) as connection:
        connection.executescript("ALTER TABLE scores ADD note; UPDATE scores SET note = 'mine'")
    lines = REVIEWS.splitlines(keepends=True)
    pair = ["r-1,This is great,positive\n", "r-1,This is great,negative\n"]
    same = [pair[index] for index in order]
    write(project, {"data/reviews.csv": "".join([lines[0], same[0], *lines[2:], same[1]])})
    results = results_of(project)
    assert (results["records_rejected"], results["kept_rows"], results["deleted"]) == (1, 0, 0)
    with closing(sqlite3.connect(project / "out/demo.db")) as connection:
        assert connection.execute("SELECT count(note) FROM scores").fetchone() == (4,)


def test_the_setting_does_not_change_the_fingerprint(make):
    project = make(SCORES)

    def fingerprint():
        loom(project, "run", "demo")
        shown = loom(project, "runs", "show", "latest", "--json").stdout
        return json.loads(shown)["config"]["fingerprint"]

    before = fingerprint()
    write(project, {P: (project / P).read_text() + DELETE})
    assert fingerprint() == before


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_delete_needs_an_upsert(make, mode):
    project = make(SCORES, f"  mode: {mode}\n{DELETE}")
    for command in ("validate", "run"):
        done = loom(project, command, "demo", "--json")
        assert done.returncode == 2
        document = json.loads(done.stdout)
        (problem,) = document.get("pipelines", [document.get("error")])[0]["problems"]
        assert (problem["file"], problem["line"]) == (P, 19)
        assert problem["message"].startswith("load.on_rejected: 'delete' needs mode: upsert")
    assert loom(make_keep(project, mode), "validate", "demo").returncode == 0


def make_keep(project, mode):
    write(project, {P: PIPELINE + f"  mode: {mode}\n  on_rejected: keep\n"})
    return project


def test_an_outage_deletes_nothing(make, monkeypatch, request):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    with OpenAiServer(lambda _: error(400, "no"), keep=False) as server:
        config = f"models: {{gpt-4o-mini: {{base_url: '{server.url}', api_key: sk-test}}}}\n"
        text = PIPELINE.replace("transform:\n", "transform:\n  model: gpt-4o-mini\n")
        project = make(SCORES, DELETE)
        assert results_of(project)["inserted"] == 4
        write(project, {P: text + DELETE, ".loom/config.yaml": config})
        results = results_of(project, codes=[4])
    assert (results["records_rejected"], results["kept_rows"], results["deleted"]) == (4, 0, 0)
    assert len(keys_at(project, SCORES, request)) == 4


# -- rows that the database refuses

CHECKED = (
    "CREATE TABLE scores (review_id TEXT PRIMARY KEY, sentiment TEXT, "
    "confidence REAL CHECK (confidence < 0.95))"
)


class SeededServer(OpenAiServer):
    """A model whose first reply to a prompt has a confidence that the table refuses."""

    def __init__(self, **options):
        super().__init__(self.reply, keep=False, **options)
        self.seeds = []

    def reply(self, request):
        self.seeds.append(request.get("seed"))
        text = request["messages"][0]["content"]
        label = "positive" if re.search("great|love", text.partition("Review:")[2]) else "negative"
        is_first = request.get("seed") in (None, 7) and "broken" in text.partition("Review:")[2]
        return json.dumps({"sentiment": label, "confidence": 0.99 if is_first else 0.9})


@pytest.fixture
def server():
    with SeededServer(latency=0.005) as running:
        yield running


def make_refusing(make, server, destination, settings, request):
    text = PIPELINE.replace(
        "transform:\n", "transform:\n  model: gpt-4o-mini\n  seed: 7\n  cache: {enabled: false}\n"
    )
    model = f"models: {{gpt-4o-mini: {{base_url: '{server.url}', api_key: sk-test}}}}\n"
    project = make(destination, settings, text, **{".loom/config.yaml": model + CONFIG})
    if destination.startswith("postgres"):
        request.getfixturevalue("run_sql")(CHECKED)
    else:
        (project / "out").mkdir()
        with closing(sqlite3.connect(project / "out/demo.db")) as connection:
            connection.execute(CHECKED)
    return project


@pytest.mark.parametrize("destination", DESTINATIONS[:2])
def test_a_refused_row_is_asked_for_again_with_another_seed(make, server, destination, request):
    project = make_refusing(make, server, destination, "  on_failure: retry\n", request)
    results = results_of(project)
    assert (results["records_validated"], results["inserted"]) == (4, 4)
    assert sorted(server.seeds) == [7, 7, 7, 7, 8]
    assert keys_at(project, destination, request) == ["r-1", "r-2", "r-3", "r-4"]


@pytest.mark.parametrize("destination", DESTINATIONS[:2])
@pytest.mark.parametrize("confidence", [0.5, 0.97])
def test_a_refused_row_gets_the_fallback(make, server, destination, confidence, request):
    fallback = f"{{value: {{sentiment: negative, confidence: {confidence}}}}}"
    settings = f"  on_failure: fallback\n  fallback: {fallback}\n"
    project = make_refusing(make, server, destination, settings, request)
    results = results_of(project)
    good = confidence < 0.95
    assert (results["inserted"], results["records_fallback"]) == ((4, 1) if good else (3, 0))
    listed = loom(project, "quarantine", "list", "demo").stdout
    assert ("r-2" in listed) is not good


@pytest.mark.parametrize("destination", DESTINATIONS[:2])
def test_a_killed_run_that_repaired_rows_is_resumed(make, server, destination, request):
    """The kill comes after the first batches; each row is loaded once and each call paid once."""
    reviews = "".join(f"r-{i},it is broken {i},negative\n" for i in range(120))
    settings = "  on_failure: retry\n"
    project = make_refusing(make, server, destination, settings, request)
    text = (project / P).read_text().replace("  seed: 7\n", "  seed: 7\n  batch_size: 5\n")
    write(project, {P: text, "data/reviews.csv": "review_id,review,expected\n" + reviews})
    process = subprocess.Popen([sys.executable, "-m", "loomgit", "run", "demo", "-q"], cwd=project)
    deadline = time.monotonic() + 60
    while server.seeds.count(8) < 20 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait(timeout=60)
    assert process.returncode != 0, "the run was faster than the signal"
    results = results_of(project, "--resume", "latest")
    assert (results["records_validated"], results["inserted"]) == (120, 120)
    assert len(keys_at(project, destination, request)) == 120
    # Only calls that were in flight when the process was killed are paid again.
    assert server.seeds.count(8) <= 120 + 16


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_killed_run_deletes_each_row_once(make, server, destination, request):
    reviews = [f"r-{i},it is great {i}," for i in range(120)]
    text = PIPELINE.replace("transform:\n", "transform:\n  batch_size: 5\n")
    header = "review_id,review,expected\n"
    accepted = header + "".join(f"{line}positive\n" for line in reviews)
    project = make(destination, DELETE, text, **{"data/reviews.csv": accepted})
    assert results_of(project)["inserted"] == 120
    slow = "  model: gpt-4o-mini\n  concurrency: 2\n  cache: {enabled: false}\n"
    model = f"models: {{gpt-4o-mini: {{base_url: '{server.url}', api_key: sk-test}}}}\n"
    text = (project / P).read_text().replace("transform:\n", f"transform:\n{slow}")
    rejected = header + "".join(
        f"{line}{'negative' if i % 3 == 0 else 'positive'}\n" for i, line in enumerate(reviews)
    )
    files = {P: text, ".loom/config.yaml": model + CONFIG, "data/reviews.csv": rejected}
    write(project, files)
    process = subprocess.Popen([sys.executable, "-m", "loomgit", "run", "demo", "-q"], cwd=project)
    deadline = time.monotonic() + 60
    while len(server.seeds) < 60 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait(timeout=60)
    assert process.returncode != 0, "the run was faster than the signal"
    results = results_of(project, "--resume", "latest")
    assert (results["deleted"], results["unchanged"] + results["updated"]) == (40, 80)
    assert len(keys_at(project, destination, request)) == 80
