"""Runs that fail late, or that another process continues, and then are resumed."""

import os
import re
import shutil
import signal
import time
from contextlib import suppress

import pytest

from loomgit.api import Project
from tests.acceptance.test_resume import DESTINATIONS, REVIEW, CountingServer, loaded, make, start
from tests.command import loom
from tests.repos import git
from tests.servers.openai_server import Reply

RECORDS = 100
EXPECTED = sorted(f"r-{i}" for i in range(RECORDS) if i % 10 != 3)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    with CountingServer() as running:
        yield running


def paid_twice(server):
    return sorted(name for name, calls in server.asked.items() if calls > 1)


def test_a_run_whose_record_cannot_be_stored_is_not_forgotten(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["jsonl"], "append", records=RECORDS)
    commit = git(project, "rev-parse", "HEAD").strip()
    (project / ".loom/runs").mkdir(exist_ok=True)
    (project / f".loom/runs/{commit}").write_text("in the way of a folder", "utf-8")
    failed = loom(project, "run", "demo")
    assert failed.returncode == 4
    assert "cannot be written" in failed.stderr
    assert "--resume 2" in failed.stderr
    assert len(loaded(project, "jsonl")) == len(EXPECTED)
    (project / f".loom/runs/{commit}").unlink()
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert sorted(loaded(project, "jsonl")) == EXPECTED
    assert paid_twice(server) == []
    assert Project(project).get_run("latest").results.inserted == len(EXPECTED)


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_replace_after_an_outage_keeps_the_rows_of_the_first_attempt(
    tmp_path, server, kind, monkeypatch, request
):
    run_sql = None
    if kind == "postgres":
        monkeypatch.setenv("ANALYTICS_URL", request.getfixturevalue("database"))
        run_sql = request.getfixturevalue("run_sql")
    project = make(
        tmp_path / "project", server, DESTINATIONS[kind], "replace", records=RECORDS, batch_size=10
    )
    answer = server.respond

    def lose_some(request):
        name = REVIEW.search(str(request["messages"][0]["content"])).group(1)
        if int(name[1:]) % 9 == 1:
            return Reply(400, b'{"error": {"message": "no", "code": "insufficient_quota"}}')
        return answer(request)

    server.respond = lose_some
    first = loom(project, "run", "demo")
    assert first.returncode in (2, 4), first.stderr
    assert "--resume" in first.stderr
    server.respond = answer
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert sorted(loaded(project, kind, run_sql)) == EXPECTED
    assert paid_twice(server) == []
    assert Project(project).get_run("latest").results.inserted == len(EXPECTED)


@pytest.mark.parametrize("path", ["out/scores.csv", "out/scores.parquet", "out/scores.jsonl"])
def test_a_run_that_is_stopped_before_its_first_row_creates_no_file(tmp_path, server, path):
    """A file with only the columns of the schema would refuse the rows of the resumed run."""
    project = make(tmp_path / "project", server, path, "append", records=RECORDS)
    server.respond = lambda request: Reply(
        400, b'{"error": {"message": "no", "code": "insufficient_quota"}}'
    )
    assert loom(project, "run", "demo").returncode in (2, 4)
    assert not (project / path).exists()
    server.respond = server.reply
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert (project / path).exists()


def test_a_file_that_was_removed_between_two_attempts_is_reported(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["jsonl"], "append", records=RECORDS)
    server.latency = 0.01
    process = start(project)
    while server.calls < 60:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    kept = (project / "out/scores.jsonl").rename(project / "kept")
    calls = server.calls
    refused = loom(project, "run", "demo", "--resume", "latest")
    assert refused.returncode == 2
    assert "was removed since the run loaded rows into it" in refused.stderr
    assert server.calls == calls
    kept.rename(project / "out/scores.jsonl")
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    assert sorted(loaded(project, "jsonl")) == EXPECTED


