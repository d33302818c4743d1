"""Databases that are read through SQLAlchemy: SQLite and DuckDB, and PostgreSQL as a server."""

import sqlite3
import sys

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loomgit.domain.safe_text import hide
from loomgit.domain.settings import Connection
from loomgit.errors import UserError, WorldError

LITE = "sqlite+pysqlite://lite/reviews"
DUCK = "duckdb://duck/reviews"


@pytest.fixture
def connections(tmp_path):
    """A database of each dialect, as paths relative to the project."""
    return {
        "lite": Connection("sqlite+pysqlite:///data/lite.db"),
        "duck": Connection("duckdb:///data/duck.db"),
    }


@pytest.fixture
def lite(tmp_path):
    """Run SQL in the SQLite database."""
    (tmp_path / "data").mkdir(exist_ok=True)
    connection = sqlite3.connect(tmp_path / "data/lite.db", isolation_level=None)
    yield connection.execute
    connection.close()


@pytest.fixture
def duck(tmp_path):
    """Run SQL in the DuckDB database, which is closed between the statements."""
    (tmp_path / "data").mkdir(exist_ok=True)

    def run(*statements):
        with duckdb.connect(str(tmp_path / "data/duck.db")) as connection:
            for statement in statements:
                result = connection.execute(statement)
            return result.fetchall()

    return run


@pytest.fixture
def reviews(lite, duck):
    lite("CREATE TABLE reviews (id INTEGER PRIMARY KEY, review TEXT, made TEXT)")
    duck("CREATE TABLE reviews AS SELECT i AS id, 'review ' || i AS review, "
         "TIMESTAMP '2026-03-01' + INTERVAL 1 DAY * i AS made FROM range(1, 6) r(i)")  # fmt: skip
    for number in range(1, 6):
        lite(f"INSERT INTO reviews VALUES ({number}, 'review {number}', "
             f"'2026-03-0{number + 1} 00:00:00')")  # fmt: skip


@pytest.fixture
def server(connections, database):
    """The dialect of PostgreSQL: it has cursors on the server and the placeholders `%(x)s`."""
    connections["pg"] = Connection(database.replace("postgresql://", "postgresql+psycopg://"))


def rows(opened):
    opened.check()
    return list(opened.rows())


@pytest.mark.parametrize("url", [LITE, DUCK])
def test_a_table_is_read_with_its_columns(source, reviews, url):
    first, *others = rows(source(url))
    assert first == {"id": 1, "review": "review 1", "made": "2026-03-02 00:00:00"}
    assert len(others) == 4
    assert len(rows(source(url, limit=2))) == 2


@pytest.mark.parametrize("url", [LITE, DUCK])
def test_a_query_has_parameters_and_keeps_its_text(source, reviews, url):
    query = r"""
        SELECT id, ':id %s ? \:x ' || '12:30' || {{ vars.x }} AS "a:b%c", 7 % 4 AS rest -- 'it''s
        FROM reviews /* :id {{ vars.x }} ? ; */
        WHERE made > {{ execution_date }} AND id IN ({{ vars.ids }}); -- end
    """
    found = rows(source(url, query, ids=[1, 2, 3, 4], x="'; :y"))
    assert found == [{"id": 4, "a:b%c": r":id %s ? \:x 12:30'; :y", "rest": 3}]


def test_a_query_of_a_server_keeps_its_text(source, server, run_sql):
    query = r"""
        SELECT 1::int AS a, '{"n": 1}'::jsonb ? 'n' AS has, 7 % 4 AS rest,
            E'it\'s :x %(y)s' AS text,
            {{ vars.x }}::text AS x, {{ vars.none }} AS none, {{ execution_date }}::text AS at,
            pg_typeof({{ execution_date.date() }})::text AS day, $$:z $1$$ AS dollar
    """
    (row,) = rows(source("postgresql+psycopg://pg", query, x=":loom_1 %s", none=None))
    assert row == {
        "a": 1, "has": True, "rest": 3, "text": "it's :x %(y)s", "x": ":loom_1 %s", "none": None,
        "at": "2026-03-04 00:00:00+00", "day": "date", "dollar": ":z $1",
    }  # fmt: skip


TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))
COLONS = st.text(st.sampled_from("\\:$%? aloom_1'\"-/*\n"))
IN_ONE_TEST = [HealthCheck.function_scoped_fixture]


@settings(deadline=None, max_examples=60, suppress_health_check=IN_ONE_TEST)
@given(TEXTS | COLONS)
def test_any_text_arrives_as_data(source, lite, value):
    assert rows(source(LITE, "SELECT {{ vars.x }} AS x", x=value)) == [{"x": value}]


@settings(deadline=None, max_examples=60, suppress_health_check=IN_ONE_TEST)
@given(COLONS)
def test_any_text_of_the_query_stays_as_it_is(source, lite, value):
    query = "SELECT '" + value.replace("'", "''") + "' AS x, {{ vars.y }} AS y"
    assert rows(source(LITE, query, y=1)) == [{"x": value, "y": 1}]


@settings(deadline=None, max_examples=20, suppress_health_check=IN_ONE_TEST)
@given(COLONS)
def test_any_text_of_a_query_of_a_server_stays_as_it_is(source, server, value):
    query = "SELECT '" + value.replace("'", "''") + "' AS x, {{ vars.y }} AS y"
    assert list(source("postgresql+psycopg://pg", query, y=1).rows()) == [{"x": value, "y": 1}]


def test_names_with_any_characters(source, lite, duck):
    for run in (lite, duck):
        run('CREATE TABLE "a ""%s:x ?" (id int, "DROP ""%s:y ?" int, "select" date)')
        run("""INSERT INTO "a ""%s:x ?" VALUES (1, 2, '2026-01-02')""")
    for alias in ("sqlite+pysqlite://lite", "duckdb://duck"):
        (row,) = rows(source(alias + "/a%20%22%25s:x%20%3F"))
        assert row == {"id": 1, 'DROP "%s:y ?': 2, "select": "2026-01-02"}


def test_a_schema(source, duck):
    duck("CREATE SCHEMA sales", "CREATE TABLE sales.orders AS SELECT 1 AS id")
    assert rows(source("duckdb://duck/sales.orders")) == [{"id": 1}]


def test_values_of_duckdb(source, duck):
    duck("""CREATE TABLE reviews AS SELECT 1.5::DECIMAL(10, 2) AS number, true AS yes,
        123456789012345678.25::DECIMAL(20, 2) AS exact, 2::DECIMAL(10, 0) AS two,
        TIMESTAMPTZ '2026-03-04 05:06:07+02' AS moment, DATE 'infinity' AS never,
        INTERVAL 1 MONTH AS month, TIME '10:00:00.5' AS time, [DATE '2026-01-01'] AS days,
        {'a': 1.5} AS object, 170141183460469231731687303715884105727::HUGEINT AS huge,
        18446744073709551615::UBIGINT AS large, 'nan'::DOUBLE AS nan, '-inf'::FLOAT AS inf,
        '6b1f1c4e-0000-4000-8000-000000000000'::UUID AS uuid, NULL AS nothing, 'é' AS text""")
    (row,) = rows(source(DUCK))
    assert row == {
        "number": 1.5, "yes": True, "exact": "123456789012345678.25", "two": 2,
        "moment": "2026-03-04 03:06:07+00", "never": "infinity", "month": "1 month",
        "time": "10:00:00.5", "days": ["2026-01-01"], "object": {"a": 1.5},
        "huge": "170141183460469231731687303715884105727", "large": 2**64 - 1,
        "nan": "NaN", "inf": "-Infinity", "uuid": "6b1f1c4e-0000-4000-8000-000000000000",
        "nothing": None, "text": "é",
    }  # fmt: skip


def test_rows_that_json_cannot_hold_are_refused_alone(source, lite, duck):
    lite("CREATE TABLE reviews AS SELECT 1 AS id, x'00ff' AS v UNION ALL SELECT 2, 'fine'")
    refused, good = rows(source(LITE))
    assert str(refused) == (
        "connection 'lite': row 1: column 'v': bytes, which JSON cannot represent"
    )
    assert refused.text == '{"id":1,"v":"<2 bytes>"}'
    assert good == {"id": 2, "v": "fine"}
    duck("CREATE TABLE reviews AS SELECT 1 AS id, MAP {1: 2} AS v UNION ALL SELECT 2, NULL")
    refused, good = rows(source(DUCK, "SELECT * FROM reviews ORDER BY id"))
    assert "a map whose keys are not text" in refused.reason
    assert good == {"id": 2, "v": None}


