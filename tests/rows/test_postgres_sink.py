"""PostgreSQL tables as destinations."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.domain.settings import Connection
from loomgit.errors import UserError, WorldError
from loomgit.rows import postgres_lock

URL = "postgres://shop/scores"
OLD = [{"id": "a", "label": "good", "score": 0.5}, {"id": "b", "label": "bad", "score": 1.0}]


NOCASE = (
    "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
)


@pytest.fixture
def connections(database):
    return {"shop": Connection(database)}


def rows_of(run_sql):
    return run_sql("SELECT * FROM scores ORDER BY 1")


def test_a_new_table_has_the_types_of_the_first_batch(put, run_sql):
    row = {
        "id": 1,
        "t": "a",
        "x": 0.5,
        "b": True,
        "o": {"a": [1]},
        "l": [1],
        "none": None,
        "big": 2**63,
    }
    assert put(URL, [row]) == (1, 0, 0, 0)
    types = run_sql(
        "SELECT attname::text, format_type(atttypid, -1) FROM pg_attribute "
        "WHERE attrelid = 'scores'::regclass AND attnum > 0"
    )
    assert dict(types) == {
        "id": "bigint", "t": "text", "x": "double precision", "b": "boolean", "o": "jsonb",
        "l": "jsonb", "none": "text", "big": "numeric",
    }  # fmt: skip
    assert rows_of(run_sql) == [(1, "a", 0.5, True, {"a": [1]}, [1], None, 2**63)]


def test_the_schema_says_the_types_of_a_new_table(put, run_sql):
    schema = {"properties": {"n": {"type": ["integer", "null"]}, "m": {"type": "object"}}}
    put(URL, [{"id": "a", "n": None}], schema=schema)
    put(URL, [{"id": "b", "n": 7, "m": {"x": 1}}])
    assert rows_of(run_sql) == [("a", None, None), ("b", 7, {"x": 1})]


def test_an_upsert_changes_only_its_fields_and_counts_what_it_does(put, run_sql):
    put(URL, OLD)
    batches = (
        [{"id": "b", "label": "worse"}, {"id": "c", "label": "new"}],
        [{"id": "c", "label": "x"}],
    )
    assert put(URL, [OLD[0], *batches[0]], batches[1]) == (1, 1, 1, 1)
    assert rows_of(run_sql) == [("a", "good", 0.5), ("b", "worse", 1.0), ("c", "x", None)]


@pytest.mark.parametrize(
    ("definition", "old", "new"),
    [
        ("interval", "1 mon", "30 days"),
        ("text COLLATE nocase", "a", "A"),
        ("json", "[1]", "[2]"),
        ("point", "(1,2)", "(1,3)"),
        ("box", "(1,1),(0,0)", "(2,2),(1,1)"),
        ("bytea", "\\x00", "\\x01"),
    ],
)
def test_a_value_that_sql_takes_for_equal_or_cannot_compare_is_updated(
    put, run_sql, definition, old, new
):
    run_sql(NOCASE)
    run_sql(f"CREATE TABLE scores (id int PRIMARY KEY, v {definition})")
    value = (lambda text: [int(text[1])]) if definition == "json" else str
    assert put(URL, [{"id": 1, "v": value(old)}]) == (1, 0, 0, 0)
    assert put(URL, [{"id": 1, "v": value(new)}]) == (0, 1, 0, 0)
    assert put(URL, [{"id": 1, "v": value(new)}]) == (0, 0, 1, 0)


def test_keys_that_the_table_takes_for_equal_are_one_row(put, run_sql):
    run_sql(NOCASE)
    run_sql("CREATE TABLE scores (id text COLLATE nocase PRIMARY KEY, v int)")
    assert put(URL, [{"id": "a", "v": 1}, {"id": "A", "v": 2}]) == (1, 0, 0, 1)
    assert run_sql("SELECT v FROM scores") == [(2,)]


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_part_is_written_once_in_a_run(put, run_sql, mode):
    for _ in range(3):
        assert put(URL, OLD, OLD[:1], mode=mode, run="r")[0] == (3 if mode == "append" else 2)
    assert len(rows_of(run_sql)) == (3 if mode == "append" else 2)
    put(URL, OLD, mode=mode, run="s")
    assert len(rows_of(run_sql)) == (5 if mode == "append" else 2)
    assert run_sql("SELECT run, part, inserted FROM _loom_loads ORDER BY run, part")[0] == (
        "r",
        0,
        2,
    )


def test_the_rows_and_the_ledger_are_written_together(sink, run_sql):
    run_sql("CREATE TABLE scores (id text, label text, score float8)")
    run_sql("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); "
            "RETURN NULL; END $$")  # fmt: skip
    destination = sink(URL, "append")
    destination.load(0, OLD)
    run_sql("CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON scores DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION fail()")  # fmt: skip
    with pytest.raises(WorldError):
        destination.load(1, OLD)
    assert run_sql("SELECT count(*) FROM _loom_loads") == [(1,)]
    run_sql("DROP TRIGGER fail ON scores")
    again = sink(URL, "append")
    again.load(0, OLD)
    again.load(1, OLD)
    assert run_sql("SELECT count(*) FROM scores") == [(4,)]


BAD = {
    "a check": ("CHECK (v <> 'bad')", "bad", "violates check constraint"),
    "a unique column": ("UNIQUE", "5", "duplicate key value"),
    "a foreign key": ("REFERENCES known DEFERRABLE INITIALLY DEFERRED", "unknown", "foreign key"),
    "a domain": ("", "bad", "value for domain"),
    "an enum": ("", "bad", "invalid input value for enum"),
    "a date that does not exist": ("", "2026-02-30", "out of range"),
    "a trigger": ("", "bad", "not that (a reason)"),
    "not null": ("NOT NULL", None, "null value in column"),
}


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("case", BAD)
def test_a_row_that_the_database_refuses_costs_only_that_row(sink, run_sql, case, mode):
    constraint, bad, words = BAD[case]
    kind = {"a domain": "short", "an enum": "mood", "a date that does not exist": "date"}.get(case)
    values = [f"2026-01-{n:02}" if kind == "date" else str(n) for n in range(1, 29)]
    moods = ", ".join(f"'{value}'" for value in values)
    run_sql(
        "CREATE TABLE known (v text PRIMARY KEY);"
        "CREATE DOMAIN short AS text CHECK (VALUE <> 'bad');"
        f"CREATE TYPE mood AS ENUM ({moods});"
        f"CREATE TABLE scores (id int PRIMARY KEY, v {kind or 'text'} {constraint});"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.v::text = "
        "'bad' THEN RAISE 'not that' USING DETAIL = 'a reason'; END IF; RETURN new; END $$"
    )
    run_sql("INSERT INTO known SELECT n::text FROM generate_series(1, 28) n")
    if case == "a trigger":
        run_sql("CREATE TRIGGER t BEFORE INSERT ON scores FOR EACH ROW EXECUTE FUNCTION refuse()")
    rows = [{"id": n, "v": value} for n, value in enumerate(values)]
    rows.insert(17, {"id": 99, "v": bad})
    destination = sink(URL, mode)
    destination.check()
    refused = destination.load(0, rows)
    assert refused.keys() == {17}
    assert words in refused[17]
    assert destination.commit().rows == len(values)
    assert run_sql("SELECT count(*), count(*) FILTER (WHERE id = 99) FROM scores") == [(28, 0)]


def test_rows_that_a_trigger_drops_are_counted(sink, run_sql):
    run_sql("CREATE TABLE scores (id int PRIMARY KEY, v int);"
            "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF new.id % 2 = 1 THEN RETURN new; END IF; RETURN NULL; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON scores FOR EACH ROW "
            "EXECUTE FUNCTION odd()")  # fmt: skip
    for run, mode in enumerate(["upsert", "append"]):
        destination = sink(URL, mode, run=str(run))
        destination.load(0, [{"id": n + 10 * run, "v": n} for n in range(4)])
        receipt = destination.commit()
        assert (receipt.inserted, receipt.kept_out) == (2, 2)


CHANGED = {
    "numeric(5,2)": (1.255, 1.25), "numeric(3)": (1000, 999), "int2": (32768, 32767),
    "int4": ("007", "7"), "int8": (0.5, 1.0), "float4": (0.123456789, 0.125),
    "varchar(3)": ("abcd", "äöü"), "text": ("a\0b", "ab"), "name": ("ä" * 32, "ä" * 31),
    "date": ("2026-02-03 10:00:00", "2026-02-03"),
    "timestamp": ("2026-02-03 10:00+02", "2026-02-03T10:00Z"),
    "timestamptz": ("now", "2026-02-03 10:00:00.123456+02"),
    "time": ("10:00:00.1234567", "24:00:00"),
    "timestamp(0)": ("2026-02-03 10:00:00.5", "2026-02-03 10:00:00"), "bool": (1, "true"),
    "bytea": ("abc", "\\x616263"), "jsonb": ("\0", "\\u0000"),
    "int[]": (["a"], [[1, 2], [3, None]]),
    "json": ("\ud800", {"a": "\0"}), "varchar(2)[]": (["abc"], ['"\\', "{}"]),
    "uuid": ("\ud800", "5b1ff3e0-0000-0000-0000-000000000000"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGED)
def test_a_value_that_the_column_would_change_is_refused(sink, run_sql, kind):
    run_sql(f"CREATE TABLE scores (id int PRIMARY KEY, v {kind})")
    bad, good = CHANGED[kind]
    destination = sink(URL)
    assert "without a change" in destination.refusal({"id": 1, "v": bad})
    assert destination.refusal({"id": 2, "v": good}) == ""
    assert destination.load(0, [{"id": 2, "v": good}]) == {}
    assert destination.commit().inserted == 1


def test_replace_leaves_only_its_rows_and_the_table_as_it_is(put, run_sql):
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, label text, score float8 DEFAULT 7);"
            "CREATE INDEX mine ON scores (label); INSERT INTO scores "
            "VALUES ('z', 'old', 1)")  # fmt: skip
    assert put(URL, OLD, [{"id": "c", "label": "x"}, OLD[0]], mode="replace") == (3, 0, 0, 1)
    assert rows_of(run_sql) == [("a", "good", 0.5), ("b", "bad", 1.0), ("c", "x", 7.0)]
    assert run_sql("SELECT to_regclass('mine') IS NOT NULL") == [(True,)]


def test_a_failed_replace_leaves_the_old_rows(sink, run_sql):
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, label text CHECK (label <> 'bad'), "
            "score float8); INSERT INTO scores VALUES ('z', 'old', 1)")  # fmt: skip
    destination = sink(URL, "replace")
    destination.load(0, OLD)
    with pytest.raises(UserError, match="violates check constraint"):
        destination.commit()
    assert rows_of(run_sql) == [("z", "old", 1.0)]


def test_a_table_that_was_removed_between_two_attempts_is_reported(sink, run_sql):
    opened = sink(URL, "append")
    opened.load(0, OLD)
    opened.commit()
    run_sql("DROP TABLE scores")
    with pytest.raises(UserError, match="table 'scores' was removed since the run loaded"):
        sink(URL, "append").load(0, OLD)


@pytest.fixture
def as_writer(connections, database, run_sql):
    """The connection `writer`: a role without any rights."""
    run_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    run_sql("DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    connections["writer"] = Connection(database.replace("loom@", "writer@"))
    return "postgres://writer/scores"


def test_what_is_missing_is_known_before_the_load(sink, run_sql, as_writer, connections, database):
    def problem(url, mode="upsert"):
        with pytest.raises(UserError) as caught:
            sink(url, mode, examples=OLD).check()
        return f"{caught.value.message} | {caught.value.hint}"

    assert "cannot create the table 'scores' in schema 'public'" in problem(as_writer)
    run_sql("CREATE TABLE scores (id text)")
    assert 'ALTER TABLE "scores" ADD COLUMN "label" text' in problem(URL)
    run_sql("ALTER TABLE scores ADD label text, ADD score float8")
    assert 'ALTER TABLE "scores" ADD UNIQUE ("id")' in problem(URL)
    sink(URL, "append", examples=OLD).check()
    run_sql("CREATE UNIQUE INDEX part ON scores (id) WHERE label = 'x'")
    assert "ADD UNIQUE" in problem(URL)
    run_sql("CREATE UNIQUE INDEX whole ON scores (id)")
    sink(URL, examples=OLD).check()
    assert 'GRANT SELECT ON "scores"' in problem(as_writer)
    run_sql("GRANT SELECT, INSERT, UPDATE ON scores TO writer")
    assert "cannot create the table '_loom_loads' in schema 'public'" in problem(as_writer)
    run_sql("CREATE SCHEMA loom; GRANT USAGE, CREATE ON SCHEMA loom TO writer")
    connections["writer"] = Connection(database.replace("loom@", "writer@"), loom_schema="loom")
    destination = sink(as_writer, examples=OLD)
    destination.check()
    destination.load(0, OLD)
    destination.commit()
    assert run_sql("SELECT count(*) FROM loom._loom_loads") == [(1,)]
    run_sql("DELETE FROM scores; ALTER TABLE scores ADD must int NOT NULL")
    assert "needs a value in column 'must'" in problem(URL)
    run_sql("DROP INDEX part; ALTER TABLE scores DROP must, ALTER label TYPE int USING 0")
    assert "column 'label' is integer and cannot hold 'good'" in problem(URL)
    run_sql("CREATE VIEW v AS SELECT * FROM scores")
    assert "'v' is a view" in problem("postgres://shop/v")
    assert "reserved" in problem("postgres://shop/_loom_loads")
    assert "no schema" in problem("postgres://shop/nowhere.scores")


def test_check_writes_nothing(sink, run_sql):
    sink(URL, examples=OLD).check()
    assert run_sql("SELECT count(*) FROM pg_class WHERE relname IN ('scores', '_loom_loads')") == [
        (0,)
    ]


def test_two_runs_into_one_table_exclude_each_other(sink, run_sql, monkeypatch):
    monkeypatch.setattr(postgres_lock, "LOCK_TIMEOUT", 1)
    first, second = sink(URL, run="1"), sink(URL, run="2")
    first.load(0, OLD)
    with pytest.raises(WorldError, match="another run has been loading into table 'scores'"):
        second.load(0, OLD)
    first.commit()
    assert second.load(0, OLD) == {}
    second.commit()


def test_a_killed_run_leaves_whole_parts_and_no_lock(database, run_sql, sink):
    script = f"""
