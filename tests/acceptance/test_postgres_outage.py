"""PostgreSQL stops during a load. Each row is loaded once, and each call is paid once."""

import random
import signal
import time

import pytest

from loomgit.api import Project
from tests.acceptance.test_resume import CountingServer, make, start
from tests.soak import sized

RECORDS = 400  # eight batches
LOADED = 360  # CountingServer answers a tenth of the records wrongly
STOPS = sized(2, 12)  # in each test
SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, immediate, killed
TABLES = """\
CREATE TABLE scores (review_id text {key}, sentiment text, confidence float8);
CREATE TABLE pause (rows int);
INSERT INTO pause VALUES (0);
CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM scores) > (SELECT rows FROM pause) THEN
        PERFORM {wait};
    END IF;
    RETURN NULL;
END $$;
CREATE {trigger} EXECUTE FUNCTION pause();
"""
SLEEP = "pg_sleep(600)"
# When the server waits in a transaction: what it does, the trigger, and its name for the wait.
MOMENTS = {
    "after the rows": (SLEEP, "TRIGGER pause AFTER INSERT ON scores", "PgSleep"),
    "at COMMIT": (
        SLEEP,
        "CONSTRAINT TRIGGER pause AFTER INSERT ON scores DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW",
        "PgSleep",
    ),
    # The transaction is durable, and the server waits for a standby before it answers.
    "after COMMIT": (
        "set_config('synchronous_commit', 'on', true)",
        "TRIGGER pause AFTER INSERT ON scores",
        "SyncRep",
    ),
}


@pytest.fixture(scope="module")
def stopping_server(postgres_server):
    from tests.servers.postgres_server import PostgresServer, find_binaries

    server = PostgresServer(find_binaries())
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'none'")
        connection.execute("ALTER SYSTEM SET synchronous_commit = 'local'")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.close()


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    with CountingServer() as running:
        yield running


def sql(server, statement, *parameters):
    with server.connect() as connection:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else None


def wait_for_pause(server, process, wait_event):
    """Return when the server waits in a transaction of the run."""
    with server.connect() as connection:
        while process.poll() is None:
            query = "SELECT 1 FROM pg_stat_activity WHERE wait_event = %s"
            if connection.execute(query, (wait_event,)).fetchone():
                return
            time.sleep(0.01)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_stops_in_a_transaction_loses_and_repeats_no_row(
    tmp_path, stopping_server, model, monkeypatch, moment, mode
):
    server = stopping_server
    wait, trigger, wait_event = MOMENTS[moment]
    monkeypatch.setenv("ANALYTICS_URL", server.url())
    sql(server, "DROP TABLE IF EXISTS scores, pause, _loom_loads; DROP FUNCTION IF EXISTS pause")
    key = "PRIMARY KEY" if mode == "upsert" else ""
    sql(server, TABLES.format(key=key, wait=wait, trigger=trigger))
    project = make(tmp_path / "project", model, "postgres://analytics/scores", mode,
                   records=RECORDS, batch_size=10)  # fmt: skip
    moments = random.Random(f"{moment} {mode}")
    for stop in range(STOPS):
        rows = sql(server, "SELECT count(*) FROM scores")[0][0]
        last = (LOADED - 10) * (stop + 1) // STOPS
        sql(server, "UPDATE pause SET rows = %s", moments.randint(rows, max(rows, last)))
        process = start(project, "--resume", "latest")
        wait_for_pause(server, process, wait_event)
        server.stop(SIGNALS[stop % len(SIGNALS)])
        _, error = process.communicate(timeout=60)
        assert process.returncode == 4, error
        assert "--resume" in error, error
        server.start()
    sql(server, "UPDATE pause SET rows = 1000000")
    process = start(project, "--resume", "latest")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    loaded = sql(server, "SELECT count(*), count(DISTINCT review_id) FROM scores")
    assert loaded == [(LOADED, LOADED)]
    assert len(model.asked) == RECORDS
    assert set(model.asked.values()) == {1}
    results = Project(project).get_run("latest").results
    assert (results.inserted, results.records_processed) == (LOADED, RECORDS)
