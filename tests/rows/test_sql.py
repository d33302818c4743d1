"""Values in queries are bound, never text."""

import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.domain.ports import QueryValues
from loomgit.rows.sql import QueryError, bind

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def values(watermark=None, when=WHEN, **variables):
    return QueryValues(when, watermark, variables)


def test_values_become_parameters_in_their_order():
    bound = bind(
        "SELECT * FROM t WHERE a > {{ execution_date }} AND b = {{ vars.lang }} AND c < {{ 1.5 }}",
        values(lang="it's; DROP TABLE t --"),
    )
    assert bound.text == "SELECT * FROM t WHERE a > ? AND b = ? AND c < ?"
    assert bound.parameters == ("2026-03-04 05:06:07", "it's; DROP TABLE t --", 1.5)


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans()))
def test_any_text_or_number_comes_back_out_of_the_database_as_it_went_in(value):
    bound = bind("SELECT {{ vars.x }} AS x", values(x=value))
    connection = sqlite3.connect(":memory:")
    assert connection.execute(bound.text, bound.parameters).fetchone() == (value,)
    connection.close()


def test_the_execution_date_is_said_in_utc_with_a_fraction_only_where_there_is_one():
    east = timezone(timedelta(hours=2))
    noon = values(when=datetime(2026, 3, 4, 12, tzinfo=east))
    assert bind("SELECT {{ execution_date }}", noon).parameters == ("2026-03-04 10:00:00",)
    fraction = values(when=WHEN.replace(microsecond=250000))
    assert bind("SELECT {{ execution_date }}", fraction).parameters == (
        "2026-03-04 05:06:07.250000",
    )


def test_the_execution_date_has_the_other_spellings_as_methods():
    bound = bind(
        "SELECT {{ execution_date.date() }}, {{ execution_date.isoformat() }}, "
        "{{ execution_date.strftime('%Y') }}, {{ execution_date.timestamp() | int }}",
        values(),
    )
    assert bound.parameters == ("2026-03-04", "2026-03-04T05:06:07+00:00", "2026", 1772600767)


def test_the_execution_date_compares_with_dates_timestamps_and_text_in_duckdb():
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE t AS SELECT DATE '2026-03-05' AS d, TIMESTAMP '2026-03-04 05:06:08' AS ts, "
        "TIMESTAMPTZ '2026-03-04 05:06:08+00' AS tz, '2026-03-04 05:06:08' AS s"
    )
    for column in ("d", "ts", "tz", "s"):
        for comparison, count in ((">", 1), ("<=", 0)):
            bound = bind(
                f"SELECT * FROM t WHERE {column} {comparison} {{{{ execution_date }}}}", values()
            )
            found = connection.execute(
                bound.text.replace("*", "1"), list(bound.parameters)
            ).fetchall()
            assert len(found) == count, (column, comparison)
    connection.close()


def test_the_execution_date_compares_with_what_sqlite_writes():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (at)")
    connection.execute("INSERT INTO t VALUES (datetime('2026-03-04 05:06:08')), ('2026-03-04 05')")
    bound = bind("SELECT at FROM t WHERE at > {{ execution_date }}", values())
    assert connection.execute(bound.text, bound.parameters).fetchall() == [("2026-03-04 05:06:08",)]
    connection.close()


@pytest.mark.parametrize(("ids", "count"), [([1, 3], 2), ([], 0)])
def test_a_list_is_a_set_for_in(ids, count):
    bound = bind("SELECT * FROM range(5) t(n) WHERE n IN ({{ vars.ids }})", values(ids=ids))
    connection = duckdb.connect()
    assert len(connection.execute(bound.text, list(bound.parameters)).fetchall()) == count
    negated = bound.text.replace("IN (", "NOT IN (")
    found = connection.execute(negated, list(bound.parameters)).fetchall()
    assert len(found) == 5 - count
    connection.close()


def test_control_structures_decide_what_is_asked():
    query = (
        "SELECT * FROM t WHERE 1 = 1"
        "{% if watermark is not none %} AND id > {{ watermark }}{% endif %}"
        "{% for word in vars.words %} AND text <> {{ word }}{% endfor %}"
    )
    bound = bind(query, values(words=["a", "b"]))
    assert bound.text == "SELECT * FROM t WHERE 1 = 1 AND text <> ? AND text <> ?"
    assert bind(query, values(watermark=7, words=[])).parameters == (7,)