import os
from pathlib import Path
from loomgit.domain.definitions import Load
from loomgit.domain.settings import Connection
from loomgit.rows.sinks import open_sink
destination = open_sink(Load({URL!r}, mode="append"), key=(), root=Path("."), stage=Path("."),
                        run="r", connections={{"shop": Connection({database!r})}})
destination.load(0, {OLD!r})
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", script], check=False, env={**os.environ, "PYTHONPATH": str(root)}
    )
    destination = sink(URL, "append", run="r")
    assert destination.load(0, OLD) == destination.load(1, OLD) == {}
    destination.commit()
    assert run_sql("SELECT count(*) FROM scores") == [(4,)]


# The types of the documentation's table "Data Types", each with values at its limits.
LIMITS = {
    "smallint": ["-32768", "32767", None], "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["0.1", "1.50", "-1e-30", "123456789012345678901234567890.123456789", "NaN",
                "Infinity", "18446744073709551615", "18446744073709551616", "1e40"],
    "numeric(5,2)": ["999.99", "-0.01"],
    "real": ["3.4028235e38", "1e-45", "0.1", "NaN", "Infinity"],
    "double precision": ["1.7976931348623157e308", "5e-324", "0.1", "-Infinity", "-0"],
    "money": ["-92233720368547758.08", "1.5"], "varchar(3)": ["äöü", "", "a"], "char(3)": ["a", ""],
    "text": ["it's \\ \t\n\r \\N \\. \u2028 \U0001f600", "", "NULL", '"{}"'], "name": ["ä" * 31],
    "bytea": ["\\x", "\\x00ff"], "boolean": ["true", "false", None],
    "timestamp": ["4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999",
                      "infinity", "-infinity"],
    "timestamptz": ["2026-01-01 00:00:00.000001+05:45", "infinity", "0001-12-31 23:00:00+00 BC"],
    "date": ["4713-01-01 BC", "5874897-12-31", "infinity"], "time": ["00:00:00", "24:00:00"],
    "timetz": ["24:00:00-15:59", "00:00:00+15:59"], "time(0)": ["12:34:56"],
    "interval": ["178000000 years", "-178000000 years", "1 mon -1 days +00:00:00.000001"],
    "point": ["(1.5,-1e300)"], "line": ["{1,2,3}"], "lseg": ["[(0,0),(1,1)]"],
    "box": ["(1,1),(0,0)"], "path": ["[(0,0),(1,1)]", "((0,0),(1,1))"], "circle": ["<(0,0),1>"],
    "polygon": ["((0,0),(1,1),(2,0))"], "cidr": ["192.168.0.0/24", "::/0"],
    "inet": ["192.168.0.1/24", "::1"], "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"], "bit(3)": ["101"], "varbit": ["", "10101"],
    "tsvector": ["'a':1A 'b c':2"], "tsquery": ["'a' & !'b'"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], "xml": ["<a>b</a>"],
    "json": ['{"b": [1, 1.5, null, "\\u00e4"], "a": true}', '"text"'],
    "jsonb": ['{"b": [1, 1.5, null], "a": "x"}', "[]", '"{}"'],
    "jsonpath": ['$."a"[*]'], "int4range": ["[1,10)", "empty"], "tstzrange": ["[2026-01-01,)"],
    "int4multirange": ["{[1,3),[5,7)}"], "pg_lsn": ["16/B374D848"], "oid": ["4294967295"],
    "regclass": ["pg_class"], "pg_snapshot": ["10:20:10,14"], "mood": ["sad", "it's"],
    "int[]": ["{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={1,2}", "{}"],
    "text[]": ['{"a,b","{}",NULL,"NULL","\\\\ \\" "}'], "float8[]": ["{1.5,NaN}"],
    "jsonb[]": ['{"[1, 2]","{\\"a\\": 1}"}'], "timestamptz[]": ['{"2026-01-01 00:00:00+00"}'],
    "mood[]": ["{sad,it's}"], "pair": ['(1,"a b")'], "positive": ["1"],
}  # fmt: skip