def test_rows_are_read_in_batches_and_an_error_ends_the_run_where_it_occurs(source, server, lite):
    series = {
        "postgresql+psycopg://pg": "generate_series(1, 9999) s(n)",
        LITE: "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s LIMIT 9999) "
        "SELECT n FROM s)",
    }
    fails = {
        "postgresql+psycopg://pg": "1 / (n - 7001)",
        LITE: "abs(-9223372036854775807 - (n / 7001))",
    }
    for url, table in series.items():
        found = source(url, f"SELECT n AS id, {fails[url]} AS x FROM {table}").rows()
        assert [next(found)["id"] for _ in range(2500)] == list(range(1, 2501))
        with pytest.raises(
            UserError, match=r"connection '(pg|lite)': (division by zero|integer over)"
        ):
            list(found)
        unread = source(url, f"SELECT n AS id, {fails[url]} AS x FROM {table}").rows()
        assert next(unread)["id"] == 1
        unread.close()  # without a warning about an open cursor


ERRORS = [
    (LITE, "SELECT *\nFROM revews", "no such table: revews"),
    (DUCK, "SELECT *\nFROM revews", "Table with name revews does not exist"),
    (LITE, "SELECT reviw FROM reviews", "no such column: reviw"),
    (LITE, "SELECT id, id FROM reviews", "two columns named 'id'"),
    (DUCK, "SELECT id, id FROM reviews", "two columns named 'id'"),
    (LITE, "SELECT 1; SELECT 2", "more than one statement"),
    (LITE, "DELETE FROM reviews RETURNING id", "must be a SELECT"),
    (DUCK, "COPY reviews TO 'x.csv'", "must be a SELECT"),
    (LITE, "SELECT '{{ vars.x }}'", "inside quotes"),
    (LITE, "SELECT ?", "'?' has no value"),
    (DUCK, "SELECT $1, {{ vars.x }}", "'$1' has no value"),
    (DUCK, "SELECT $loom_1", "'$loom_1' has no value"),
    (LITE, "SELECT :x AS x", "binding"),
    (LITE, 'SELECT 1 AS ""', "column 1 of the query has no name"),
    (LITE, "-- nothing", "query is empty"),
    (LITE, "SELECT {{ vars.big }} AS x", "too large"),
]


@pytest.mark.parametrize(("url", "query", "message"), ERRORS)
def test_a_wrong_query_is_an_error_before_any_row(source, reviews, url, query, message):
    with pytest.raises(UserError) as caught:
        source(url, query, x=1, big=2**70).check()
    assert message in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("url", [LITE, DUCK])
def test_a_missing_table_and_a_missing_column(source, reviews, url):
    with pytest.raises(UserError, match="no such table: revews") as caught:
        source(url.replace("reviews", "revews")).check()
    assert caught.value.hint == "did you mean 'reviews'?"
    with pytest.raises(UserError, match="no column 'idd'"):
        source(url, key=("idd",)).check()


def test_an_order_does_not_prevent_the_check(source, server, reviews):
    query = "SELECT id FROM reviews ORDER BY id LIMIT 2"
    for url in (LITE, DUCK):
        assert rows(source(url, query)) == [{"id": 1}, {"id": 2}]


