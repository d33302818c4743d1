"""Resumed runs whose source has several records with the same key: the last record decides."""

import json
import signal
import sqlite3
import time
from contextlib import closing

import duckdb
import pytest

from loomgit.api import Project
from tests.acceptance.test_resume import DESTINATIONS, REVIEW, CountingServer, make, start
from tests.command import loom
from tests.repos import commit
from tests.servers.openai_server import Hang, Reply, error

# Records 1 and 15 have one key, and records 2 and 7 another one.
KEYS = {15: "r-1", 7: "r-2"}
QUOTA = Reply(400, b'{"error": {"message": "no", "code": "insufficient_quota"}}')
CONFIDENCES = {f"n{i}": i / 100 for i in range(20)}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    with LosingServer() as running:
        yield running


class LosingServer(CountingServer):
    """A model with an outage for the reviews in `lost`, and without an answer for those in `held`.

    Its answers for the reviews in `bad` do not pass the gate. A review in `denied` ends the run.
    """

    def __init__(self):
        super().__init__()
        self.lost, self.bad, self.held, self.denied = set(), set(), set(), set()

    def reply(self, request):
        name = REVIEW.search(str(request["messages"][0]["content"])).group(1)
        if name in self.held:
            return Hang()
        if name in self.denied:
            return QUOTA
        if name in self.lost:
            return error(500, "down", retry_after="0")
        self.asked[name] += 1
        label = "negative" if name in self.bad else "positive"
        return json.dumps({"sentiment": label, "confidence": CONFIDENCES[name]})


def make_repeated(folder, server, destination, mode):
    """Create a project whose source has the keys above, twenty records in batches of five."""
    project = make(folder, server, destination, mode, records=1, batch_size=5)
    rows = "".join(f"{KEYS.get(i, f'r-{i}')},n{i} is great,positive\n" for i in range(20))
    commit(project, {"data/reviews.csv": "review_id,review,expected\n" + rows})
    return project


def loaded(project, kind, run_sql):
    """The confidence in the row of each key."""
    if kind == "postgres":
        return {
            key: float(value) for key, value in run_sql("SELECT review_id, confidence FROM scores")
        }
    if kind == "sqlite":
        with closing(sqlite3.connect(project / "out/demo.db")) as connection:
            return dict(connection.execute("SELECT review_id, confidence FROM scores"))
    path = project / DESTINATIONS[kind]
    return dict(duckdb.sql(f"SELECT review_id, confidence FROM '{path}'").fetchall())


def journal(project):
    """The text of the journal of the unfinished run."""
    (path,) = (project / ".loom/state").glob("*/journal")
    return path.read_text("utf-8")


@pytest.fixture
def sql(request, monkeypatch):
    """Open a database if the test has a PostgreSQL destination."""
    if request.node.callspec.params["kind"] != "postgres":
        return None
    monkeypatch.setenv("ANALYTICS_URL", request.getfixturevalue("database"))
    return request.getfixturevalue("run_sql")


@pytest.mark.parametrize("mode", ["upsert", "replace"])
@pytest.mark.parametrize("kind", DESTINATIONS)
def test_an_early_record_that_an_outage_lost_does_not_replace_a_later_one(
    tmp_path, server, kind, mode, sql
):
    project = make_repeated(tmp_path / "project", server, DESTINATIONS[kind], mode)
    server.lost = {"n1", "n2", "n3"}
    assert loom(project, "run", "demo").returncode == 4
    server.lost = {"n2", "n3"}  # the second attempt loads one of the records
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 4
    server.lost = set()
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    rows = loaded(project, kind, sql)
    assert (len(rows), rows["r-1"], rows["r-2"]) == (18, 0.15, 0.07)
    run = Project(project).get_run("latest")
    assert (run.results.inserted, run.results.duplicates) == (18, 2)
    assert run.results.records_validated == 20


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_an_early_record_is_loaded_if_the_later_one_is_rejected(tmp_path, server, kind, sql):
    project = make_repeated(tmp_path / "project", server, DESTINATIONS[kind], "upsert")
    server.lost, server.bad = {"n1", "n2"}, {"n15"}
    assert loom(project, "run", "demo").returncode == 4
    server.lost = set()
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    rows = loaded(project, kind, sql)
    assert (rows["r-1"], rows["r-2"]) == (0.01, 0.07)
    assert Project(project).get_run("latest").results.duplicates == 1


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_append_loads_each_record(tmp_path, server, kind, sql):
    project = make_repeated(tmp_path / "project", server, DESTINATIONS[kind], "append")
    server.lost = {"n1", "n2"}
    assert loom(project, "run", "demo").returncode == 4
    server.lost = set()
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    results = Project(project).get_run("latest").results
    assert (results.inserted, results.duplicates) == (20, 0)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_part_that_a_killed_attempt_loaded_does_not_come_first(tmp_path, server, kind, sql):
    """The parts of several attempts are loaded again in the order in which they were begun."""
    project = make_repeated(tmp_path / "project", server, DESTINATIONS[kind], "upsert")
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    commit(project, {"pipelines/demo.yaml": text.replace("batch_size: 5", "batch_size: 2")})
    server.lost = {"n1", "n2", "n17", "n18"}
    assert loom(project, "run", "demo").returncode == 4
    server.lost, server.held = set(), {"n17", "n18"}
    process = start(project, "--resume", "latest")
    deadline = time.monotonic() + 60
    while "p10 " not in journal(project) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # the part is probably loaded
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert "p10 1-2" in journal(project)
    server.held = set()
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    rows = loaded(project, kind, sql)
    assert (len(rows), rows["r-1"], rows["r-2"]) == (18, 0.15, 0.07)
    assert Project(project).get_run("latest").results.duplicates == 2


@pytest.mark.parametrize("kind", ["sqlite", "jsonl", "postgres"])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_later_incremental_run_loads_the_records_in_their_order(
    tmp_path, server, kind, is_stopped, sql
):
    """A record that an outage has lost is not loaded after a later record with its key."""
    project = make_repeated(tmp_path / "project", server, DESTINATIONS[kind], "upsert")
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    incremental = "  key: review_id\n  incremental: {cursor: made}\n"
    rows = "".join(f"{KEYS.get(i, f'r-{i}')},n{i} is great,positive,{i}\n" for i in range(20))
    files = {
        "pipelines/demo.yaml": text.replace("  key: review_id\n", incremental),
        "data/reviews.csv": "review_id,review,expected,made\n" + rows,
    }
    commit(project, files)
    server.lost, server.denied = {"n1"}, {"n18"} if is_stopped else set()
    first = loom(project, "run", "demo")
    assert ("the watermark is 1, because 1 record was lost" in first.stderr) != is_stopped
    assert loaded(project, kind, sql)["r-1"] == 0.15
    server.lost, server.denied = set(), set()
    assert loom(project, "run", "demo").returncode == 0
    loaded_rows = loaded(project, kind, sql)
    assert (len(loaded_rows), loaded_rows["r-1"], loaded_rows["r-2"]) == (18, 0.15, 0.07)
    processed = Project(project).get_run("latest").results.records_processed
    assert processed == 2 or is_stopped
    assert Project(project).run("demo").results.records_processed == 0
