"""Incremental sources: which rows are read, and the errors of cursors and settings."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loomgit.domain.cursor_window import CursorReading, CursorWindow
from loomgit.domain.cursors import (
    CursorPoint,
    as_parameter,
    kind_of,
    parse_position,
    render_position,
    subtract_lag,
)
from loomgit.domain.definitions import Extract, Incremental, Lag, Load, Pipeline, Transform
from loomgit.domain.place import Place, Places
from loomgit.domain.ports import QueryValues
from loomgit.domain.records import RowBatch
from loomgit.domain.settings import Connection
from loomgit.errors import ProblemsFound
from loomgit.rows.sources import open_source

HOUR, DAY = Lag(3600.0, is_duration=True), Lag(86400.0, is_duration=True)
PLACES = Places({f"extract.incremental.{key}": Place("p.yaml", line) for key, line in
                 (("cursor", 5), ("lag", 6), ("initial", 7))})  # fmt: skip


@pytest.fixture
def read(tmp_path):
    """Read the new rows of a source, from a watermark that is given as a value of the cursor."""

    def rows(url, watermark=None, *, lag=None, initial=None, connections=(), limit=None, **options):
        incremental = Incremental("made", lag, initial)
        extract = Extract(url, key=("id",), incremental=incremental, limit=limit, **options)
        pipeline = Pipeline(
            "ev", "p.yaml", extract, Transform("none"), Load("x.csv"), places=PLACES
        )
        point = None
        if watermark is not None:
            kind = kind_of(watermark)
            point = CursorPoint(kind, parse_position(watermark, kind))
        reading = CursorReading()
        source = open_source(
            extract,
            root=tmp_path,
            values=QueryValues(datetime(2026, 3, 4, tzinfo=UTC)),
            connections=dict(connections),
            window=CursorWindow(pipeline, incremental, point),
            reading=reading,
        )
        found = [*source.rows()]
        if hasattr(source, "batches"):
            again = [row for item in source.batches() for row in
                     (item.objects() if isinstance(item, RowBatch) else [item])]  # fmt: skip
            assert again == found
        return [row["id"] for row in found]

    return rows


@pytest.fixture
def jsonl(tmp_path):
    def write(*values):
        lines = (f'{{"id": {i}, "made": {value}}}\n' for i, value in enumerate(values))
        (tmp_path / "e.jsonl").write_text("".join(lines), "utf-8")
        return "e.jsonl"

    return write


@pytest.mark.parametrize(
    ("values", "settings", "line", "message"),
    [
        (["1", "null"], {}, 5, "record 2 (id 1) of e.jsonl: 'made' has no value"),
        (["1", '""'], {}, 5, "record 2 (id 1) of e.jsonl: 'made' has no value"),
        (["1", '"x"'], {}, 5, "record 2 (id 1) of e.jsonl: 'made' is 'x', but other records have"
                              " a number"),
        (['"2026-03-01"', "5"], {}, 5, "'made' is 5, but other records have a date"),
        (['"2026-03-01T10:00:00"', '"2026-03-01T10:00:00Z"'], {}, 5,
         "other records have a timestamp without a time zone"),
        (['"2026-03-01"', '"2026-03-01T10:00:00Z"'], {}, 5, "other records have a date"),
        (['"2026-13-01"'], {}, 5, "'made' is '2026-13-01', but other records have a date"),
        (["true"], {}, 5, "record 1 (id 0) of e.jsonl: True has no order"),
        (["[1]"], {}, 5, "record 1 (id 0) of e.jsonl: [1] has no order"),
        (['"infinity"'], {}, 5, "record 1 (id 0) of e.jsonl: 'infinity' has no order"),
        (['"NaN"', '"5"'], {}, 5, "'NaN' has no order"),
        (['"0044-03-15 BC"'], {}, 5, "'0044-03-15 BC' has no order"),
        (['"12026-03-01 10:00:00+00"'], {}, 5, "'12026-03-01 10:00:00+00' has no order"),
        (['"n/a"', '"2026-03-01"'], {}, 5, "'made' is '2026-03-01', but other records have text"),
        (['"n/a"', '"5"'], {}, 5, "record 2 (id 1) of e.jsonl: 'made' is '5', but other records"),
        (['"n/b"', '"2026-03-01"'], {"watermark": "n/a"}, 5, "'made' is '2026-03-01', but other"),
        (["5"], {"lag": HOUR}, 6, "does not fit the cursor 'made', which is a number"),
        (['"x"'], {"lag": HOUR}, 6, "does not fit the cursor 'made', which is text"),
        (['"2026-03-01"'], {"lag": HOUR}, 6, "is a date, and the lag is not a number of days"),
        (['"2026-03-01"'], {"lag": Lag(5, is_duration=False)}, 6, "which is a date"),
        (["5"], {"initial": "2026-03-01"}, 7, "'2026-03-01' does not fit the cursor 'made'"),
        (['"2026-03-01T10:00:00"'], {"initial": "2026-03-01T10:00:00Z"}, 7, "does not fit"),
        (['"x"'], {"initial": 5}, 7, "5 does not fit the cursor 'made', which is text"),
        (["5"], {"watermark": "2026-03-01"}, 5, "is a number, but the watermark is a date"),
    ],
)  # fmt: skip
def test_an_invalid_cursor_is_named_with_file_and_line(
    read, jsonl, values, settings, line, message
):
    with pytest.raises(ProblemsFound) as raised:
        read(jsonl(*values), **settings)
    (problem,) = raised.value.problems
    assert problem.place.line == line
    assert message in problem.message


def test_texts_such_as_numbers_are_text_if_initial_or_the_watermark_says_so(read, jsonl):
    assert read(jsonl('"a"', '"5"'), initial="0x") == [0, 1]
    assert read(jsonl('"a"', '"5"', '"b"'), "a") == [0, 2]


def test_a_field_that_no_record_has_is_named_with_a_similar_one(read, tmp_path):
    (tmp_path / "e.jsonl").write_text('{"id": 1, "mades": 1}\n', "utf-8")
    with pytest.raises(ProblemsFound) as raised:
        read("e.jsonl")
    assert "no field 'made'" in raised.value.problems[0].message
    assert raised.value.problems[0].hint == "did you mean 'mades'?"


@pytest.mark.parametrize(
    ("values", "watermark", "lag", "expected"),
    [
        (["9", "10", "11"], 10, None, [1, 2]),
        (['"9"', '"10"', '"11"'], 10, None, [1, 2]),  # as in a CSV file
        (["0.1", "0.30000000000000004", "0.3"], 0.3, None, [1, 2]),
        (["5", "94.5", "95"], 100, Lag(5.5, is_duration=False), [1, 2]),
        (["9007199254740993", "9007199254740992"], 9007199254740993, None, [0]),
        (['"Z"', '"a"', '"b"', '"é"'], "a", None, [1, 2, 3]),
        (['"2026-03-01T10:00:00.000000001Z"', '"2026-03-01T10:00:00Z"'],
         "2026-03-01T10:00:00.000000001Z", None, [0]),
        (['"2026-03-01T10:00:00+09:00"', '"2026-03-01T01:00:00Z"', '"2026-02-28T14:30:00-11:00"'],
         "2026-03-01T01:30:00Z", HOUR, [0, 1, 2]),
        (['"2026-02-28"', '"2026-03-01"'], "2026-03-02", DAY, [1]),
    ],
)  # fmt: skip
def test_rows_from_the_watermark_minus_the_lag(read, jsonl, values, watermark, lag, expected):
    assert read(jsonl(*values), watermark, lag=lag) == expected


@pytest.mark.parametrize("sql_type", ["interval", "money", "timetz", "inet", "cidr"])
def test_a_postgres_type_whose_order_is_not_that_of_its_text(read, database, run_sql, sql_type):
    run_sql(f"CREATE TABLE e (id int, made {sql_type})")
    connections = {"w": Connection(database)}
    with pytest.raises(ProblemsFound) as raised:
        read("postgres://w/e", connections=connections)
    (problem,) = raised.value.problems
    assert f"'made' is {sql_type}, whose values have another order as text" in problem.message


TYPES = [
    ("integer", ["1", "2", "10"], 2),
    ("bigint", ["-5", "9223372036854775806", "9223372036854775807"], 9223372036854775806),
    ("numeric", ["1.05", "1.1", "12345678901234567890.5"], "1.1"),
    ("numeric(12,2)", ["1.05", "1.10", "2.00"], 1.1),
    ("real", ["0.1", "0.7", "0.9"], 0.7),
    ("double precision", ["0.1", "0.3", "0.30000000000000004"], 0.3),
    ("date", ["2026-02-28", "2026-03-01", "2026-03-02"], "2026-03-01"),
    ("timestamp", ["2026-03-01 09:59:59.999999", "2026-03-01 10:00:00", "2026-03-02 00:00:00"],
     "2026-03-01 10:00:00"),
    ("timestamptz", ["2026-03-01 11:59:59+02", "2026-03-01 12:00:00+02", "2026-03-01 10:00:01+00"],
     "2026-03-01 10:00:00Z"),
    ("text", ["A", "B", "a"], "B"),
    ("varchar(40)", ["2026-03-01T09:00:00Z", "2026-03-01T19:00:00+09:00", "2026-03-02T00:00:00Z"],
     "2026-03-01T10:00:00Z"),
    ("text", ["9", "10", "11"], "10"),
    ("uuid", ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b",
              "00000000-0000-0000-0000-0000000000ff"], "00000000-0000-0000-0000-00000000000b"),
]  # fmt: skip


@pytest.mark.parametrize(("sql_type", "values", "watermark"), TYPES)
def test_postgresql_leaves_out_what_is_below_the_watermark(
    read, database, run_sql, sql_type, values, watermark
):
    run_sql(f"CREATE TABLE e (id int, made {sql_type})")
    for number, value in enumerate(values):
        run_sql(f"INSERT INTO e VALUES (%s, %s::text::{sql_type})", number, value)
    connections = {"pg": Connection(database)}
    assert read("postgres://pg/e", watermark, connections=connections) == [1, 2]
    query = "SELECT * FROM e WHERE id < {{ execution_date.year }} ORDER BY id DESC"
    assert read("postgres://pg/e", watermark, connections=connections, query=query) == [2, 1]
    run_sql("INSERT INTO e VALUES (7, NULL)")
    with pytest.raises(ProblemsFound, match="has no value"):
        read("postgres://pg/e", watermark, connections=connections)


def test_postgresql_sends_only_the_rows_of_the_window(read, database, run_sql):
    run_sql("CREATE TABLE e (id int, made timestamptz)")
    run_sql("INSERT INTO e SELECT i, timestamptz '2026-03-01Z' + i * interval '1 minute' "
            "FROM generate_series(1, 1000) i")  # fmt: skip
    run_sql("CREATE FUNCTION seen(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
            "IF $1 < 900 THEN RAISE EXCEPTION 'row % is below the window', $1; END IF; "
            "RETURN $1; END $$")  # fmt: skip
    query = "SELECT seen(id) AS id, made FROM e"
    found = read("postgres://pg/e", "2026-03-01T16:00:00Z", lag=HOUR, query=query,
                 connections={"pg": Connection(database)})  # fmt: skip
    assert found == [*range(900, 1001)]


@pytest.mark.parametrize(("sql_type", "values", "watermark"), TYPES[:2] + TYPES[9:12])
@pytest.mark.parametrize("url", ["sqlite://e.db/e", "sqlite+pysqlite://lite/e"])
def test_sqlite_leaves_out_what_is_below_the_watermark(
    read, tmp_path, url, sql_type, values, watermark
):
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection, connection:
        connection.execute(f"CREATE TABLE e (id, made {sql_type} COLLATE NOCASE)")
        connection.executemany("INSERT INTO e VALUES (?, ?)", enumerate(values))
    connections = {"lite": Connection("sqlite+pysqlite:///e.db")}
    assert read(url, watermark, connections=connections) == [1, 2]
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection, connection:
        connection.execute("INSERT INTO e VALUES (7, ?)", (None,))
    with pytest.raises(ProblemsFound, match="has no value"):
        read(url, watermark, connections=connections)


@pytest.mark.parametrize("url", ["sqlite://e.db/e", "sqlite+pysqlite://lite/e"])
@pytest.mark.parametrize("values", [("2026-03-01", 5), (5, "2026-03-01"), (5, "x")])
def test_sqlite_sends_values_of_other_types_so_that_they_are_an_error(read, tmp_path, url, values):
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection, connection:
        connection.execute("CREATE TABLE e (id, made)")
        connection.executemany("INSERT INTO e VALUES (?, ?)", enumerate(values))
    with pytest.raises(ProblemsFound, match="but other records have"):
        read(url, values[0], connections={"lite": Connection("sqlite+pysqlite:///e.db")})


@pytest.mark.parametrize(
    ("sql_type", "values", "watermark"),
    [*TYPES[:2], TYPES[3], *TYPES[5:8], TYPES[9], TYPES[11]],
)
@pytest.mark.parametrize("form", ["table", "parquet"])
def test_duckdb_leaves_out_what_is_below_the_watermark(
    read, tmp_path, sql_type, values, watermark, form
):
    import duckdb

    with duckdb.connect(str(tmp_path / "e.duckdb")) as connection:
        connection.execute(f"CREATE TABLE e (id INTEGER, made {sql_type})")
        connection.executemany("INSERT INTO e VALUES (?, ?)", [*enumerate(values)])
        connection.execute(f"COPY e TO '{tmp_path}/e.parquet' (FORMAT parquet)")
    url = "duckdb://duck/e" if form == "table" else "e.parquet"
    connections = {"duck": Connection("duckdb:///e.duckdb")}
    assert read(url, watermark, connections=connections) == [1, 2]


def test_a_database_that_cannot_use_the_condition_sends_all_rows(read, tmp_path):
    with closing(sqlite3.connect(tmp_path / "e.db")) as connection, connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("CREATE TABLE e (id, made)")
        connection.executemany("INSERT INTO e VALUES (?, ?)", enumerate(["\U0001f600", "\ufb01"]))
    assert read("sqlite://e.db/e", "\ufb01") == [0, 1]


POSITIONS = st.one_of(
    st.tuples(st.just("number"), st.one_of(st.integers(), st.decimals(allow_nan=False,
              allow_infinity=False, places=8, min_value=-10**12, max_value=10**12))),
    st.tuples(st.just("text"), st.text(min_size=1)),
    st.tuples(st.sampled_from(["timestamp", "local timestamp"]),
              st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9)),
)  # fmt: skip


@given(POSITIONS)
@example(("number", Decimal("-0")))
def test_a_position_is_read_as_it_was_written(item):
    kind, position = item
    text = render_position(position, kind)
    assert parse_position(text, kind) == position
    lower = as_parameter(CursorPoint(kind, position))
    if kind == "number":
        assert lower <= position


def test_a_lag_does_not_go_below_the_first_year():
    point = CursorPoint("timestamp", parse_position("0001-01-01T00:30:00Z", "timestamp"))
    start = subtract_lag(point, HOUR)
    assert render_position(start.position, start.kind) == "0001-01-01 00:00:00Z"