@pytest.mark.parametrize("kind", LIMITS)
def test_a_value_of_each_type_comes_out_and_goes_in_again(source, sink, run_sql, kind):
    run_sql("CREATE TYPE mood AS ENUM ('sad', 'it''s'); CREATE TYPE pair AS (n int, t text);"
            "CREATE DOMAIN positive AS int CHECK (value > 0);"
            f"CREATE TABLE old (id int PRIMARY KEY, v {kind}); CREATE TABLE scores (LIKE old);"
            "ALTER TABLE scores ADD PRIMARY KEY (id)")  # fmt: skip
    for number, value in enumerate(LIMITS[kind]):
        run_sql(f"INSERT INTO old VALUES (%s, %s::{kind})", number, value)
    rows = list(source("postgres://shop/old").rows())
    assert all(isinstance(row, dict) for row in rows), rows
    destination = sink(URL, examples=rows[:1])
    destination.check()
    assert [destination.refusal(row) for row in rows] == [""] * len(rows)
    assert destination.load(0, rows) == {}
    destination.commit()
    # 1.50 and 1.5 are the same number, and JSON is the same with other white space.
    text = {"numeric": "trim_scale(v)", "json": "v::jsonb"}.get(kind, "v")
    both = f"SELECT id, ({text})::text FROM {{}} ORDER BY id"
    assert run_sql(both.format("scores")) == run_sql(both.format("old"))