def test_a_query_cannot_write(source, server, run_sql, tmp_path, duck, lite):
    run_sql("CREATE TABLE reviews AS SELECT 1 AS id")
    run_sql("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DELETE FROM reviews RETURNING 1'")
    with pytest.raises(UserError, match="read-only transaction"):
        rows(source("postgresql+psycopg://pg", "SELECT f() AS x"))
    with pytest.raises(UserError, match="data-modifying statements"):
        rows(source("postgresql+psycopg://pg",
                    "WITH x AS (DELETE FROM reviews RETURNING *) SELECT * FROM x"))  # fmt: skip
    assert run_sql("SELECT count(*) FROM reviews") == [(1,)]
    lite("CREATE TABLE reviews AS SELECT 1 AS id")
    with pytest.raises(UserError, match="readonly database"):
        list(source(LITE, "WITH x AS (SELECT 1) DELETE FROM reviews RETURNING id").rows())
    assert lite("SELECT count(*) FROM reviews").fetchall() == [(1,)]
    duck("CREATE TABLE reviews AS SELECT 1 AS id")
    duck("CREATE SEQUENCE numbers")
    with pytest.raises(UserError, match="read-only"):
        rows(source(DUCK, "SELECT nextval('numbers') AS x"))


def test_a_missing_file_is_not_created(source, tmp_path):
    for url in (LITE, DUCK):
        with pytest.raises(UserError, match="connection '.*': no such file"):
            source(url).check()
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_a_failure_of_the_world(source, connections):
    connections["gone"] = Connection("postgresql+psycopg://me:hunter2hunter2@127.0.0.1:1/shop")
    with pytest.raises(WorldError, match="connection 'gone': .*refused") as caught:
        source("postgresql+psycopg://gone/reviews").check()
    assert "\n" not in caught.value.message
    assert "hunter2" not in caught.value.message
    assert hide("hunter2hunter2 is hidden") == "*** is hidden"


def test_a_database_that_another_program_has_locked_is_a_failure_of_the_world(
    source, lite, reviews, connections
):
    connections["lite"] = Connection("sqlite+pysqlite:///data/lite.db?timeout=0.01")
    lite("BEGIN EXCLUSIVE")
    with pytest.raises(WorldError, match="locked"):
        source(LITE).check()


UNUSABLE = {
    "mysql://h/d": "mysql needs the driver 'MySQLdb': pip install mysqlclient",
    "mssql+pymssql://h/d": "mssql+pymssql needs the driver 'pymssql': pip install pymssql",
    "snowflake://h/d": "no dialect 'snowflake' without another package: "
    "pip install snowflake-sqlalchemy",
    "mysql+nope://h/d": "SQLAlchemy has no dialect 'mysql+nope'",
    "other://h/d": "SQLAlchemy has no dialect 'other'",
    "sqlite+aiosqlite:///x.db": "",
    "postgresql+psycopg://me:hunter2@more@h/d": "contains '@'",
    "postgresql+psycopg://me:hunter2@h:port/d": "is not a URL of SQLAlchemy",
    "postgresql+psycopg_async://h/d": "is an asynchronous driver",
    "postgresql+psycopg://h/d?hunter2=1": "",
}


@pytest.mark.parametrize(("url", "message"), UNUSABLE.items())
def test_a_url_that_cannot_be_used(source, connections, tmp_path, url, message):
    (tmp_path / "x.db").touch()
    connections["shop"] = Connection(url)
    dialect = url.partition(":")[0]
    with pytest.raises((UserError, WorldError)) as caught:
        source(f"{dialect}://shop/reviews").check()
    assert caught.value.message.startswith("connection 'shop'")
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    if message:
        assert isinstance(caught.value, UserError)
        assert "hunter2" not in caught.value.message


def test_without_sqlalchemy_the_extra_is_named(source, connections, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("loomgit.rows.sql_")]:
        if name.rpartition("_")[2] in ("source", "connection"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(UserError) as caught:
        source(LITE)
    assert "pip install 'loom-aietl[sql]'" in caught.value.message
    assert "\n" not in caught.value.message


def test_secrets_in_the_parameters_of_a_url_are_hidden(source, connections):
    odbc = "DRIVER%3Dx%3BUID%3Dme%3BPWD%3Dgeheimnis-77%3B"
    connections["ms"] = Connection(f"mssql+pyodbc:///?odbc_connect={odbc}")
    connections["pg"] = Connection("postgresql+psycopg://h/d?sslpassword=geheimnis-88")
    for url in ("mssql+pyodbc://ms/t", "postgresql+psycopg://pg/t"):
        with pytest.raises((UserError, WorldError)):
            source(url).check()
    assert hide("geheimnis-77 geheimnis-88") == "*** ***"
