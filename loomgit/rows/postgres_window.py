"""Adds the condition of an incremental extraction to a query of PostgreSQL."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import psycopg
from psycopg.postgres import types

from loomgit.domain.cursors import TIME_KINDS, as_float_below, as_moment, kind_of
from loomgit.rows.postgres_connection import quote
from loomgit.rows.query import BoundQuery
from loomgit.rows.text_cursor import lowest_text

if TYPE_CHECKING:
    from loomgit.domain.cursor_window import CursorWindow
    from loomgit.domain.cursors import CursorKind, CursorPoint
    from loomgit.domain.values import Json
    from loomgit.rows.postgres_connection import Connection

_TIMES: dict[str, CursorKind] = {
    "timestamptz": "timestamp",
    "timestamp": "local timestamp",
    "date": "date",
}
_INTEGERS = ("int2", "int4", "int8", "oid")
_FLOATS = ("float4", "float8")
_TEXTS = ("text", "varchar", "bpchar", "name")
# Types whose order differs from that of the texts that PostgreSQL writes for them.
_WITHOUT_ORDER = ("interval", "money", "timetz", "inet", "cidr")
_MOST = 2**63  # integers of PostgreSQL are lower


def narrowed(connection: Connection, query: BoundQuery, window: CursorWindow) -> BoundQuery:
    """Return the query without the rows whose cursor is certainly below the start of the window.

    The result is the query itself if the server cannot compare the cursor as Loom does. Rows with a
    null cursor are not left out, because they are an error. Raises ProblemsFound if the type of the
    cursor does not fit the settings or the watermark.
    """
    with psycopg.RawCursor(connection) as cursor:
        text = f"SELECT * FROM ({query.text}\n) AS loom_rows LIMIT 0"  # noqa: S608 - of the user
        cursor.execute(text, query.parameters or None)
        columns = [c for c in cursor.description or () if c.name == window.cursor]
        if len(columns) != 1:
            return query  # `check` reports the problem
        known = types.get(columns[0].type_code)
    name = known.name if known is not None else ""
    if name in _WITHOUT_ORDER:
        raise window.problem(
            "cursor",
            f"'{window.cursor}' is {name}, whose values have another order as text",
            "select a timestamp, a date or a number with extract.query",
        )
    found = None
    if name in _TEXTS:
        found = _text_condition(connection, query, window)
    elif kind := _kind_of_type(name):
        start = window.start_for(kind)
        found = None if start is None else _condition(start, name, quote(window.cursor))
    if found is None:
        return query
    condition, value = found
    number = len(query.parameters) + 1
    column = quote(window.cursor)
    return BoundQuery(
        f"SELECT * FROM ({query.text}\n) AS loom_rows "  # noqa: S608 - of the user, and quoted
        f"WHERE {condition.format(parameter=f'${number}')} OR {column} IS NULL",
        (*query.parameters, value),
    )


def _kind_of_type(name: str) -> CursorKind | None:
    if name in _INTEGERS or name in _FLOATS or name == "numeric":
        return "number"
    return _TIMES.get(name)


def _condition(start: CursorPoint, name: str, column: str) -> tuple[str, str] | None:
    """Return a condition with the placeholder `{parameter}`, and the value of the parameter."""
    column = column.replace("{", "{{").replace("}", "}}")
    position = start.position
    if start.kind in TIME_KINDS:
        value = as_moment(position).replace(tzinfo=None).isoformat(sep=" ")
        value += "+00" if start.kind == "timestamp" else ""
        return f"{column} >= {{parameter}}::{name}", value
    assert not isinstance(position, str)
    if name == "numeric":
        return f"{column} >= {{parameter}}::numeric", f"{position:f}"
    if name in _FLOATS:
        lower = as_float_below(position)
        if name == "float4":
            lower -= abs(lower) * 1e-6  # float4 has about seven digits
        return f"{column} >= {{parameter}}::float8", repr(lower)
    whole = math.ceil(position)
    return (f"{column} >= {{parameter}}::int8", str(whole)) if abs(whole) < _MOST else None


def _text_condition(
    connection: Connection, query: BoundQuery, window: CursorWindow
) -> tuple[str, str] | None:
    """Return a condition for a column of text, which the server compares by code point."""
    column = quote(window.cursor)
    with psycopg.RawCursor(connection) as cursor:
        cursor.execute(
            f"SELECT {column}::text FROM ({query.text}\n) AS loom_rows "  # noqa: S608 - quoted
            f"WHERE {column} IS NOT NULL LIMIT 1",
            query.parameters or None,
        )
        row: tuple[Json, ...] | None = cursor.fetchone()
    if row is None or kind_of(row[0]) is None:
        return None
    value = lowest_text(window, row[0])
    column = column.replace("{", "{{").replace("}", "}}")
    condition = f'{column}::text COLLATE "C" >= {{parameter}}::text'
    return None if value is None else (condition, value)