def test_a_run_with_too_many_failures_keeps_the_calls_in_flight(tmp_path, server):
    project = make(
        tmp_path / "project",
        server,
        DESTINATIONS["jsonl"],
        "append",
        records=RECORDS,
        batch_size=20,
    )
    server.latency = 0.02
    path = project / "pipelines/demo.yaml"
    text = path.read_text("utf-8")
    path.write_text("max_failure_rate: 0.01\n" + text, "utf-8")
    failed = loom(project, "run", "demo")
    assert failed.returncode == 1
    assert "too many records fail" in failed.stderr
    path.write_text(text, "utf-8")
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert sorted(loaded(project, "jsonl")) == EXPECTED
    assert paid_twice(server) == []


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_second_signal_during_a_load_loses_no_row(tmp_path, server, kind):
    """The thread that loads must end before the destination is closed."""
    project = make(
        tmp_path / "project", server, DESTINATIONS[kind], "append", records=400, batch_size=100
    )
    for calls in (95, 199, 205, 301):
        server.clear()
        process = start(project, "--resume", "latest")
        while server.calls < calls and process.poll() is None:
            time.sleep(0.0005)
        for _ in range(2):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
            time.sleep(0.005)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 130), err
        if process.returncode == 0:
            break
    else:
        assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    expected = sorted(f"r-{i}" for i in range(400) if i % 10 != 3)
    assert sorted(loaded(project, kind)) == expected


def journal_of(project):
    (path,) = (project / ".loom/state").glob("*/journal")
    return path


def without_second_part(text):
    lines = text.splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if line.startswith(b"p1 "))
    return b"".join(lines[:last])


DAMAGES = {
    "emptied": lambda text: b"",
    "cut off before a part": without_second_part,
    "cut off in a part": lambda text: text[: text.index(b"\np1 ") + 3],
    "overwritten by zeros": lambda text: (
        without_second_part(text) + bytes(len(text) - len(without_second_part(text)))
    ),
    "without the parts": lambda text: b"".join(
        line for line in text.splitlines(keepends=True) if not line.startswith((b"p", b"d"))
    ),
}


@pytest.mark.parametrize(
    ("kind", "damage", "mode"),
    [
        *((kind, "emptied", "append") for kind in DESTINATIONS),
        *((kind, "cut off before a part", "upsert") for kind in DESTINATIONS),
        ("sqlite", "cut off in a part", "append"),
        ("sqlite", "overwritten by zeros", "append"),
        ("jsonl", "without the parts", "upsert"),
    ],
)
def test_a_journal_that_lacks_loaded_parts_is_reported_and_no_record_is_skipped(
    tmp_path, server, kind, damage, mode, monkeypatch, request
):
    run_sql = None
    if kind == "postgres":
        monkeypatch.setenv("ANALYTICS_URL", request.getfixturevalue("database"))
        run_sql = request.getfixturevalue("run_sql")
    project = make(
        tmp_path / "project", server, DESTINATIONS[kind], mode, batch_size=10, records=100
    )
    answer = server.respond
    server.respond = lambda request: (
        Reply(400, b'{"error": {"message": "no", "code": "insufficient_quota"}}')
        if server.calls > 50
        else answer(request)
    )
    assert loom(project, "run", "demo").returncode in (2, 4)
    server.respond = answer
    before = sorted(loaded(project, kind, run_sql))
    assert len(before) >= 20
    journal = journal_of(project)
    journal.write_bytes(DAMAGES[damage](journal.read_bytes()))
    calls = server.calls
    for _ in range(2):  # the failed attempt changes nothing
        refused = loom(project, "run", "demo", "--resume", "latest")
        assert refused.returncode == 2, refused.stderr
        assert re.search(
            rf"error: {re.escape(str(journal))}: the journal is damaged: it lacks \d+ batch(es)? "
            "that the run has loaded",
            refused.stderr,
        ), refused.stderr
        assert f"hint: remove {journal.parent} to give up the run" in refused.stderr
        assert ("first delete the rows" in refused.stderr) == (mode == "append")
    assert server.calls == calls
    assert sorted(loaded(project, kind, run_sql)) == before
    shutil.rmtree(journal.parent)
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    assert set(loaded(project, kind, run_sql)) == set(EXPECTED)


def test_a_journal_that_lacks_only_results_costs_calls_and_no_record(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"], "append", records=RECORDS)
    answer = server.respond
    server.respond = lambda request: (
        Reply(400, b'{"error": {"message": "no", "code": "insufficient_quota"}}')
        if server.calls > 40
        else answer(request)
    )
    assert loom(project, "run", "demo").returncode in (2, 4)
    server.respond = answer
    journal = journal_of(project)
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith(b"o"))
    journal.write_bytes(b"".join(lines[:last] + lines[last + 1 :]))
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert sorted(loaded(project, "sqlite")) == EXPECTED
