"""Adds the condition of an incremental extraction to a query of SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.cursors import as_float_below
from loomgit.rows.query import BoundQuery
from loomgit.rows.sqlite import quote
from loomgit.rows.text_cursor import lowest_text

if TYPE_CHECKING:
    import sqlite3

    from loomgit.domain.cursor_window import CursorWindow
    from loomgit.rows.query import Scalar

_MOST = 2**63  # integers of SQLite are lower


def narrowed(connection: sqlite3.Connection, query: BoundQuery, window: CursorWindow) -> BoundQuery:
    """Return the query without the rows whose cursor is certainly below the start of the window.

    The result is the query itself if SQLite cannot compare the cursor as Loom does. Rows whose
    cursor is null or has another type are not left out, because they are an error. Raises
    ProblemsFound if the cursor does not fit the settings or the watermark.
    """
    column = quote(window.cursor)
    first = connection.execute(
        f"SELECT {column} FROM (\n{query.text}\n) WHERE {column} IS NOT NULL LIMIT 1",  # noqa: S608
        query.parameters,
    ).fetchone()
    if first is None or not isinstance(first[0], str | int | float):
        return query
    value = first[0]
    lowest: Scalar = None
    if isinstance(value, str):
        encoding = connection.execute("PRAGMA encoding").fetchone()
        if encoding != ("UTF-8",):
            return query  # SQLite compares the bytes of the text, which are not in UTF-8
        lowest = lowest_text(window, value)
        others = f"{column} < ''"  # numbers are lower than all texts
    else:
        start = window.start_for("number")
        others = f"{column} >= ''"  # texts and blobs are higher than all numbers
        if start is not None and not isinstance(start.position, str):
            position = start.position
            is_integer = isinstance(position, int) and abs(position) < _MOST
            lowest = position if is_integer else as_float_below(position)  # type: ignore[assignment]
    if lowest is None:
        return query
    return BoundQuery(
        f"SELECT * FROM (\n{query.text}\n) WHERE {column} COLLATE BINARY >= ? "  # noqa: S608
        f"OR {column} IS NULL OR {others}",
        (*query.parameters, lowest),
    )
