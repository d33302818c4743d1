"""Earlier rows of rejected records: a destination keeps or deletes them, and counts them."""

import sqlite3
from contextlib import closing

import pytest

from loomgit.domain.settings import Connection
from loomgit.errors import UserError

OLD = [{"id": key, "label": "old"} for key in ("a", "b", "c")]
DATABASES = ("sqlite://out.db/scores", "postgres://shop/scores")
FILES = ("out.csv", "out.jsonl", "out.json", "out.parquet")
KEYS = [{"id": "a"}, {"id": "b"}, {"id": "missing"}]


@pytest.fixture
def connections(request):
    uses = request.node.callspec.params.get("url", "") if hasattr(request.node, "callspec") else ""
    if not uses.startswith("postgres") and "run_sql" not in request.fixturenames:
        return {}
    return {"shop": Connection(request.getfixturevalue("database"))}


def labels(source, url):
    return {str(row["id"]): row["label"] for row in source(url).rows()}


def numbers(receipt):
    return receipt.inserted, receipt.updated, receipt.kept_rows, receipt.deleted


@pytest.mark.parametrize("url", [*DATABASES, *FILES])
def test_the_rows_are_kept_and_counted(sink, put, source, url):
    put(url, OLD)
    destination = sink(url)
    assert destination.load(0, [{"id": "c", "label": "new"}], KEYS) == {}
    assert numbers(destination.commit()) == (0, 1, 2, 0)
    assert labels(source, url) == {"a": "old", "b": "old", "c": "new"}


@pytest.mark.parametrize("url", [*DATABASES, *FILES])
def test_the_rows_are_deleted_and_counted(sink, put, source, url):
    put(url, OLD)
    destination = sink(url, on_rejected="delete")
    assert destination.load(0, [{"id": "c", "label": "new"}], KEYS) == {}
    assert numbers(destination.commit()) == (0, 1, 0, 2)
    assert labels(source, url) == {"c": "new"}


@pytest.mark.parametrize("url", [*DATABASES, *FILES])
def test_a_batch_without_rows_has_the_same_effect(sink, put, source, url):
    put(url, OLD)
    destination = sink(url)
    destination.load(0, [], KEYS)
    assert numbers(destination.commit()) == (0, 0, 2, 0)
    destination = sink(url, on_rejected="delete", run="run-2")
    destination.load(0, [], KEYS)
    assert numbers(destination.commit()) == (0, 0, 0, 2)
    assert labels(source, url) == {"c": "old"}


@pytest.mark.parametrize("url", [*DATABASES, *FILES])
def test_all_rows_can_be_deleted_and_others_loaded_afterwards(sink, put, source, url):
    put(url, OLD)
    destination = sink(url, on_rejected="delete")
    destination.load(0, [], [{"id": row["id"]} for row in OLD])
    assert numbers(destination.commit()) == (0, 0, 0, 3)
    assert labels(source, url) == {}
    put(url, OLD[:1])
    assert labels(source, url) == {"a": "old"}


@pytest.mark.parametrize("url", [*DATABASES, *FILES])
@pytest.mark.parametrize("same_part", [True, False])
def test_a_row_that_the_run_has_loaded_stays(sink, put, source, url, same_part):
    put(url, OLD)
    destination = sink(url, on_rejected="delete")
    destination.load(0, [{"id": "a", "label": "new"}], [{"id": "a"}] if same_part else [])
    if not same_part:
        destination.load(1, [], [{"id": "a"}])
    assert numbers(destination.commit()) == (0, 1, 0, 0)
    assert labels(source, url) == {"a": "new", "b": "old", "c": "old"}


@pytest.mark.parametrize("url", DATABASES)
@pytest.mark.parametrize("on_rejected", ["keep", "delete"])
def test_a_part_is_loaded_once_and_its_numbers_are_recorded(sink, put, source, url, on_rejected):
    put(url, OLD)
    for _ in range(3):
        destination = sink(url, on_rejected=on_rejected)
        destination.load(0, [{"id": "d", "label": "new"}], KEYS)
        destination.load(1, [], [{"id": "c"}])
        kept, deleted = (3, 0) if on_rejected == "keep" else (0, 3)
        assert numbers(destination.commit()) == (1, 0, kept, deleted)
        if on_rejected == "delete":  # another run adds the row again: the part must not delete it
            put(url, OLD[:1])
    assert len(labels(source, url)) == (4 if on_rejected == "keep" else 2)


