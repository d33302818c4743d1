"""Incremental runs that are stopped, killed, or lose records: no record is lost or loaded twice."""

import json
import os
import subprocess
import sys

import pytest

from loomgit.api import Project
from loomgit.workflows import increment
from tests.acceptance.test_resume import REVIEW, CountingServer, loaded, make
from tests.arrivals import Arrivals
from tests.command import loom
from tests.repos import commit
from tests.servers.openai_server import Reply

RECORDS = 60
PASSING = sorted(f"r-{i}" for i in range(RECORDS) if i % 10 != 3)
REFUSED = Reply(400, b'{"error": {"message": "no", "code": "unknown_parameter"}}')
QUOTA = Reply(400, b'{"error": {"message": "no", "code": "insufficient_quota"}}')
# Kills the process at the moment when it would set the watermark.
KILLED = """\
import os, signal, sys
from pathlib import Path
from loomgit.api import Project
from loomgit.workflows.increment import Increment
Increment._save = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
Project(Path(sys.argv[1])).run(sys.argv[2])
"""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    with CountingServer() as running:
        yield running


def incremental(folder, server, destination, mode="append", **settings):
    project = make(folder, server, destination, mode, records=RECORDS, batch_size=10, **settings)
    path = project / "pipelines/demo.yaml"
    text = path.read_text("utf-8").replace(
        "  key: review_id\n", "  key: review_id\n  incremental: {cursor: review_id}\n"
    )
    commit(project, {"pipelines/demo.yaml": text})
    return project


def kill_before_the_watermark(project, name):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(project), name],
        capture_output=True, check=False, env=os.environ, timeout=120,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("destination", ["sqlite", "postgres", "jsonl"])
@pytest.mark.parametrize("resumes", [True, False])
def test_a_run_that_is_killed_before_the_watermark(tmp_path, request, destination, resumes):
    options = {}
    if destination == "postgres":
        options["database"] = request.getfixturevalue("database")
    project = Arrivals(tmp_path / "project", destination=destination, **options)
    project.arrive([("a", "2026-03-01T10:00:00Z"), ("b", "2026-03-01T11:00:00Z")])
    kill_before_the_watermark(project.folder, "ev")
    assert project.loaded() == ["a", "b"]
    if destination == "jsonl" and not resumes:  # the file is written before the watermark
        refused = loom(project.folder, "run", "ev")
        assert refused.returncode == 2
        assert "was killed before it could set the watermark" in refused.stderr
        assert "--resume" in refused.stderr
        resumes = True
    run = project.run(resume="latest" if resumes else None)
    assert run.results.status == "success"
    assert run.watermark.after == "2026-03-01 11:00:00Z" or not resumes
    project.arrive([("c", "2026-03-01T11:00:00Z"), ("d", "2026-03-01T12:00:00Z")])
    project.run()
    assert sorted(project.loaded()) == ["a", "b", "c", "d"]
    assert project.run().results.records_processed == 0


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_new_run_after_an_unfinished_one_loads_only_the_other_records(tmp_path, server, kind):
    destination = {"sqlite": "sqlite://out/demo.db/scores", "jsonl": "out/scores.jsonl"}[kind]
    project = incremental(tmp_path / "project", server, destination)
    answer = server.respond
    server.respond = lambda request: QUOTA if server.calls > 25 else answer(request)
    stopped = loom(project, "run", "demo", "--json")
    document = json.loads(stopped.stdout)
    assert document["results"]["status"] in ("failed", "partial")
    assert document["watermark"] == {"cursor": "review_id", "before": None, "after": None}
    assert loaded(project, kind)
    server.respond = answer
    second = Project(project).run("demo")
    assert second.results.status == "success"
    assert second.watermark.after == "r-9"
    assert sorted(loaded(project, kind)) == PASSING
    refused = loom(project, "run", "demo", "--resume", document["run_id"])
    assert refused.returncode == 2
    assert "another run of demo has loaded records since" in refused.stderr
    assert sorted(loaded(project, kind)) == PASSING


def losing_one(answer):
    """Return a function like `answer` that refuses the call of the record `n41`."""

    def respond(request):
        name = REVIEW.search(str(request["messages"][0]["content"])).group(1)
        return REFUSED if name == "n41" else answer(request)

    return respond


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_record_lost_to_an_outage_comes_again_and_no_other_does(tmp_path, server, kind):
    destination = {"sqlite": "sqlite://out/demo.db/scores", "jsonl": "out/scores.jsonl"}[kind]
    project = incremental(tmp_path / "project", server, destination)
    answer = server.respond
    server.respond = losing_one(answer)
    first = loom(project, "run", "demo", "--json")
    assert first.returncode == 0, first.stderr
    assert "the watermark is r-41, because 1 record was lost to an outage" in first.stderr
    assert json.loads(first.stdout)["watermark"]["after"] == "r-41"
    server.respond = answer
    second = Project(project).run("demo")
    assert (second.results.records_processed, second.results.inserted) == (1, 1)
    assert second.watermark.after == "r-9"
    assert sorted(loaded(project, kind)) == PASSING
    assert Project(project).run("demo").results.records_processed == 0


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_record_that_a_retry_loads_is_not_loaded_again(tmp_path, server, kind):
    destination = {"sqlite": "sqlite://out/demo.db/scores", "jsonl": "out/scores.jsonl"}[kind]
    project = incremental(tmp_path / "project", server, destination)
    answer = server.respond
    server.respond = losing_one(answer)
    assert loom(project, "run", "demo", "-q").returncode == 0
    server.respond = answer
    assert loom(project, "quarantine", "retry", "demo", "r-41").returncode == 0
    assert sorted(loaded(project, kind)) == PASSING
    assert Project(project).run("demo").results.records_processed == 0
    assert sorted(loaded(project, kind)) == PASSING


def test_a_rejected_record_is_done(tmp_path, server):
    project = incremental(tmp_path / "project", server, "sqlite://out/demo.db/scores")
    assert Project(project).run("demo").results.records_rejected == RECORDS - len(PASSING)
    calls = server.calls
    assert Project(project).run("demo").results.records_processed == 0
    assert server.calls == calls


def test_a_large_unfinished_append_must_be_resumed(tmp_path, monkeypatch):
    """A new run cannot remember what the unfinished run has loaded."""
    monkeypatch.setattr(increment, "MOST_REMEMBERED", 2)
    project = Arrivals(tmp_path / "project")
    project.arrive([(name, f"2026-03-01T1{name}:00:00Z") for name in "01234"])
    kill_before_the_watermark(project.folder, "ev")
    refused = loom(project.folder, "run", "ev")
    assert refused.returncode == 2
    assert "pipelines/ev.yaml:5:3: extract.incremental: to read each record once" in refused.stderr
    assert "--resume" in refused.stderr
    assert project.run(resume="latest").results.status == "success"
    assert project.run().results.records_processed == 0
    assert project.loaded() == [*"01234"]
