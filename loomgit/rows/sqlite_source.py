"""Rows out of a SQLite table or query."""

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
from loomgit.rows.sqlite import connect, quote, require_columns, require_table, translated

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.values import Json, JsonObject

_READS = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_SECOND = re.compile(r":\d+$")
_TO_LOOK_AT = (float, bytes)


class SqliteSource:
    """A table, or a query over the database, which is opened read-only.

    A row with a blob is refused: JSON has no bytes, and a picture in base64 would be paid for by
    the token. So is a row with text that is not UTF-8, or with an infinity. NaN cannot occur,
    because SQLite stores null.
    """

    def __init__(
        self,
        path: Path,
        shown: str,
        *,
        table: str | None,
        query: BoundQuery | None,
        needed: Sequence[str],
    ) -> None:
        self._path = path
        self._shown = shown
        self._table = table
        self._query = query
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise where the file, the table, the query or a needed column is missing."""
        require_file(self._path, self._shown)
        with closing(self._connect()) as connection, translated(self._shown, connection):
            query = self._statement(connection)
            cursor = connection.execute(
                f"SELECT * FROM ({query.text}) LIMIT 0",  # noqa: S608 - the user's own SQL
                query.parameters,
            )
            require_columns(
                self._needed, unique_names(cursor.description, self._shown), self._shown
            )

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows as SQLite orders them."""
        require_file(self._path, self._shown)
        with closing(self._connect()) as connection, translated(self._shown, connection):
            connection.text_factory = _decode
            query = self._statement(connection)
            cursor = connection.execute(query.text, query.parameters)
            names = unique_names(cursor.description, self._shown)
            for number, values in enumerate(cursor, 1):
                row: dict[str, Json] = dict(zip(names, values, strict=True))
                reason = ""
                for value in values:
                    if value.__class__ in _TO_LOOK_AT:
                        reason = _reason_to_refuse(row)
                        break
                if reason:
                    yield RefusedRow(f"{self._shown}: row {number}", reason, show_row(row))
                else:
                    yield row

    def _connect(self) -> sqlite3.Connection:
        with translated(self._shown):
            return connect(self._path)

    def _statement(self, connection: sqlite3.Connection) -> BoundQuery:
        if self._query is not None:
            if not _READS.match(self._query.text):
                raise UserError(f"{self._shown}: the query is not a SELECT")
            return self._query
        if self._table is None:
            raise UserError(
                f"{self._shown}: names no table and there is no query",
                hint=f"sqlite://{self._shown}/TABLE",
            )
        require_table(connection, self._table, self._shown)
        return BoundQuery(f"SELECT * FROM {quote(self._table)}")  # noqa: S608 - quoted


def _decode(raw: bytes) -> str | bytes:
    """The text, or its bytes where they are not UTF-8: such a row is refused."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _reason_to_refuse(row: JsonObject) -> str:
    """Why JSON cannot hold a value of the row; empty where it can hold all of them."""
    for name, value in row.items():
        if isinstance(value, bytes):
            return (
                f"column '{name}': bytes, which JSON cannot hold; "
                f"choose the columns with extract.query, or hex({name})"
            )
        if isinstance(value, float) and not math.isfinite(value):
            return f"column '{name}': {value}, which JSON cannot hold"
    return ""


def unique_names(description: Sequence[Sequence[object]], shown: str) -> tuple[str, ...]:
    """The names of a result's columns; raises UserError where two are the same."""
    names = tuple(str(column[0]) for column in description)
    for index, name in enumerate(names):
        # SQLite names the second `a` of a query inside another `a:1`.
        for twice in (name, _SECOND.sub("", name)):
            if twice in names[:index]:
                raise UserError(
                    f"{shown}: the query gives two columns named '{twice}'",
                    hint="rename one with AS",
                )
    return names
