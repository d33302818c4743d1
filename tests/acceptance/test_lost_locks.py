"""Runs that lose the lock of their PostgreSQL destination before they end."""

import pytest

from loomgit.api import Project
from tests.acceptance.test_resume import CountingServer, make
from tests.command import loom

RECORDS = 40
EXPECTED = sorted(f"r-{i}" for i in range(RECORDS) if i % 10 != 3)
# The statements end the session that holds the lock of the run, or all sessions (a restart).
LOSSES = {
    "lock": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name LIKE 'loom process %' AND datname = current_database()",
    "all": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()",
}


@pytest.fixture
def server(monkeypatch, database):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    monkeypatch.setenv("ANALYTICS_URL", database)
    with CountingServer() as running:
        yield running


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_a_run_that_has_lost_its_lock_loads_nothing_more(tmp_path, server, run_sql, mode, loss):
    project = make(
        tmp_path / "project", server, "postgres://analytics/scores", mode,
        records=RECORDS, batch_size=10, concurrency=1,
    )  # fmt: skip
    run_sql("CREATE TABLE scores (review_id text PRIMARY KEY, sentiment text, confidence float)")
    run_sql("INSERT INTO scores VALUES ('old', 'positive', 1)")
    answer = server.respond

    def lose(request):
        if server.calls == 25:
            run_sql(LOSSES[loss])
        return answer(request)

    server.respond = lose
    failed = loom(project, "run", "demo")
    assert failed.returncode == 4, failed.stderr
    if loss == "lock" or mode == "replace":
        assert "the connection that held the lock of the run was lost" in failed.stderr
        assert "check whether another run of demo has loaded into 'scores'" in failed.stderr
    assert "--resume" in failed.stderr
    rows = {key for (key,) in run_sql("SELECT review_id FROM scores")}
    # The batches are loaded while the model answers, so some of the first two may be missing.
    assert rows <= ({"old"} if mode == "replace" else {"old", *loaded_in(20)})
    assert "old" in rows
    results = Project(project).get_run("latest").results
    assert (results.status, results.cause) == ("failed", "world")
    server.respond = answer
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    rows = sorted(key for (key,) in run_sql("SELECT review_id FROM scores"))
    assert rows == (EXPECTED if mode == "replace" else sorted([*EXPECTED, "old"]))


def loaded_in(count):
    """The keys of the first records that pass."""
    return [f"r-{i}" for i in range(count) if i % 10 != 3]
