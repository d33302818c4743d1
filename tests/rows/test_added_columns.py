"""`load.evolve: add`: columns that are added to existing tables and files."""

import sqlite3
import threading
from contextlib import closing

import psycopg
import pytest

from loomgit.domain.settings import Connection
from loomgit.errors import UserError, WorldError
from loomgit.rows import postgres_evolution

SQLITE, POSTGRES = "sqlite://out.db/scores", "postgres://shop/scores"
TABLES = (SQLITE, POSTGRES)
COLUMNAR = ("out.csv", "out.parquet")
FILES = (*COLUMNAR, "out.jsonl", "out.json")
OLD = [{"id": "a", "label": "good"}, {"id": "b", "label": "bad"}]
NEW = [{"id": "b", "label": "bad", "why": "rude"}, {"id": "c", "label": "fine", "why": None}]
SCHEMA = {
    "properties": {
        "label": {"type": "string"},
        "score": {"type": ["number", "null"]},
        "tags": {"type": "array"},
    }
}


@pytest.fixture
def connections(database):
    return {"shop": Connection(database)}


@pytest.fixture
def ask(tmp_path):
    def asked(*statements):
        with closing(sqlite3.connect(tmp_path / "out.db", isolation_level=None)) as connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return rows

    return asked


def rows_in(source, url):
    """The rows of a destination by key. An empty field of a CSV file counts as null."""
    query = "SELECT * FROM scores" if url in TABLES else None
    rows = [
        {name: value for name, value in row.items() if value not in (None, "")}
        for row in source(url, query).rows()
    ]
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.parametrize("url", [*TABLES, *FILES])
def test_a_new_field_becomes_a_column_that_is_empty_in_old_rows(source, put, url):
    put(url, OLD)
    assert put(url, NEW, evolve="add") == (1, 1, 0, 0)
    assert rows_in(source, url) == [
        {"id": "a", "label": "good"},
        {"id": "b", "label": "bad", "why": "rude"},
        {"id": "c", "label": "fine"},
    ]
    assert put(url, NEW) == (0, 0, 2, 0), "the column is there for a run without `evolve` too"


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("url", [*TABLES, *FILES])
def test_columns_are_added_in_every_mode(source, put, url, mode):
    put(url, OLD)
    assert put(url, [{"id": "c", "why": "x"}], mode=mode, evolve="add") == (1, 0, 0, 0)
    kept = [] if mode == "replace" else OLD
    assert rows_in(source, url) == [*kept, {"id": "c", "why": "x"}]
    if url in TABLES:
        put(url, [{"id": "d", "label": "old"}], mode=mode)  # no column was dropped


@pytest.mark.parametrize("url", [*TABLES, *COLUMNAR])
def test_a_column_whose_values_are_all_null_is_added_too(source, put, url):
    put(url, OLD)
    assert put(url, [{**OLD[0], "why": None}], evolve="add") == (0, 0, 1, 0)
    put(url, [{"id": "a", "why": "x"}])
    assert rows_in(source, url)[0]["why"] == "x"


def test_the_types_in_sqlite_are_those_of_a_new_table(put, ask):
    put(SQLITE, OLD)
    row = {"id": "c", "label": "x", "score": 1, "text": "t", "n": 5}
    put(SQLITE, [row], schema=SCHEMA, evolve="add")
    assert ask("SELECT name, type, \"notnull\" FROM pragma_table_info('scores')") == [
        ("id", "TEXT", 1),
        ("label", "TEXT", 0),
        ("score", "REAL", 0),
        ("text", "TEXT", 0),
        ("n", "", 0),
        ("tags", "TEXT", 0),
    ]


def test_the_types_in_postgresql_are_those_of_a_new_table(put, run_sql):
    put(POSTGRES, OLD)
    row = {"id": "c", "label": "x", "score": 1, "text": "t", "n": 5, "o": {"a": 1}}
    put(POSTGRES, [row], schema=SCHEMA, evolve="add")
    assert run_sql(
        "SELECT attname::text, format_type(atttypid, -1), attnotnull FROM pg_attribute "
        "WHERE attrelid = 'scores'::regclass AND attnum > 2"
    ) == [
        ("score", "double precision", False),
        ("text", "text", False),
        ("n", "bigint", False),
        ("o", "jsonb", False),
        ("tags", "jsonb", False),
    ]


