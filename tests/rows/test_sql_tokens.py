"""Strings, names and comments of the dialects of SQLAlchemy around parameters."""

from datetime import UTC, datetime

import pytest

from loomgit.domain.ports import QueryValues
from loomgit.rows.sql import QueryError, bind

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def bound(query, dialect, **variables):
    return bind(query, QueryValues(WHEN, None, variables), ":n", dialect)


def test_values_become_names_and_colons_are_escaped():
    found = bound("SELECT a::int, ':b' FROM t WHERE c = {{ vars.x }} OR d IN ({{ vars.l }})",
                  "postgresql", x="'", l=[1, 2])  # fmt: skip
    assert found.text == (
        r"SELECT a\:\:int, '\:b' FROM t WHERE c = :loom_1 OR d IN (:loom_2, :loom_3)"
    )
    assert found.parameters == ("'", 1, 2)


def test_dates_are_bound_as_dates_and_null_is_sql():
    found = bound("SELECT {{ execution_date }}, {{ execution_date.date() }}, {{ vars.x }}",
                  "mysql", x=None)  # fmt: skip
    assert found.text == "SELECT :loom_1, :loom_2, NULL"
    assert found.parameters == (WHEN, WHEN.date())


@pytest.mark.parametrize(
    ("dialect", "query", "text"),
    [
        ("mysql", r"""SELECT 'it\'s', "a\"b", `c'd`, {{ 1 }}""", None),
        ("mariadb", "SELECT 5--{{ 1 }} # it's {{ 2 }}\n", "SELECT 5--:loom_1"),
        ("mysql", "SELECT 1 -- it's {{ 2 }}", "SELECT 1"),
        ("mysql", "SELECT /*+ MAX_EXECUTION_TIME(9) */ /*! SQL_NO_CACHE */ 1", None),
        ("mssql", "SELECT [it's], [a]]'b] + {{ 1 }}", None),
        ("mssql", "SELECT 1 /* a /* ' */ {{ 2 }} */ + {{ 1 }}", "SELECT 1 + :loom_1"),
        ("oracle", r"SELECT '\', {{ 1 }} FROM t WHERE a LIKE '%\%' ESCAPE '\'", None),
        ("oracle", "SELECT --+ FULL(t)\n a FROM t", None),
        ("duckdb", r"SELECT E'it\'s', '\', $$it's$$, $a$it's $$ $a$, {{ 1 }}", None),
        ("duckdb", "SELECT 1 /* a /* ' */ + {{ 1 }}", "SELECT 1 + :loom_1"),
        ("postgresql", r"SELECT '{}' ? 'a', E'\'', '\', {{ 1 }}", None),
        ("snowflake", r"SELECT 'a\\', 'a\n', $$it's$$, a ? b, {{ 1 }}", None),
        ("snowflake", r"SELECT 'it\'s'", None),
    ],
)
def test_text_of_a_dialect_stays_as_it_is(dialect, query, text):
    found = bound(query, dialect).text
    if text:  # comments become white space
        assert found.split() == text.split()
    else:
        assert found == query.replace(":", "\\:").replace("{{ 1 }}", ":loom_1")


@pytest.mark.parametrize(
    ("dialect", "query", "message"),
    [
        ("mysql", r"SELECT 'it\'s {{ vars.x }}'", "inside quotes"),
        ("mysql", 'SELECT "{{ vars.x }}"', "inside quotes"),
        ("mysql", "SELECT `{{ vars.x }}`", "the name of a table or column"),
        ("mssql", "SELECT [{{ vars.x }}]", "the name of a table or column"),
        ("oracle", r"SELECT '\' || '{{ vars.x }}'", "inside quotes"),
        ("snowflake", r"SELECT 'it\'s {{ vars.x }}'", "does not know where this database ends"),
        ("bigquery", r"""SELECT "a\"b", {{ vars.x }}""", "does not know where this database ends"),
        ("duckdb", "SELECT $1, {{ vars.x }}", "'$1' has no value"),
        ("mysql", "SELECT * FROM {{ vars.x }}", "the name of a table or column"),
        ("mysql", "SELECT 1; DELETE FROM t", "more than one statement"),
    ],
)
def test_a_value_in_another_place_is_an_error(dialect, query, message):
    with pytest.raises(QueryError, match="query line 1") as caught:
        bound(query, dialect, x="x")
    assert message in caught.value.message
