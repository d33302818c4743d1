"""What a quarantine does, as a file and as a table of SQLite or PostgreSQL."""

import sqlite3

import pytest
from msgspec.structs import replace

from loomgit.domain.quarantine import newest_of_each_record
from loomgit.errors import UserError, WorldError
from loomgit.rows.quarantine_address import open_quarantine_store
from loomgit.rows.quarantine_table import ALL_COLUMNS
from tests.rows.test_quarantine import current, entry, resolution


@pytest.fixture(params=["file", "sqlite", "postgres"])
def store(request, tmp_path):
    if request.param == "postgres":
        database = request.getfixturevalue("database")
        url = f"{database}/_loom_quarantine"
    else:
        url = {"file": "q/x.jsonl", "sqlite": "sqlite://q/x.db/_loom_quarantine"}[request.param]
    with open_quarantine_store(url, tmp_path, {}) as opened:
        yield opened


WHOLE = entry(
    "a",
    scores={"factuality": 0.4, "broken": None},
    reasons={"factuality": "wrong", "broken": "no reply\0"},
    error="no reply\0",
    output={"label": "x", "n": [1, None, 1.5]},
    record={"id": "a", "text": "é\n\0 \\u0000", "deep": {"n": 2**63 - 1}},
)


def test_an_entry_is_read_as_it_was_written(store):
    store.check()
    assert store.open_keys("faq") == set()
    assert list(store.entries("faq")) == []
    store.add([WHOLE])
    store.check()
    (read,) = store.entries("faq")
    assert (read.record, read.output, read.scores) == (WHOLE.record, WHOLE.output, WHOLE.scores)
    assert (read.stage, read.reason, read.run_id, read.at) == ("gate", "low", "r1", WHOLE.at)
    assert read.reasons == WHOLE.reasons
    assert read.error.startswith("no reply")
    assert read.is_open


@pytest.mark.parametrize(
    "key", ["a", "sk-abcdefghijk", "a\0b", "", "é 'x' \"y\" %s ?", "x" * 10_000]
)
def test_a_record_is_resolved_by_its_key(store, key):
    store.add([entry(key), entry("other"), entry(key, pipeline="second")])
    assert store.open_keys("faq") == {key, "other"}
    store.resolve([resolution(key), resolution("unknown")])
    assert store.open_keys("faq") == {"other"}
    assert store.open_keys("second") == {key}
    by_key = {each.record_key: each for each in store.entries("faq")}
    assert by_key["other"].is_open
    resolved = by_key[key]
    assert (resolved.resolved_by, resolved.why) == ("r2", "loaded")
    assert resolved.resolved_at == "2026-03-05T00:00:00Z"


def test_the_newest_entry_comes_first_and_a_later_entry_is_open_again(store):
    store.add([entry("a", "1", at="2026-01-01T00:00:00Z")])
    store.add([entry("b", "2", at="2026-01-02T00:00:00Z")])
    store.resolve([resolution("a")])
    store.add([entry("a", "3", at="2026-01-03T00:00:00Z")])
    assert [each.reason for each in store.entries("faq")] == ["3", "2", "1"]
    assert current(store) == [("a", "3"), ("b", "2")]
    assert [each.reason for each in newest_of_each_record(store.entries("faq"))] == ["3", "2"]


def test_nothing_is_written_without_entries(store, tmp_path):
    store.check()
    store.add([])
    store.resolve([])
    assert list(tmp_path.iterdir()) == []


def test_secrets_in_reasons_are_hidden(store):
    store.add([entry("a", "x?api_key=abcdefghijkl", error="Bearer abcdefghijkl")])
    (read,) = store.entries("faq")
    assert (read.reason, read.error) == ("x?api_key=***", "Bearer ***")