def test_the_types_in_parquet_are_those_of_a_new_file(put, source):
    put("out.parquet", OLD)
    put("out.parquet", [{"id": "c", "score": 1, "n": 5, "why": None}], schema=SCHEMA, evolve="add")
    types = source("out.parquet", "SELECT typeof(score), typeof(n), typeof(why) FROM data LIMIT 1")
    (row,) = types.rows()
    assert [*row.values()] == ["DOUBLE", "BIGINT", "VARCHAR"]


def test_the_old_rows_of_a_csv_file_keep_their_bytes(tmp_path, put):
    raw = b'\xef\xbb\xbf"id",label\r\n"a","x ""y""\r\nz"\r\nb,bad\r\n"c",'
    (tmp_path / "out.csv").write_bytes(raw)
    put("out.csv", [{"id": "d", "label": "q", 'why, "so"': "x", "n": 1}], evolve="add")
    assert (tmp_path / "out.csv").read_bytes() == (
        b'\xef\xbb\xbf"id",label,"why, ""so""",n\r\n'
        b'"a","x ""y""\r\nz",,\r\nb,bad,,\r\n"c",,,\r\nd,q,x,1\r\n'
    )


def test_a_csv_file_with_one_column_gets_a_second(tmp_path, put):
    (tmp_path / "out.csv").write_bytes(b'id\n""\na\n')
    put("out.csv", [{"id": "b", "n": 1}], mode="append", evolve="add")
    assert (tmp_path / "out.csv").read_bytes() == b'id,n\n"",\na,\nb,1\n'


@pytest.mark.parametrize("url", [*TABLES, *COLUMNAR])
def test_check_accepts_missing_columns_and_writes_nothing(source, put, sink, url):
    put(url, OLD)
    sink(url, examples=NEW, schema=SCHEMA, evolve="add").check()
    assert rows_in(source, url) == OLD
    with pytest.raises(UserError, match="no column") as caught:
        sink(url, examples=NEW).check()
    assert "`load.evolve: add`" in caught.value.hint


@pytest.mark.parametrize("url", [*TABLES, *COLUMNAR])
def test_later_batches_add_further_columns(source, put, url):
    put(url, OLD)
    batches = [[{"id": "c", "x": "1"}], [{"id": "d", "y": "2"}], [{"id": "e", "x": "3", "y": "4"}]]
    assert put(url, *batches, evolve="add") == (3, 0, 0, 0)
    assert rows_in(source, url)[2:] == [row for (row,) in batches]


@pytest.mark.parametrize("url", [SQLITE, *COLUMNAR])
def test_a_later_value_of_another_type_fits_as_in_a_new_table(source, put, url):
    put(url, OLD)
    put(url, [{"id": "c", "x": 1}], [{"id": "d", "x": "007"}], evolve="add")
    assert [str(row["x"]) for row in rows_in(source, url)[2:]] == ["1", "007"]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("value", ["word", 1.5, 2**63, True, [1]])
def test_postgresql_refuses_a_later_value_that_does_not_fit(sink, put, run_sql, exists, value):
    if exists:
        put(POSTGRES, OLD)
    destination = sink(POSTGRES, evolve="add" if exists else None)
    row = {"id": "d", "x": value}
    assert destination.refusal(row) == ""
    destination.load(0, [{"id": "c", "x": 1}])
    assert "column 'x' is bigint and cannot hold" in destination.refusal(row)
    refused = destination.load(1, [row, {"id": "e", "x": 2}])
    assert [*refused] == [0]
    assert "column 'x' is bigint" in refused[0]
    destination.commit()
    assert run_sql("SELECT id FROM scores WHERE x IS NOT NULL ORDER BY 1") == [("c",), ("e",)]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("value", ["word", 1.5])