@pytest.mark.parametrize("url", FILES)
def test_a_file_deletes_the_rows_of_an_attempt_that_died(sink, put, source, url):
    put(url, OLD)
    died = sink(url, on_rejected="delete")
    died.load(0, [], [{"id": "a"}])
    died._stage.close()
    resumed = sink(url, on_rejected="delete")
    resumed.load(0, [], [{"id": "b"}])  # the part is already stored
    resumed.load(1, [{"id": "d", "label": "new"}])
    for _ in range(2):
        assert numbers(resumed.commit()) == (1, 0, 0, 1)
    assert labels(source, url) == {"b": "old", "c": "old", "d": "new"}


@pytest.mark.parametrize("url", FILES)
def test_a_publication_settles_the_rejected_keys(sink, put, source, url):
    put(url, OLD)
    first = sink(url, on_rejected="delete")
    first.load(0, [], [{"id": "a"}])
    assert numbers(first.commit()) == (0, 0, 0, 1)
    put(url, OLD[:1])  # another run adds the row again
    resumed = sink(url, on_rejected="delete")
    resumed.load(0, [], [{"id": "a"}])
    resumed.load(1, [{"id": "d", "label": "new"}])
    assert numbers(resumed.commit()) == (1, 0, 0, 1)
    assert labels(source, url).keys() == {"a", "b", "c", "d"}


@pytest.mark.parametrize("url", [*DATABASES, *FILES])
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_other_modes_neither_count_nor_delete(sink, put, source, url, mode):
    put(url, OLD, mode="append")
    destination = sink(url, mode)
    destination.load(0, [{"id": "d", "label": "new"}], KEYS)
    assert numbers(destination.commit()) == (1, 0, 0, 0)
    assert len(labels(source, url)) == (4 if mode == "append" else 1)


@pytest.mark.parametrize("url", DATABASES)
def test_a_missing_table_has_no_such_rows(sink, url, tmp_path, request):
    destination = sink(url, on_rejected="delete")
    destination.load(0, [], KEYS)
    assert numbers(destination.commit()) == (0, 0, 0, 0)
    assert not (tmp_path / "out.db").exists()


@pytest.mark.parametrize("url", DATABASES)
def test_a_key_of_several_columns(sink, put, source, url):
    key = ("id", "n")
    put(url, [{"id": "a", "n": n, "label": "old"} for n in range(3)], key=key)
    destination = sink(url, key=key, on_rejected="delete")
    destination.load(0, [], [{"id": "a", "n": 1}, {"id": "a", "n": 7}])
    assert numbers(destination.commit()) == (0, 0, 0, 1)
    assert [row["n"] for row in source(url).rows()] == [0, 2]


@pytest.mark.parametrize("url", DATABASES)
def test_a_key_that_the_column_cannot_hold_has_no_row(sink, put, url):
    put(url, [{"id": 1, "label": "old"}], schema={"properties": {"id": {"type": "integer"}}})
    destination = sink(url, on_rejected="delete")
    destination.load(0, [], [{"id": "007"}, {"id": 2**63}, {"id": "x"}, {"id": "1"}])
    assert numbers(destination.commit()) == (0, 0, 0, 1)  # the text "1" is the number in the column


def test_sqlite_finds_the_row_by_an_index_and_by_the_collation(sink, source, tmp_path):
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        connection.executescript(
            "CREATE TABLE scores (id TEXT COLLATE NOCASE PRIMARY KEY, label) WITHOUT ROWID;"
            "INSERT INTO scores VALUES ('A', 'old'), ('b', 'old');"
        )
    destination = sink("sqlite://out.db/scores", on_rejected="delete")
    destination.load(0, [], [{"id": "a"}])
    assert numbers(destination.commit()) == (0, 0, 0, 1)
    assert labels(source, "sqlite://out.db/scores") == {"b": "old"}


