"""Sources that are read through SQLAlchemy: a table of a database, or a query."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, true
from sqlalchemy.exc import SQLAlchemyError

from loomgit.domain.records import RefusedRow
from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import UserError
from loomgit.rows.json_rows import show_row
from loomgit.rows.sql_connection import connect, translate_errors
from loomgit.rows.sql_statements import SelectStatements
from loomgit.rows.sql_values import to_json_value
from loomgit.rows.sql_window import window_condition
from loomgit.rows.sqlite import require_columns
from loomgit.rows.sqlite_source import unique_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection, CursorResult
    from sqlalchemy.sql.expression import Executable

    from loomgit.domain.cursor_window import CursorWindow
    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.query import BoundQuery
    from loomgit.rows.sql_address import SqlAddress
    from loomgit.rows.sql_statements import Condition

_ROWS_PER_FETCH = 1000  # rows per round trip
_IS_SELECT = re.compile(r"[\s(]*(?:SELECT|WITH|VALUES|TABLE|FROM)\b", re.IGNORECASE)


class SqlSource:
    """A table of a database, or a query, that is read through SQLAlchemy.

    The rows are read in a transaction that is read-only where the database supports it, and that is
    never committed. Drivers with server-side cursors return the rows in batches, so that memory use
    does not grow with the number of rows. A row becomes a RefusedRow if JSON cannot represent one
    of its values (see `loomgit.rows.sql_values`). `needed` are the required columns. `root` is the
    project folder, to which the relative path of a database file refers.
    """

    def __init__(
        self,
        address: SqlAddress,
        *,
        root: Path,
        query: BoundQuery | None,
        needed: Sequence[str],
        window: CursorWindow | None = None,
    ) -> None:
        """Create the source. Rows below the start of `window` may be left out."""
        self._window = window
        self._address = address
        self._shown = str(address)
        self._root = root
        self._query = query
        self._needed = tuple(needed)
        self._statements = SelectStatements(address, query)
        self._is_duckdb = address.dialect == "duckdb"

    def check(self) -> None:
        """Raise UserError or WorldError if the source cannot be read.

        The database receives the query with a condition that is never true, so that it reads no
        rows. If the database does not allow this (for example, because of an ORDER BY), it runs the
        query, and Loom fetches no row. A missing required column is a UserError.
        """
        self._require_select()
        require_columns(self._needed, self._column_names(), self._shown)

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the rows in the order in which the database returns them."""
        self._require_select()
        with (
            self._connect() as connection,
            self._execute_statement(connection) as result,
        ):
            names = self._names(result)
            number = 0
            while batch := self._fetch(result):
                for values in batch:
                    number += 1
                    yield _json_row(names, values, f"{self._shown}: row {number}")

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with connect(self._address, self._root) as connection:
            yield connection

    @contextmanager
    def _execute(
        self, connection: Connection, statement: Executable
    ) -> Iterator[CursorResult[Any]]:
        """Run the statement, and yield its result. No row is fetched yet."""
        with self._translate(connection):
            result = connection.execute(
                statement,
                execution_options={"stream_results": True, "yield_per": _ROWS_PER_FETCH},
            )
        try:
            yield result
        finally:
            self._close(result)

    @contextmanager
    def _translate(self, connection: Connection) -> Iterator[None]:
        """Convert each error of the database. If the table is missing, suggest a similar name."""
        try:
            with translate_errors(self._shown):
                yield
        except UserError as error:
            if self._query is None and (tables := self._other_tables(connection)) is not None:
                raise UserError(
                    f"{self._shown}: no such table: {self._address.table}",
                    hint=suggest_or_list(self._address.table, tables, "there are")
                    or "there are no tables",
                ) from error
            raise

    def _other_tables(self, connection: Connection) -> list[str] | None:
        """Return the names of all tables and views if the table does not exist, else None.

        The result is also None if the database cannot list its tables.
        """
        schema = self._address.schema
        try:
            connection.rollback()
            inspector = inspect(connection)
            names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        except (SQLAlchemyError, NotImplementedError):
            return None
        return None if self._address.table in names else sorted(names)

    def _close(self, result: CursorResult[Any]) -> None:
        """Close the result. The drivers of MySQL would first read all remaining rows."""
        if self._address.dialect not in ("mysql", "mariadb"):
            result.close()
            return
        unread = getattr(result.cursor, "_result", None)
        if getattr(unread, "unbuffered_active", False):  # an attribute of PyMySQL
            unread.unbuffered_active = False  # type: ignore[union-attr]

    def _fetch(self, result: CursorResult[Any]) -> Sequence[Sequence[object]]:
        with translate_errors(self._shown):
            return result.fetchmany(_ROWS_PER_FETCH)

    def _require_select(self) -> None:
        if self._query is not None and not _IS_SELECT.match(self._query.text):
            raise UserError(f"{self._shown}: the query must be a SELECT statement")

    def _column_names(self) -> tuple[str, ...]:
        if self._is_duckdb:
            with self._connect() as connection:
                return tuple(name for name, _ in self._described_columns(connection))
        try:
            return self._names_of(self._statements.no_rows())
        except UserError:
            if self._query is None:
                raise
        return self._names_of(self._statements.all_rows())

    def _described_columns(self, connection: Connection) -> list[tuple[str, str]]:
        """Return the name and type of each column in DuckDB."""
        with self._execute(connection, self._statements.describe()) as result:
            described: list[Any] = list(result)
        columns = [(str(row[0]), str(row[1])) for row in described]
        unique_names(columns, self._shown)
        return columns

    @contextmanager
    def _execute_statement(self, connection: Connection) -> Iterator[CursorResult[Any]]:
        """Run the statement, with the condition of the window if the database accepts it."""
        with ExitStack() as stack:
            yield self._result(connection, stack)

    def _result(self, connection: Connection, stack: ExitStack) -> CursorResult[Any]:
        condition = self._condition(connection)
        if condition is not None:
            statement = self._statement(connection, condition)
            with suppress(UserError):  # for example, SQL Server: no ORDER BY in a subquery
                return stack.enter_context(self._execute(connection, statement))
            connection.rollback()
        return stack.enter_context(self._execute(connection, self._statement(connection, None)))

    def _statement(self, connection: Connection, condition: Condition | None) -> Executable:
        name = "" if self._window is None else self._window.cursor
        if self._is_duckdb:
            columns = self._described_columns(connection)
            return self._statements.with_dates_as_text(columns, name, condition)
        if condition is not None:
            return self._statements.rows_where(name, condition)
        return self._statements.all_rows()

    def _condition(self, connection: Connection) -> Condition | None:
        """Return the condition of the window, or None if all rows must be read."""
        window = self._window
        if window is None:
            return None
        try:
            with self._execute(connection, self._statements.first_value(window.cursor)) as result:
                row = result.fetchone()
        except UserError:  # not every query can be a subquery
            connection.rollback()
            return None
        if row is None:
            return None
        first, dialect = row[0], self._address.dialect

        def condition(column: ColumnElement[Any]) -> ColumnElement[bool]:
            found = window_condition(window, column, first, dialect)
            return true() if found is None else found

        return condition

    def _names_of(self, statement: Executable) -> tuple[str, ...]:
        with self._connect() as connection, self._execute(connection, statement) as result:
            return self._names(result)

    def _names(self, result: CursorResult[Any]) -> tuple[str, ...]:
        """Return the column names. Raises UserError if a name is empty or occurs twice."""
        if not result.returns_rows:
            raise UserError(f"{self._shown}: the query returns no rows")
        names = unique_names([(name,) for name in result.keys()], self._shown)  # noqa: SIM118
        if "" in names:
            raise UserError(
                f"{self._shown}: column {names.index('') + 1} of the query has no name",
                hint="name it with AS",
            )
        return names


def _json_row(
    names: Sequence[str], values: Sequence[object], place: str
) -> JsonObject | RefusedRow:
    """Return the row as a JSON object, or a RefusedRow if JSON cannot represent a value."""
    row: dict[str, Json] = {}
    for name, value in zip(names, values, strict=True):
        try:
            row[name] = to_json_value(value)
        except ValueError as fault:
            shown = show_row(dict(zip(names, values, strict=True)))
            return RefusedRow(place, f"column '{name}': {fault}", shown)
    return row