def test_replace_refuses_a_value_that_does_not_fit_the_first_rows(put, run_sql, exists, value):
    if exists:
        put(POSTGRES, OLD)
    rows = [{"id": str(number), "x": number} for number in range(1000)]
    with pytest.raises(UserError, match="column 'x' is bigint and cannot hold"):
        put(POSTGRES, [*rows, {"id": "last", "x": value}], mode="replace", evolve="add")
    if exists:
        assert run_sql("SELECT * FROM scores ORDER BY 1") == [("a", "good"), ("b", "bad")]


def test_sqlite_refuses_a_value_that_the_type_of_the_schema_would_change(sink, put):
    put(SQLITE, OLD)
    schema = {"properties": {"x": {"type": "number"}}}
    destination = sink(SQLITE, schema=schema, evolve="add")
    rows = [{"id": "c", "x": 2**53 + 1}, {"id": "d", "x": 2}]
    assert destination.refusal(rows[0]) == ""
    assert [*destination.load(0, rows)] == [0]
    destination.commit()


# -- names


@pytest.mark.parametrize("url", [POSTGRES, *COLUMNAR])
def test_a_name_that_differs_only_in_case_is_not_added(put, sink, url):
    put(url, OLD)
    row = {"id": "c", "Label": "x"}
    destination = sink(url, run="r", evolve="add")
    assert "'Label' differs from column 'label' only in case" in destination.refusal(row)
    destination.abort()
    with pytest.raises(UserError, match="'Label' differs from column 'label' only in case"):
        sink(url, examples=[row], evolve="add").check()
    both = [{"id": "c", "why": "x"}, {"id": "d", "Why": "x"}]
    with pytest.raises(UserError, match="'Why' differs from column 'why' only in case"):
        put(url, both, evolve="add")


def test_sqlite_uses_the_existing_column_whose_name_differs_in_case(put, sink, ask):
    put(SQLITE, OLD)
    rows = [{"id": "c", "Label": "x"}, {"id": "d", "why": "1"}, {"id": "e", "Why": "2"}]
    put(SQLITE, rows, evolve="add")
    assert ask("SELECT label, why FROM scores WHERE id > 'b' ORDER BY id") == [
        ("x", None),
        (None, "1"),
        (None, "2"),
    ]
    row = {"id": "f", "why": "x", "WHY": "y"}
    assert "two fields 'WHY'" in sink(SQLITE, evolve="add").refusal(row)


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32, "a\0b", "ctid", "xmin", "_loom_at"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_name_that_postgresql_cannot_store_is_refused(put, sink, name, exists):
    if exists:
        put(POSTGRES, OLD)
    row = {"id": "c", name: "x"}
    assert "cannot be the name of a column" in sink(POSTGRES, evolve="add").refusal(row)
    with pytest.raises(UserError, match="cannot be the name of a column"):
        sink(POSTGRES, examples=[row], evolve="add").check()


@pytest.mark.parametrize("url", [SQLITE, "out.csv"])
def test_a_name_with_nul_is_refused(put, sink, url):
    put(url, OLD)
    row = {"id": "c", "a\0b": "x"}
    assert "NUL" in sink(url, evolve="add").refusal(row)
    with pytest.raises(UserError, match="NUL"):
        sink(url, examples=[row], evolve="add").check()


@pytest.mark.parametrize("name", ["", " "])
def test_a_csv_file_gets_no_column_without_a_name(put, sink, name):
    put("out.csv", OLD)
    assert "without a name" in sink("out.csv", evolve="add").refusal({"id": "c", name: "x"})


@pytest.mark.parametrize("url", TABLES)
def test_any_valid_name_is_added(source, put, url):
    names = ('a "b"', "select", "naïve col", "50%", "x; DROP TABLE scores")
    put(url, OLD)
    row = {"id": "c", **dict.fromkeys(names, "v")}
    put(url, [row], evolve="add")
    assert rows_in(source, url)[2] == row