DOMAINS = (
    "CREATE DOMAIN price AS numeric(5,2); CREATE DOMAIN low AS price; CREATE DOMAIN days AS date[];"
    "CREATE DOMAIN code AS int NOT NULL;"
)


@pytest.mark.parametrize(
    ("kind", "bad", "good"),
    [
        ("price", "1.239", 1.25), ("low", "1.239", 1), ("low", "007", "7"),
        ("days", ["2026-01-01 10:00"], ["2026-01-01"]), ("price[]", ["1.239"], [1, 2.5]),
        ("numeric(40,2)", f"{'1' * 30}.255", f"{'1' * 30}.25"),
        ('"char"', "ab", "a"), ("interval", "00:00:00.1234567", "1 mon"),
        ("money", "1.239", "$1.25"),
        ("int", "1\u0662", "12"), ("timestamp", "2026-01-01 24:00:00", "2026-01-01 23:59:59"),
        ("name", ["x" * 80], ["x"]), ("text[]", "{a\0}", ["a", None]),
    ],
)  # fmt: skip
def test_a_value_that_the_column_would_change_is_refused_behind_a_domain_too(
    sink, run_sql, kind, bad, good
):
    run_sql(f"{DOMAINS} CREATE TABLE scores (id int PRIMARY KEY, v {kind})")
    destination = sink(URL)
    assert "without a change" in destination.refusal({"id": 1, "v": bad})
    assert destination.refusal({"id": 2, "v": good}) == ""
    assert destination.load(0, [{"id": 2, "v": good}]) == {}