def test_a_damaged_row_is_skipped_and_counted(tmp_path):
    store = open_quarantine_store("sqlite://x.db/q", tmp_path, {})
    store.add([entry("a"), entry("b")])
    store.close()
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("UPDATE q SET record = '[1' WHERE record_key = 'a'")
    assert [each.record_key for each in store.entries("faq")] == ["b"]
    assert store.damaged == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("x.csv", "cannot be a csv file"),
        ("file://x.parquet", "cannot be a parquet file"),
        ("sqlite://x.db", "does not name a table"),
        ("sqlite://x.db/_loom_loads", "is reserved"),
        ("http://example.org/q", "not available"),
        ("postgres://nowhere/q", "not configured"),
        ("", "empty"),
    ],
)
def test_an_address_that_cannot_be_a_quarantine(tmp_path, url, words):
    with pytest.raises(UserError, match=words):
        open_quarantine_store(url, tmp_path, {})


def test_a_table_of_another_kind_is_not_used(tmp_path, database, run_sql):
    with sqlite3.connect(tmp_path / "x.db") as other:
        other.execute("CREATE TABLE q (run_id, pipelin)")
        other.execute("CREATE VIEW v AS SELECT 1")
    run_sql("CREATE TABLE q (run_id text, pipelin text); CREATE VIEW v AS SELECT 1")
    for base in ("sqlite://x.db", database):
        with pytest.raises(UserError, match="has no column 'pipeline'") as raised:
            open_quarantine_store(f"{base}/q", tmp_path, {}).check()
        assert raised.value.hint == "did you mean 'pipelin'?"
        with pytest.raises(UserError, match="'v' is"):
            open_quarantine_store(f"{base}/v", tmp_path, {}).check()


def test_a_place_that_is_not_writable(tmp_path, database, run_sql):
    (tmp_path / "text.db").write_text("not a database, but a text of more than 16 bytes")
    (tmp_path / "file").write_text("x")
    for url in ("sqlite://text.db/q", "file/q.jsonl", f"{database}/none.q"):
        with pytest.raises((UserError, WorldError)):
            open_quarantine_store(url, tmp_path, {}).check()
    run_sql(
        "CREATE ROLE quarantine_reader LOGIN; "
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC, quarantine_reader"
    )
    try:
        reader = open_quarantine_store(as_role(database, "quarantine_reader") + "/q", tmp_path, {})
        with pytest.raises(UserError, match="cannot create table 'q'") as raised:
            reader.check()
        assert raised.value.hint == 'GRANT CREATE ON SCHEMA "public" TO quarantine_reader'
        with open_quarantine_store(f"{database}/q", tmp_path, {}) as owner:
            owner.add([entry("a")])
        run_sql("GRANT SELECT, INSERT ON q TO quarantine_reader")
        with pytest.raises(UserError, match="lacks the privilege UPDATE"):
            reader.check()
        run_sql("GRANT UPDATE ON q TO quarantine_reader")
        reader.check()
        reader.add([entry("b")])
        reader.resolve([resolution("a")])
        assert reader.open_keys("faq") == {"b"}
        reader.close()
    finally:
        run_sql("DROP OWNED BY quarantine_reader; DROP ROLE quarantine_reader")


def as_role(database, role):
    scheme, _, rest = database.partition("://")
    return f"{scheme}://{role}@{rest.rpartition('@')[2]}"


def test_a_lost_connection_is_opened_again(tmp_path, database, run_sql):
    with open_quarantine_store(f"{database}/q", tmp_path, {}) as store:
        store.add([entry("a")])
        run_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        store.add([entry("b")])
        assert store.open_keys("faq") == {"a", "b"}


# -- heads


def test_the_heads_are_those_of_the_entries(store):
    assert list(store.heads("faq")) == store.read([]) == []
    store.add([entry("a", at="2026-01-01T00:00:00Z"), entry("b\0", at="2026-01-02T00:00:00Z")])
    store.add([entry("c", pipeline="second"), entry("c", stage="load", target="dev")])
    store.resolve([resolution("a")])
    for only_open in (True, False):
        entries = list(store.entries("faq", only_open=only_open))
        heads = list(store.heads("faq", only_open=only_open))
        assert [head.record_key for head in heads] == ["c", "b\0", "a"][: 2 if only_open else 3]
        assert store.read(heads) == entries
        assert store.read(heads[1:2]) == entries[1:2]
        for head, whole in zip(heads, entries, strict=True):
            assert (head.pipeline, head.stage, head.at, head.target) == (
                whole.pipeline, whole.stage, whole.at, whole.target,
            )  # fmt: skip
    assert store.damaged == 0