def test_a_variable_named_as_a_method_of_dict_is_the_variable():
    assert bind("SELECT {{ vars.items }}", values(items=3)).parameters == (3,)


def test_comments_and_the_last_semicolon_go_and_what_they_hold_is_not_bound():
    bound = bind(
        "SELECT '--not;a comment', \"a;b\" -- it's {{ vars.x }}\n"
        "/* {{ vars.x }}; */ FROM t; -- end",
        values(x=1),
    )
    assert bound.parameters == ()
    assert bound.text.split() == ["SELECT", "'--not;a", "comment',", '"a;b"', "FROM", "t"]


@pytest.mark.parametrize(
    ("query", "line", "message", "hint"),
    [
        ("SELECT 1\n WHERE a = '{{ vars.lang }}'", 2, "inside quotes", "remove the quotes"),
        ('SELECT "{{ vars.lang }}"', 1, "cannot be the name of a table or column", "{% if %}"),
        (
            "SELECT *\nFROM {{ vars.lang }}",
            2,
            "cannot be the name of a table or column",
            "{% if %}",
        ),
        (
            "SELECT * FROM t ORDER BY {{ vars.lang }}",
            1,
            "cannot be the name of a table or column",
            "{% if %}",
        ),
        (
            "SELECT * FROM reviews_{{ vars.lang }}",
            1,
            "cannot be the name of a table or column",
            "{% if %}",
        ),
        ("SELECT {{ vars.lang }}.id", 1, "cannot be the name of a table or column", "{% if %}"),
        (
            "SELECT {{ vars.lang }}{{ vars.lang }}",
            1,
            "no operator or comma between them",
            "IN ({{ vars.ids }})",
        ),
        ("\nSELECT {{ execution_dat }}", 2, "unknown variable", "'execution_date'"),
        ("SELECT 1,\n{{ vars.lan }}", 2, "unknown variable 'vars.lan'", "'vars.lang'"),
        ("SELECT 1,\n{{ vars.lan | upper }}", 2, "unknown variable 'vars.lan'", "'vars.lang'"),
        ("SELECT {{ lang }}", 1, "unknown variable 'lang'", "'vars.lang'"),
        ("\n\nSELECT {{ vars.lang", 3, "end of", ""),
        ("SELECT 1;\nDELETE FROM t", 1, "more than one statement", ""),
        ("SELECT ?", 1, "'?' has no value", "{{ vars.NAME }}"),
        ("SELECT {{ vars }}", 1, "of type dict", "lists of these"),
        ("SELECT 1\n\n{% include 'x' %}", 3, "'include' is not allowed", "{% if %}"),
        ("SELECT 1,\n{{ watermark + 1 }}", 2, "unsupported operand", ""),
        ("SELECT {{ ''.__class__ }}", 1, "unknown variable '__class__'", "there are"),
        ("-- nothing", 1, "the query is empty", ""),
        ("SELECT\n'a\0'", 2, "NUL", ""),
    ],
)
def test_a_fault_names_its_line_and_the_way_out(query, line, message, hint):
    with pytest.raises(QueryError) as caught:
        bind(query, values(lang="en"))
    assert caught.value.line == line
    assert message in caught.value.message
    assert caught.value.message.startswith(f"query line {line}: ")
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("operator", ["=", ">", ">=", "<>"])
def test_a_comparison_with_no_watermark_is_refused(operator):
    with pytest.raises(QueryError, match="never true") as caught:
        bind(f"SELECT * FROM t\nWHERE id {operator} {{{{ watermark }}}}", values())
    assert caught.value.line == 2
    assert "watermark is not none" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM t WHERE {{ watermark }} IS NULL OR id > {{ watermark }}",
        "SELECT * FROM t WHERE id > coalesce({{ watermark }}, 0)",
        "SELECT * FROM t WHERE id IS DISTINCT FROM {{ watermark }}",
    ],
)
def test_a_query_that_looks_at_the_missing_watermark_gets_null(query):
    assert set(bind(query, values()).parameters) == {None}