# -- tables that cannot get a column


def test_a_strict_table_gets_a_column_of_any_type(put, sink, ask):
    ask("CREATE TABLE scores (id TEXT PRIMARY KEY) STRICT")
    rows = [{"id": "a", "x": 1, "t": "a"}, {"id": "b", "x": "007", "t": None}]
    with pytest.raises(UserError) as caught:
        sink(SQLITE).load(0, rows)
    assert 'ADD COLUMN "x" ANY; ' in caught.value.hint
    sink(SQLITE, examples=rows, evolve="add").check()
    put(SQLITE, rows, evolve="add")
    assert ask("SELECT x, typeof(x) FROM scores") == [(1, "integer"), ("007", "text")]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("CREATE TABLE scores (id TEXT, why TEXT AS (id))", "duplicate column name: why"),
        ("CREATE VIRTUAL TABLE scores USING fts5(id)", "virtual tables may not be altered"),
    ],
)
def test_a_sqlite_table_that_cannot_get_the_column_is_reported_by_check(
    sink, ask, definition, message
):
    ask(definition)
    with pytest.raises(UserError, match=message):
        sink(SQLITE, examples=[{"id": "a", "why": "x"}], evolve="add").check()


def test_a_not_null_column_that_nothing_fills_is_found_beside_added_columns(sink, ask):
    ask("CREATE TABLE scores (id TEXT PRIMARY KEY, must INT NOT NULL)")
    with pytest.raises(UserError, match="needs a value in column 'must'"):
        sink(SQLITE, examples=NEW, evolve="add").check()


@pytest.fixture
def as_writer(database, run_sql, connections):
    """The address of the table for a role that owns neither the table nor its database."""
    run_sql("DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, label text)")
    run_sql("GRANT SELECT, INSERT, UPDATE, DELETE ON scores TO writer; "
            "CREATE SCHEMA loom; GRANT USAGE, CREATE ON SCHEMA loom TO writer")  # fmt: skip
    connections["writer"] = Connection(database.replace("loom@", "writer@"), loom_schema="loom")
    return "postgres://writer/scores"


@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
def test_only_the_owner_of_a_postgresql_table_can_add_columns(sink, run_sql, as_writer, mode):
    sink(as_writer, mode, examples=OLD, evolve="add").check()  # no column is missing
    with pytest.raises(UserError, match="the role does not own table scores") as caught:
        sink(as_writer, mode, examples=NEW, evolve="add").check()
    assert 'ALTER TABLE "scores" ADD COLUMN "why" text' in caught.value.hint
    destination = sink(as_writer, mode, run="r", evolve="add")
    assert "does not own" in destination.refusal(NEW[0]), "an undeclared field fails its record"
    assert destination.refusal(OLD[0]) == ""
    destination.abort()
    run_sql("CREATE ROLE owners; GRANT owners TO writer; ALTER TABLE scores OWNER TO owners")
    try:
        sink(as_writer, mode, examples=NEW, evolve="add").check()  # a member of the owner
    finally:
        run_sql("DROP OWNED BY owners; DROP ROLE owners")


def test_a_partition_and_a_typed_table_get_no_columns(sink, run_sql):
    run_sql("CREATE TABLE whole (id text, label text) PARTITION BY LIST (id)")
    run_sql("CREATE TABLE scores PARTITION OF whole DEFAULT")
    with pytest.raises(UserError, match="a partition has the columns of its parent"):
        sink(POSTGRES, "append", examples=NEW, evolve="add").check()
    sink("postgres://shop/whole", "append", examples=NEW, evolve="add").check()
    run_sql("CREATE TYPE form AS (id text, label text); CREATE TABLE typed OF form")
    with pytest.raises(UserError, match="a typed table has the columns of its type"):
        sink("postgres://shop/typed", "append", examples=NEW, evolve="add").check()


