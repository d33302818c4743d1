"""PostgreSQL tables and queries as sources."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loomgit.domain.settings import Connection
from loomgit.errors import UserError, WorldError

URL = "postgres://shop/reviews"


@pytest.fixture
def connections(database):
    return {"shop": Connection(database), "gone": Connection("postgresql://127.0.0.1:1/shop")}


@pytest.fixture
def reviews(run_sql):
    run_sql("CREATE TABLE reviews (id int PRIMARY KEY, review text, at timestamptz, more jsonb)")
    run_sql(
        "INSERT INTO reviews SELECT n, 'review ' || n, '2026-03-01'::timestamptz + n * '1 day'"
        "::interval, jsonb_build_object('n', n) FROM generate_series(1, 5) n"
    )


def rows(opened):
    opened.check()
    return list(opened.rows())


def test_a_table_is_read_with_its_columns(source, reviews):
    first, *others = rows(source(URL))
    assert first == {
        "id": 1,
        "review": "review 1",
        "at": "2026-03-02 00:00:00+00",
        "more": {"n": 1},
    }
    assert len(others) == 4
    assert len(rows(source(URL, limit=2))) == 2


def test_more_rows_than_one_round_trip_keep_their_order(source, run_sql):
    run_sql("CREATE TABLE reviews AS SELECT n AS id FROM generate_series(1, 4321) n ORDER BY n")
    assert [row["id"] for row in rows(source(URL))] == list(range(1, 4322))


def test_a_schema_and_names_with_any_characters(source, run_sql):
    run_sql("""CREATE SCHEMA "a b"; CREATE TABLE "a b"."t.""x" (id int, "DROP ""%s ?" text)""")
    run_sql("""INSERT INTO "a b"."t.""x" VALUES (1, 'v')""")
    (row,) = rows(source('postgres://shop/a%20b.t%2E"x'))
    assert row == {"id": 1, 'DROP "%s ?': "v"}


@pytest.mark.parametrize("place", ["role", "database"])
def test_settings_of_a_role_or_a_database_do_not_change_the_notation(source, run_sql, place):
    run_sql("CREATE TABLE reviews AS SELECT 1 AS id, '2026-03-04 05:06+00'::timestamptz AS at, "
            "'2026-03-04'::date AS day, '1 mon'::interval AS i, '\\x00'::bytea AS b")  # fmt: skip
    (name,) = run_sql("SELECT current_database()")[0]
    whose = "ROLE loom" if place == "role" else f"DATABASE {name}"
    for setting in ("TimeZone = 'Asia/Tokyo'", "DateStyle = 'SQL, DMY'", "bytea_output = 'escape'",
                    "IntervalStyle = 'iso_8601'", "client_encoding = 'LATIN1'"):  # fmt: skip
        run_sql(f"ALTER {whose} SET {setting}")
    try:
        (row,) = rows(source(URL))
    finally:
        run_sql(f"ALTER {whose} RESET ALL")
    expected = {"at": "2026-03-04 05:06:00+00", "day": "2026-03-04", "i": "1 mon", "b": "\\x00"}
    assert row == {"id": 1, **expected}


def test_values_are_bound_and_question_marks_and_percent_signs_are_sql(source, reviews):
    query = (
        "SELECT id, more ? 'n' AS has, 7 % 4 AS rest, E'it\\'s {{ x }}?' AS text, $$?$1$$ AS d\n"
        "FROM reviews -- {{ vars.word }}\n"
        "WHERE at > {{ execution_date }} AND id IN ({{ vars.ids }}) /* a /* ? */ {{ vars.word }} */"
    ).replace("{{ x }}", "")
    found = rows(source(URL, query, ids=[1, 2, 3, 4], word="x"))
    assert found == [{"id": 4, "has": True, "rest": 3, "text": "it's ?", "d": "?$1"}]


def test_the_execution_date_is_a_moment_and_its_date_a_date(source, run_sql):
    query = ("SELECT pg_typeof({{ execution_date }})::text AS a, {{ execution_date }}::text AS b, "
             "pg_typeof({{ execution_date.date() }})::text AS c")  # fmt: skip
    (row,) = rows(source(URL, query))
    assert row == {"a": "timestamp with time zone", "b": "2026-03-04 00:00:00+00", "c": "date"}


VALUES = st.one_of(
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])),
    st.sampled_from(["'); DROP TABLE reviews; --", "{{ 1 }}", "%s", "?", "$1", "\\", "x" * 10**6]),
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(VALUES)
def test_any_text_arrives_as_data(source, value):
    (row,) = list(source(URL, "SELECT {{ vars.x }} AS x", x=value).rows())
    assert row == {"x": value}


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("SELECT *\nFROM revews", 'relation "revews" does not exist (line 2 of', "'reviews'"),
        ("SELECT reviw FROM reviews", 'column "reviw" does not exist', "reviews.review"),
        ("SELEC 1", 'syntax error at or near "SELEC"', ""),
        ("DELETE FROM reviews RETURNING id", "syntax error", ""),
        ("WITH x AS (DELETE FROM reviews RETURNING *) SELECT * FROM x", "data-modifying", ""),
        ("SELECT id, id FROM reviews", "two columns named 'id'", "AS"),
        ("SELECT $1", "'$1' has no value", "vars.NAME"),
        ("SELECT 1; SELECT 2", "more than one statement", ""),
    ],
)
def test_a_wrong_query_is_an_error_before_any_row(source, reviews, query, message, hint):
    with pytest.raises(UserError) as caught:
        source(URL, query).check()
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_query_cannot_write(source, run_sql, reviews):
    run_sql("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DELETE FROM reviews RETURNING 1'")
    with pytest.raises(UserError, match="read-only transaction"):
        rows(source(URL, "SELECT f() AS x"))
    assert run_sql("SELECT count(*) FROM reviews") == [(5,)]


def test_a_missing_key_column_is_an_error(source, reviews):
    with pytest.raises(UserError, match="no column 'idd'"):
        source(URL, key=("idd",)).check()


def test_a_missing_right_is_an_error(source, run_sql, reviews, database, connections):
    run_sql("DROP ROLE IF EXISTS reader")
    run_sql("CREATE ROLE reader LOGIN")
    connections["reader"] = Connection(database.replace("loom@", "reader@"))
    with pytest.raises(UserError, match="permission denied for table reviews"):
        source("postgres://reader/reviews").check()


def test_a_server_that_does_not_answer_is_a_failure_of_the_world(source, database, connections):
    connections["lost"] = Connection(database.rpartition("/")[0] + "/nowhere")
    for name, words in (("gone", "Connection refused"), ("lost", "does not exist")):
        with pytest.raises(WorldError, match=f"connection '{name}': .*{words}") as caught:
            source(f"postgres://{name}/reviews").check()
        assert "\n" not in caught.value.message


def test_rows_that_json_cannot_hold_are_refused_alone(source, run_sql):
    run_sql("CREATE TABLE reviews (id int, j json)")
    run_sql("""INSERT INTO reviews VALUES (1, '1'), (2, '[1e999]'), (3, '{"a": 1, "a": 2}')""")
    good, infinite, twice = rows(source(URL))
    assert good == {"id": 1, "j": 1}
    assert str(infinite) == "connection 'shop': row 2: column 'j': the number 1e999 is too large"
    assert "has the key 'a' twice" in twice.reason


def test_the_values_that_have_no_number_in_json_are_text(source, run_sql):
    run_sql("CREATE TABLE reviews AS SELECT 'NaN'::float8 AS a, '-Infinity'::float4 AS b, "
            "'{1.5,NaN}'::float8[] AS c, 'infinity'::timestamptz AS d, "
            "repeat('7', 5000)::numeric AS e, "
            "'NaN'::numeric AS f, '[0:1]={1,2}'::int[] AS g, "
            "'0044-03-15 BC'::date AS h")  # fmt: skip
    (row,) = rows(source(URL))
    assert row == {"a": "NaN", "b": "-Infinity", "c": [1.5, "NaN"], "d": "infinity",
                   "e": "7" * 5000, "f": "NaN", "g": "[0:1]={1,2}",
                   "h": "0044-03-15 BC"}  # fmt: skip


def test_special_numbers_between_other_numbers_are_text(source, run_sql):
    run_sql("CREATE DOMAIN share AS float8; CREATE TABLE reviews (n int, a float8, b share, "
            "c float4[])")  # fmt: skip
    run_sql("""INSERT INTO reviews VALUES (1, 1e308, 'NaN', '{{1,NaN},{Infinity,-Infinity}}'),
        (2, 1e308, -0.0, '{}'), (3, NULL, NULL, NULL), (4, 0, 0.1, '{0.5}')""")
    usual = rows(source(URL, "SELECT a, b, c FROM reviews ORDER BY n"))
    assert [list(row.values()) for row in usual] == [
        [1e308, "NaN", [[1.0, "NaN"], ["Infinity", "-Infinity"]]], [1e308, 0.0, []],
        [None, None, None], [0.0, 0.1, [0.5]],
    ]  # fmt: skip
    run_sql("INSERT INTO reviews VALUES (5, 'Infinity', '-Infinity'), (6, '-Infinity', 1)")
    assert rows(source(URL, "SELECT a, b FROM reviews WHERE n > 3 ORDER BY n")) == [
        {"a": 0.0, "b": 0.1}, {"a": "Infinity", "b": "-Infinity"}, {"a": "-Infinity", "b": 1.0},
    ]  # fmt: skip


def test_text_that_is_not_utf_8_in_a_database_without_an_encoding_is_an_error(
    source, connections, postgres_server
):
    with postgres_server.connect() as connection:
        connection.execute("DROP DATABASE IF EXISTS unchecked WITH (FORCE)")
        connection.execute(
            "CREATE DATABASE unchecked TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
        )
    connections["shop"] = Connection(postgres_server.url("unchecked"))
    assert rows(source(URL, "SELECT 'ä' AS v")) == [{"v": "ä"}]
    with pytest.raises(UserError, match='invalid byte sequence for encoding "UTF8": 0xff'):
        rows(source(URL, "SELECT convert_from('\\xff', 'SQL_ASCII') AS v"))


def test_a_null_value_has_no_type_and_needs_none(source, reviews):
    query = "SELECT id FROM reviews WHERE {{ watermark }} IS NULL OR id > {{ watermark }}"
    assert len(rows(source(URL, query))) == 5
    query = "SELECT {{ vars.x }} IS NULL AS a, {{ vars.y }} AS b, coalesce({{ vars.x }}, 2) AS c"
    assert rows(source(URL, query, x=None, y=7)) == [{"a": True, "b": 7, "c": 2}]