def test_only_the_records_that_are_read_must_be_valid(tmp_path):
    with open_quarantine_store("q.jsonl", tmp_path, {}) as store:
        store.add([entry("a"), entry("b")])
        path = tmp_path / "q.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"id":"a"', b'"id":{"a"') + b'{"pipeline"\n')
        heads = list(store.heads("faq"))
        assert [head.record_key for head in heads] == ["b"]
        assert store.damaged == 2
        path.write_bytes(path.read_bytes().replace(b'"scores":{', b'"scores":{"x":"high"'))
        heads = list(store.heads("faq"))
        assert [head.record_key for head in heads] == ["b"]
        assert store.read(heads) == []
        assert store.damaged == 3


# -- targets


def test_targets_are_separate(store):
    store.add(
        [entry("a", target="dev"), entry("a", target="prod"), entry("b"), entry("c", target="dev")]
    )
    assert store.open_keys("faq", "dev") == {"a", "b", "c"}
    assert store.open_keys("faq", "prod") == {"a", "b"}
    assert store.open_keys("faq") == {"a", "b", "c"}
    store.resolve([replace(resolution(key), target="prod") for key in "abc"])
    assert store.open_keys("faq", "dev") == {"a", "c"}
    assert store.open_keys("faq", "prod") == set()
    states = {(each.record_key, each.target): each.is_open for each in store.entries("faq")}
    assert states == {
        ("a", "dev"): True, ("a", "prod"): False, ("b", None): False, ("c", "dev"): True,
    }  # fmt: skip
    opened = newest_of_each_record(store.entries("faq", only_open=True), by_target=True)
    assert sorted(each.record_key for each in opened) == ["a", "c"]
    store.resolve([resolution("a")])  # of a project without targets
    assert store.open_keys("faq") == {"c"}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_table_of_an_older_version_gets_the_column_for_the_target(tmp_path, kind, request):
    url = "sqlite://x.db/q"
    if kind == "postgres":
        url = f"{request.getfixturevalue('database')}/q"
    definition = ", ".join(f"{name} text" for name in ALL_COLUMNS)
    insert = "INSERT INTO q (run_id, pipeline, record_key, stage, reason, at, record) VALUES "
    insert += "('r0', 'faq', 'old', 'gate', 'low', '2026-01-01T00:00:00Z', '{}')"
    if kind == "postgres":
        request.getfixturevalue("run_sql")(f"CREATE TABLE q ({definition}); {insert}")
    else:
        with sqlite3.connect(tmp_path / "x.db") as older:
            older.execute(f"CREATE TABLE q ({definition})")
            older.execute(insert)
        older.close()
    with open_quarantine_store(url, tmp_path, {}) as store:
        store.check()
        assert store.open_keys("faq", "dev") == {"old"}
        store.resolve([replace(resolution("none"), target="dev")])
        store.add([entry("a")])  # needs no target
        assert [each.target for each in store.entries("faq")] == [None, None]
    with open_quarantine_store(url, tmp_path, {}) as store:
        store.add([entry("b", target="dev")])
        store.add([entry("c", target="prod")])
        assert store.open_keys("faq", "prod") == {"old", "a", "c"}
        store.resolve([replace(resolution("old"), target="prod")])
        assert store.open_keys("faq") == {"a", "b", "c"}


def test_a_role_that_cannot_add_the_column_gets_the_statement(tmp_path, database, run_sql):
    definition = ", ".join(f"{name} text" for name in ALL_COLUMNS)
    run_sql(
        f"CREATE TABLE q ({definition}); CREATE ROLE target_writer LOGIN; "
        "GRANT SELECT, INSERT, UPDATE ON q TO target_writer"
    )
    try:
        url = as_role(database, "target_writer") + "/q"
        with open_quarantine_store(url, tmp_path, {}) as store:
            store.add([entry("a")])
            with pytest.raises(UserError, match="cannot add the column for the target") as raised:
                store.add([entry("b", target="dev")])
        assert raised.value.hint == 'ALTER TABLE "q" ADD COLUMN target text'
    finally:
        run_sql("DROP OWNED BY target_writer; DROP ROLE target_writer")