def test_columns_are_added_to_the_partitions_of_a_table(put, run_sql):
    run_sql("CREATE TABLE scores (id text, label text) PARTITION BY LIST (id)")
    run_sql("CREATE TABLE part PARTITION OF scores DEFAULT")
    put(POSTGRES, NEW, mode="append", evolve="add")
    assert run_sql("SELECT id, why FROM part ORDER BY 1") == [("b", "rude"), ("c", None)]


def test_an_upsert_needs_a_key_that_is_already_unique(sink, run_sql):
    run_sql("CREATE TABLE scores (label text)")
    with pytest.raises(UserError, match="needs a unique key") as caught:
        sink(POSTGRES, examples=NEW, evolve="add").check()
    run_sql(caught.value.hint)
    sink(POSTGRES, examples=NEW, evolve="add").check()


# -- concurrent runs


@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
@pytest.mark.parametrize("url", TABLES)
def test_a_batch_that_fails_adds_no_column(source, sink, put, ask, run_sql, url, mode):
    put(url, OLD)
    if url == SQLITE:
        ask("CREATE TRIGGER t BEFORE INSERT ON scores BEGIN INSERT INTO nowhere VALUES (1); END")
    else:
        run_sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN INSERT INTO nowhere VALUES (1); END $$")  # fmt: skip
        run_sql("CREATE TRIGGER t BEFORE INSERT ON scores FOR EACH ROW EXECUTE FUNCTION f()")
    destination = sink(url, mode, evolve="add")
    with pytest.raises(UserError, match="nowhere"):
        destination.load(0, NEW)
        destination.commit()
    destination.abort()
    (row,) = source(url, "SELECT * FROM scores LIMIT 1").rows()
    assert [*row] == ["id", "label"]


@pytest.mark.parametrize("url", [*TABLES, *COLUMNAR])
def test_two_runs_can_add_the_same_column(source, put, sink, url):
    put(url, OLD)
    first, second = (
        sink(url, "replace" if url == POSTGRES else "append", run=run, evolve="add")
        for run in ("1", "2")
    )
    rows = [{"id": "c", "why": "x"}], [{"id": "d", "why": "y"}]
    for destination, batch in zip((first, second), rows, strict=True):
        assert destination.refusal(batch[0]) == ""  # both know the columns of the old table
    faults = []

    def run(destination, batch):
        try:
            destination.load(0, batch)
            destination.commit()
        except Exception as fault:  # noqa: BLE001 - reported by the test
            faults.append(fault)

    threads = [
        threading.Thread(target=run, args=pair) for pair in zip((first, second), rows, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    loaded = [row for row in rows_in(source, url) if "why" in row]
    assert loaded in ([*rows[0], *rows[1]], *([rows[0], rows[1]] if url == POSTGRES else []))


def test_a_column_that_another_program_has_just_added_is_used(put, sink, run_sql):
    put(POSTGRES, OLD)
    destination = sink(POSTGRES, evolve="add")
    assert destination.refusal(NEW[0]) == ""
    run_sql("ALTER TABLE scores ADD why text")
    destination.load(0, NEW)
    destination.commit()
    assert run_sql("SELECT why FROM scores WHERE id = 'b'") == [("rude",)]


def test_the_wait_for_other_sessions_ends(put, sink, database, monkeypatch):
    put(POSTGRES, OLD)
    monkeypatch.setattr(postgres_evolution, "LOCK_TIMEOUT", 1)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT * FROM scores")
        with pytest.raises(WorldError, match="lock timeout"):
            sink(POSTGRES, evolve="add").load(0, NEW)


@pytest.mark.parametrize("url", [*TABLES, *FILES])
def test_a_destination_that_does_not_exist_is_made_as_without_evolve(source, put, url):
    assert put(url, NEW, evolve="add") == (2, 0, 0, 0)
    assert len(rows_in(source, url)) == 2


def test_an_empty_run_adds_nothing(put, tmp_path, source):
    for url in (SQLITE, "out.csv", "out.parquet"):
        put(url, OLD)
        put(url, schema=SCHEMA, evolve="add")
        assert rows_in(source, url) == OLD
    assert (tmp_path / "out.csv").read_text().startswith("id,label\n")