def test_the_last_row_wins_although_rows_have_different_fields(put, run_sql):
    run_sql("CREATE TABLE scores (id uuid PRIMARY KEY, v int, w int)")
    key = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    other = {"id": "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "v": 0, "w": 0}
    put(URL, [other, {"id": key, "v": 1}, {"id": key.upper(), "v": 2, "w": 2}])
    assert run_sql("SELECT v, w FROM scores WHERE v > 0") == [(2, 2)]


def test_tables_of_the_user_with_the_names_of_temporary_tables_are_not_touched(put, run_sql):
    (name,) = run_sql("SELECT current_database()")[0]
    run_sql(f"ALTER DATABASE {name} SET search_path = public, pg_temp")
    run_sql("CREATE TABLE _loom_incoming (id int, v int); CREATE TABLE _loom_seen (key text);"
            "INSERT INTO _loom_incoming VALUES (99, 99)")  # fmt: skip
    assert put(URL, [{"id": 1, "v": 1}]) == (1, 0, 0, 0)
    assert rows_of(run_sql) == [(1, 1)]
    assert run_sql("SELECT * FROM _loom_incoming") == [(99, 99)]
    assert run_sql("SELECT * FROM _loom_seen") == []


def test_a_refused_row_does_not_hide_a_later_row_with_its_key(sink, run_sql):
    run_sql("CREATE TABLE scores (id int PRIMARY KEY, v int CHECK (v < 100))")
    destination = sink(URL)
    assert destination.load(0, [{"id": 1, "v": 500}]).keys() == {0}
    assert destination.load(1, [{"id": 1, "v": 5}]) == {}
    receipt = destination.commit()
    assert (receipt.inserted, receipt.duplicates) == (1, 0)


def test_the_counts_are_never_negative_although_a_trigger_changes_the_key(sink, run_sql):
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, v int);"
            "CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN new.id = upper(new.id); RETURN new; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON scores "
            "FOR EACH ROW EXECUTE FUNCTION up()")  # fmt: skip
    destination = sink(URL)
    destination.load(0, [{"id": letter, "v": 1} for letter in "abcd"])
    receipt = destination.commit()
    assert receipt.rows == 4
    assert receipt.unchanged == receipt.kept_out == 0


