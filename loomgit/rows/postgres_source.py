"""PostgreSQL sources: reads the rows of a table or of a query."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from loomgit.domain.records import RefusedRow, RowBatch
from loomgit.errors import UserError
from loomgit.rows.json_rows import show_row
from loomgit.rows.postgres_connection import connect, qualified, translate_errors
from loomgit.rows.postgres_values import (
    UnreadableValue,
    is_float,
    may_be_unreadable,
    reading_context,
    replace_special_floats,
)
from loomgit.rows.postgres_window import narrowed
from loomgit.rows.query import BoundQuery
from loomgit.rows.sqlite import require_columns
from loomgit.rows.sqlite_source import unique_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.cursor_window import CursorWindow
    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.address import PostgresAddress

_ROWS_PER_FETCH = 1000  # rows per round trip


class PostgresSource:
    """A table of a PostgreSQL database, or a query, as a source.

    The rows are read in a read-only transaction through a server-side cursor, so that memory use
    does not grow with the number of rows. A row becomes a RefusedRow if JSON cannot represent one
    of its values (see `loomgit.rows.postgres_values`). `needed` are the required columns.
    """

    def __init__(
        self,
        address: PostgresAddress,
        *,
        query: BoundQuery | None,
        needed: Sequence[str],
        window: CursorWindow | None = None,
    ) -> None:
        """Create the source. Rows below the start of `window` may be left out."""
        self._window = window
        self._address = address
        self._shown = str(address)
        self._query = query
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise UserError or WorldError if the source cannot be read.

        The server plans the query but does not run it. Planning checks the columns and the
        privileges. A missing required column is a UserError.
        """
        with self._cursor() as cursor:
            require_columns(self._needed, _names(cursor, self._shown), self._shown)

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the rows in the order in which PostgreSQL returns them."""
        for item in self.batches():
            if isinstance(item, RowBatch):
                yield from item.objects()
            else:
                yield item

    def batches(self) -> Iterator[RowBatch | RefusedRow]:
        """Yield the rows in the order in which PostgreSQL returns them, in batches."""
        with self._cursor(self._window) as cursor:
            names = _names(cursor, self._shown)
            types = [column.type_code for column in cursor.description or ()]
            checked = [place for place, oid in enumerate(types) if may_be_unreadable(oid)]
            floats = [place for place, oid in enumerate(types) if is_float(oid)]
            number = 0
            while fetched := self._fetch(cursor):
                rows = replace_special_floats(fetched, floats)
                if checked:
                    yield from self._checked_rows(names, rows, checked, number)
                else:
                    yield RowBatch(names, rows)
                number += len(rows)

    def _checked_rows(
        self,
        names: tuple[str, ...],
        rows: Sequence[Sequence[Json]],
        checked: Sequence[int],
        number: int,
    ) -> Iterator[RowBatch | RefusedRow]:
        """Yield the rows in batches, and a RefusedRow for each row that JSON cannot represent.

        `checked` are the positions of the columns that can have unreadable values. `number` is the
        number of rows before these.
        """
        accepted: list[Sequence[Json]] = []
        for position, values in enumerate(rows, start=number + 1):
            reason = _reason_to_refuse(names, values, checked)
            if not reason:
                accepted.append(values)
                continue
            if accepted:
                yield RowBatch(names, accepted)
                accepted = []
            shown = show_row(dict(zip(names, values, strict=True)))
            yield RefusedRow(f"{self._shown}: row {position}", reason, shown)
        if accepted:
            yield RowBatch(names, accepted)

    @contextmanager
    def _cursor(
        self, window: CursorWindow | None = None
    ) -> Iterator[psycopg.RawServerCursor[tuple[Json, ...]]]:
        """Yield a cursor for the rows. The query is already planned, but no row is read yet."""
        connection = connect(self._address, context=reading_context())
        with connection, translate_errors(self._shown, connection):
            query = self._statement()
            connection.execute("BEGIN READ ONLY")
            try:
                if window is not None:
                    query = narrowed(connection, query, window)
                with psycopg.RawServerCursor(connection, "loom") as cursor:
                    cursor.execute(query.text, query.parameters or None)
                    yield cursor
            finally:
                if not connection.closed:
                    connection.execute("ROLLBACK")

    def _fetch(
        self, cursor: psycopg.RawServerCursor[tuple[Json, ...]]
    ) -> Sequence[tuple[Json, ...]]:
        with translate_errors(self._shown):
            return cursor.fetchmany(_ROWS_PER_FETCH)

    def _statement(self) -> BoundQuery:
        if self._query is not None:
            return self._query
        table = self._address.table
        if table is None:
            raise UserError(
                f"{self._shown}: does not name a table, and the pipeline has no query",
                hint="postgres://CONNECTION/TABLE",
            )
        return BoundQuery(f"SELECT * FROM {qualified(self._address.schema, table)}")  # noqa: S608


def _names(cursor: psycopg.RawServerCursor[tuple[Json, ...]], shown: str) -> tuple[str, ...]:
    """Return the column names. Raises UserError if two columns have the same name."""
    return unique_names([(column.name,) for column in cursor.description or ()], shown)


def _reason_to_refuse(names: Sequence[str], values: Sequence[Json], checked: Sequence[int]) -> str:
    """Return the reason why JSON cannot represent the row, or "" if it can.

    `checked` are the positions of the columns that can have unreadable values.
    """
    for position in checked:
        reason = _find_unreadable(values[position])
        if reason is not None:
            return f"column '{names[position]}': {reason}"
    return ""


def _find_unreadable(value: Json) -> UnreadableValue | None:
    if value.__class__ is list:
        return next(filter(None, map(_find_unreadable, value)), None)
    return value if isinstance(value, UnreadableValue) else None