@pytest.mark.parametrize("url", DATABASES)
def test_a_deletion_that_the_database_refuses_changes_nothing(
    sink, put, source, url, tmp_path, request
):
    put(url, OLD)
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
            connection.executescript(
                "CREATE TRIGGER t BEFORE DELETE ON scores BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
    else:
        request.getfixturevalue("run_sql")(
            "CREATE TABLE notes (id text REFERENCES scores DEFERRABLE INITIALLY DEFERRED); "
            "INSERT INTO notes VALUES ('a')"
        )
    destination = sink(url, on_rejected="delete")
    with pytest.raises(UserError, match="refuses to delete the rows of rejected records"):
        destination.load(0, [{"id": "d", "label": "new"}], KEYS)
    destination.abort()
    assert labels(source, url) == dict.fromkeys("abc", "old")


def test_postgresql_needs_the_privilege_to_delete(sink, put, run_sql, connections, database):
    run_sql("DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    put("postgres://shop/scores", OLD)
    run_sql("GRANT SELECT, INSERT, UPDATE ON scores TO writer")
    run_sql("GRANT SELECT, INSERT ON _loom_loads TO writer")
    connections["writer"] = Connection(database.replace("loom@", "writer@"))
    url = "postgres://writer/scores"
    sink(url, examples=OLD).check()
    with pytest.raises(UserError, match="lacks the privilege DELETE") as caught:
        sink(url, examples=OLD, on_rejected="delete").check()
    assert caught.value.hint == 'GRANT DELETE ON "scores" TO writer'
    run_sql("GRANT DELETE ON scores TO writer")
    destination = sink(url, examples=OLD, on_rejected="delete")
    destination.check()
    destination.load(0, [], KEYS)
    assert numbers(destination.commit()) == (0, 0, 0, 2)


def test_a_deletion_that_reaches_other_tables_is_known_before_the_load(sink, put, run_sql):
    put("postgres://shop/scores", OLD)
    run_sql("CREATE TABLE notes (id text REFERENCES scores ON DELETE CASCADE)")
    sink("postgres://shop/scores", examples=OLD).check()
    with pytest.raises(UserError, match="on_rejected: delete deletes rows of 'scores'"):
        sink("postgres://shop/scores", examples=OLD, on_rejected="delete").check()


def test_a_ledger_of_an_older_version_gets_the_new_columns(
    sink, put, run_sql, connections, database
):
    url = "postgres://shop/scores"
    put(url, OLD)
    run_sql("ALTER TABLE _loom_loads DROP kept_rows, DROP deleted")
    run_sql("DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    run_sql("GRANT SELECT, INSERT, UPDATE ON scores, _loom_loads TO writer")
    connections["writer"] = Connection(database.replace("loom@", "writer@"))
    with pytest.raises(UserError, match="older version of Loom") as caught:
        sink("postgres://writer/scores", examples=OLD).check()
    assert 'ALTER TABLE "_loom_loads" ADD COLUMN' in caught.value.hint
    destination = sink(url, examples=OLD)
    destination.check()
    destination.load(0, [], KEYS)
    assert numbers(destination.commit()) == (0, 0, 2, 0)
    assert run_sql("SELECT sum(kept_rows) FROM _loom_loads") == [(2,)]


def test_a_sqlite_ledger_of_an_older_version_is_read(sink, put, tmp_path):
    url = "sqlite://out.db/scores"
    put(url, OLD, mode="append", run="r")
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        for name in ("kept_rows", "deleted"):
            connection.execute(f"ALTER TABLE _loom_loads DROP COLUMN {name}")
    assert put(url, OLD, mode="append", run="r") == (3, 0, 0, 0)
    assert put(url, OLD, mode="append", run="s") == (3, 0, 0, 0)
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        assert connection.execute("SELECT count(*) FROM scores").fetchone() == (6,)