# An own code, and codes that the server uses for a lacking privilege and for its shutdown.
@pytest.mark.parametrize("code", ["LM001", "42501", "57P01"])
def test_a_row_that_a_policy_or_a_trigger_refuses_with_its_own_code_costs_only_that_row(
    sink, run_sql, code
):
    run_sql("CREATE TABLE scores (id int PRIMARY KEY, v int);"
            "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.v = 3 THEN "
            f"RAISE 'own' USING ERRCODE = '{code}'; END IF; RETURN new; END $$;"
            "CREATE TRIGGER t BEFORE INSERT ON scores "
            "FOR EACH ROW EXECUTE FUNCTION own()")  # fmt: skip
    destination = sink(URL)
    assert destination.load(0, [{"id": n, "v": n} for n in range(9)]) == {3: "own"}
    assert destination.commit().inserted == 8


def test_a_long_key_is_a_key(put):
    rows = [{"id": "x" * 2600 + str(n), "v": n} for n in range(3)]
    assert put(URL, rows) == put(URL.replace("scores", "others"), rows) == (3, 0, 0, 0)


def test_a_unique_key_does_not_contain_the_included_columns(sink, put, run_sql):
    run_sql("CREATE TABLE scores (id int, v int, PRIMARY KEY (id) INCLUDE (v))")
    sink(URL, examples=[{"id": 1, "v": 1}]).check()
    assert put(URL, [{"id": 1, "v": 1}]) == (1, 0, 0, 0)
    with pytest.raises(UserError, match="needs a unique key"):
        sink(URL, key=("id", "v"), examples=[{"id": 1, "v": 1}]).check()


