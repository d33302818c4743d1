"""SQLite sources: reads the rows of a table or of a query."""

from __future__ import annotations

import math
import re
from contextlib import closing
from typing import TYPE_CHECKING

from loomgit.domain.records import RefusedRow
from loomgit.errors import UserError
from loomgit.rows.json_rows import show_row
from loomgit.rows.paths import require_file
from loomgit.rows.query import BoundQuery
from loomgit.rows.sqlite import connect, quote, require_columns, require_table, translate_errors
from loomgit.rows.sqlite_window import narrowed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.cursor_window import CursorWindow
    from loomgit.domain.values import Json, JsonObject

_IS_SELECT = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_DUPLICATE_SUFFIX = re.compile(r":\d+$")
_MAY_BE_REFUSED = (float, bytes)


class SqliteSource:
    """A table of a SQLite database, or a query, as a source. The database is opened read-only.

    A row becomes a RefusedRow if it contains a blob, an infinite number, or text that is not UTF-8.
    JSON cannot represent bytes, and base64 text would cost many tokens in a prompt. NaN does not
    occur, because SQLite stores NaN as null. `needed` are the required columns.
    """

    def __init__(
        self,
        path: Path,
        shown: str,
        *,
        table: str | None,
        query: BoundQuery | None,
        needed: Sequence[str],
        window: CursorWindow | None = None,
    ) -> None:
        """Create the source. Rows below the start of `window` may be left out."""
        self._window = window
        self._path = path
        self._shown = shown
        self._table = table
        self._query = query
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise UserError or WorldError if the source cannot be read.

        Examples are a missing file, table or required column, and an invalid query.
        """
        require_file(self._path, self._shown)
        with closing(self._connect()) as connection, translate_errors(self._shown, connection):
            query = self._statement(connection)
            cursor = connection.execute(
                f"SELECT * FROM ({query.text}) LIMIT 0",  # noqa: S608 - the SQL is written by the user
                query.parameters,
            )
            require_columns(
                self._needed, unique_names(cursor.description, self._shown), self._shown
            )

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the rows in the order in which SQLite returns them."""
        require_file(self._path, self._shown)
        with closing(self._connect()) as connection, translate_errors(self._shown, connection):
            query = self._statement(connection)
            if self._window is not None:
                query = narrowed(connection, query, self._window)
            connection.text_factory = _decode
            cursor = connection.execute(query.text, query.parameters)
            names = unique_names(cursor.description, self._shown)
            for number, values in enumerate(cursor, 1):
                row: dict[str, Json] = dict(zip(names, values, strict=True))
                reason = ""
                for value in values:
                    if value.__class__ in _MAY_BE_REFUSED:
                        reason = _reason_to_refuse(row)
                        break
                if reason:
                    yield RefusedRow(f"{self._shown}: row {number}", reason, show_row(row))
                else:
                    yield row

    def _connect(self) -> sqlite3.Connection:
        with translate_errors(self._shown):
            return connect(self._path)

    def _statement(self, connection: sqlite3.Connection) -> BoundQuery:
        if self._query is not None:
            if not _IS_SELECT.match(self._query.text):
                raise UserError(f"{self._shown}: the query must be a SELECT statement")
            return self._query
        if self._table is None:
            raise UserError(
                f"{self._shown}: does not name a table, and the pipeline has no query",
                hint=f"sqlite://{self._shown}/TABLE",
            )
        require_table(connection, self._table, self._shown)
        return BoundQuery(f"SELECT * FROM {quote(self._table)}")  # noqa: S608 - quoted


def _decode(raw: bytes) -> str | bytes:
    """Decode UTF-8 text. Return other bytes unchanged, so that the row is refused later."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _reason_to_refuse(row: JsonObject) -> str:
    """Return the reason why JSON cannot represent the row; empty if it can."""
    for name, value in row.items():
        if isinstance(value, bytes):
            return (
                f"column '{name}': bytes, which JSON cannot represent; "
                f"use extract.query to select other columns or hex({name})"
            )
        if isinstance(value, float) and not math.isfinite(value):
            return f"column '{name}': {value}, which JSON cannot represent"
    return ""


def unique_names(description: Sequence[Sequence[object]], shown: str) -> tuple[str, ...]:
    """Return the column names of a query result. Raises UserError if two names are equal.

    `description` is `Cursor.description`: one sequence per column, whose first item is the name.
    """
    names = tuple(str(column[0]) for column in description)
    for index, name in enumerate(names):
        # If a subquery returns two columns `a`, SQLite renames the second column to `a:1`.
        for duplicate in (name, _DUPLICATE_SUFFIX.sub("", name)):
            if duplicate in names[:index]:
                raise UserError(
                    f"{shown}: the query returns two columns named '{duplicate}'",
                    hint="rename one with AS",
                )
    return names
