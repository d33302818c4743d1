"""Builds the SELECT statements of a source that is read through SQLAlchemy."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import column, false, literal_column, select, table, text

from loomgit.rows.duck import text_type
from loomgit.rows.sql_tokens import parameter_name
from loomgit.rows.sqlite import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, TextClause
    from sqlalchemy.sql.expression import Executable

    from loomgit.rows.query import BoundQuery, Parameter
    from loomgit.rows.sql_address import SqlAddress

    Condition = Callable[[ColumnElement[Any]], ColumnElement[bool]]

_WITH_TIME_ZONES = ("postgresql", "cockroachdb")  # compare moments with their time zone


class SelectStatements:
    """The statements that read a table or a query. If `query` is None, they read the table."""

    def __init__(self, address: SqlAddress, query: BoundQuery | None) -> None:
        self._address = address
        self._query = query

    def all_rows(self) -> Executable:
        """Return the SELECT of all rows."""
        if self._query is None:
            return select(literal_column("*")).select_from(self._table())
        return self._text(self._query.text)

    def no_rows(self) -> Executable:
        """Return a SELECT that has the columns of `all_rows` and no rows.

        Some databases refuse it for some queries, for example for an ORDER BY.
        """
        if self._query is None:
            return select(literal_column("*")).select_from(self._table()).where(false())
        # Oracle does not allow AS before the name of a subquery.
        sql = f"SELECT * FROM (\n{self._query.text}\n) loom_rows WHERE 1 = 0"  # noqa: S608 - the user writes the SQL
        return self._text(sql)

    def first_value(self, name: str) -> Executable:
        """Return a SELECT of the column `name` without its null values."""
        rows = self._subquery([name])
        return select(rows.c[name]).where(rows.c[name].is_not(None))

    def rows_where(self, name: str, condition: Condition) -> Executable:
        """Return the SELECT of the rows that fulfil a condition on the column `name`."""
        rows = self._subquery([name])
        return select(literal_column("*")).select_from(rows).where(condition(rows.c[name]))

    def _subquery(self, names: Sequence[str]) -> Any:  # noqa: ANN401 - see `_table`
        columns: list[Any] = [column(name) for name in names]
        if self._query is None:
            return table(self._address.table, *columns, schema=self._address.schema)
        return self._text(self._query.text).columns(*columns).subquery("loom_rows")

    def describe(self) -> Executable:
        """Return a statement of DuckDB that lists the names and types of the columns.

        The statement does not run the query. In a subquery, DuckDB would rename the second of two
        columns that have the same name.
        """
        return self._text(f"DESCRIBE {self._duckdb_select()}")

    def with_dates_as_text(
        self,
        columns: Sequence[tuple[str, str]],
        name: str = "",
        condition: Condition | None = None,
    ) -> Executable:
        """Return a SELECT of DuckDB in which dates, times and intervals are text.

        Python's types cannot represent all of these values (see `loomgit.rows.duck`). `columns` are
        the name and type of each column. Only the rows that fulfil the condition on the column
        `name` are selected.
        """
        chosen: list[Any] = [
            column(name)
            if text_type(kind) == kind
            else literal_column(f"CAST({quote(name)} AS {text_type(kind)})").label(name)
            for name, kind in columns
        ]
        rows = self._text(self._duckdb_select()).columns(*(column(name) for name, _ in columns))
        inner = rows.subquery("loom_rows")
        statement = select(*chosen).select_from(inner)
        return statement if condition is None else statement.where(condition(inner.c[name]))

    def _duckdb_select(self) -> str:
        if self._query is not None:
            return self._query.text
        names = (self._address.schema, self._address.table)
        name = ".".join(quote(name) for name in names if name is not None)
        return "FROM " + name.replace(":", "\\:")

    def _table(self) -> Any:  # noqa: ANN401 - SQLAlchemy declares a type that `select_from` refuses
        return table(self._address.table, schema=self._address.schema)

    def _text(self, sql: str) -> TextClause:
        parameters = () if self._query is None else self._query.parameters
        values = {
            parameter_name(number): self._parameter(value)
            for number, value in enumerate(parameters, 1)
        }
        return text(sql).bindparams(**values)

    def _parameter(self, value: Parameter) -> object:
        """Convert a moment in UTC to the type that the database compares with its columns."""
        dialect = self._address.dialect
        if not isinstance(value, datetime) or dialect in _WITH_TIME_ZONES:
            return value
        value = value.replace(tzinfo=None)
        return str(value) if dialect == "sqlite" else value