def test_replace_does_not_touch_other_tables(sink, put, run_sql):
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, label text, score float8);"
            "CREATE TABLE child () INHERITS (scores); INSERT INTO child VALUES ('c')")  # fmt: skip
    put(URL, OLD, mode="replace")
    assert run_sql("SELECT count(*) FROM ONLY child") == [(1,)]
    run_sql("CREATE TABLE other (id text REFERENCES scores ON DELETE CASCADE)")
    with pytest.raises(UserError, match="changes rows of table other"):
        sink(URL, "replace", examples=OLD).check()


def test_two_spellings_of_a_table_have_one_lock(sink, run_sql, monkeypatch):
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, label text, score float8)")
    monkeypatch.setattr(postgres_lock, "LOCK_TIMEOUT", 1)
    first = sink(URL, run="1")
    first.load(0, OLD)
    with pytest.raises(WorldError, match="another run"):
        sink("postgres://shop/public.scores", run="2").load(0, OLD)


def test_a_percent_sign_in_the_name_of_a_schema(put, run_sql):
    run_sql('CREATE SCHEMA "50%"')
    assert put("postgres://shop/50%25.t", OLD) == (2, 0, 0, 0)


def test_refused_rows_among_rows_with_different_fields(sink, run_sql):
    run_sql("CREATE TABLE scores (id int PRIMARY KEY, v int CHECK (v < 100), w int)")
    destination = sink(URL)
    for part in (0, 1):
        rows = [
            {"id": 10 * n + part, "v": 500 if n in (2, 3) else n, **({"w": n} if n % 2 else {})}
            for n in range(6)
        ]
        assert destination.load(part, rows).keys() == {2, 3}
    assert destination.commit().inserted == 8
    assert run_sql("SELECT count(*), count(w), sum(v) FROM scores") == [(8, 4, 20)]


def test_json_text_stays_text(put, run_sql):
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, x jsonb, list bigint[])")
    put(URL, [{"id": "a", "x": '{"a": 1}', "list": [1, 2]}, {"id": "b", "x": {"a": 1}}])
    kinds = run_sql("SELECT id, jsonb_typeof(x), list FROM scores ORDER BY 1")
    assert kinds == [("a", "string", [1, 2]), ("b", "object", None)]


def test_an_array_column_refuses_json_text(sink, run_sql):
    run_sql("CREATE TABLE scores (id text PRIMARY KEY, list bigint[])")
    destination = sink(URL)
    assert "malformed array" in destination.load(0, [{"id": "a", "list": "[1, 2]"}])[0]
