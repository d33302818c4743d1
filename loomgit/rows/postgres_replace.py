"""Replaces all rows of a PostgreSQL table in one transaction at the end of a run."""

from __future__ import annotations

from itertools import chain, groupby, islice
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.postgres_connection import translate_errors
from loomgit.rows.postgres_copy import copy_rows
from loomgit.rows.postgres_lock import lock_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loomgit.domain.values import JsonObject
    from loomgit.rows.postgres_connection import Connection
    from loomgit.rows.postgres_table import PostgresTable
    from loomgit.rows.stage import Stage

_SAMPLE = 1000  # rows that determine the column types of a new table
_ROWS_PER_COPY = 1000  # rows per COPY


class ReplaceablePostgresTable:
    """Replaces the rows of a PostgreSQL table, for `ReplaceSink`."""

    def __init__(self, table: PostgresTable) -> None:
        self._table = table
        self.key = table.key
        self.shown = table.shown

    def check_replacement(self) -> None:
        """Raise UserError or WorldError if the rows of the table cannot be replaced."""
        self._table.check()

    def refusal_at_rest(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly, or ""."""
        return self._table.refusal_at_rest(row)

    def replace_rows(self, stage: Stage) -> LoadReceipt:
        """Replace all rows of the table with the staged rows, in one transaction.

        Raises UserError if the database refuses a row.
        """
        table = self._table
        with table.open() as connection, translate_errors(table.shown):
            lock_table(connection, table)
            with connection.transaction():
                rows = stage.rows()
                sample = list(islice(rows, _SAMPLE))
                if sample:
                    all_fields: JsonObject = dict.fromkeys(stage.fields())
                    table.shape(connection, [all_fields, *sample])
                columns = table.columns(connection)
                if not columns:
                    return LoadReceipt()
                # The lock excludes writers that do not use Loom. Readers see the old rows.
                connection.execute(f"LOCK TABLE {table.sql} IN SHARE ROW EXCLUSIVE MODE")
                only = "" if table.is_partitioned(connection) else "ONLY "  # not of child tables
                connection.execute(f"DELETE FROM {only}{table.sql}")  # noqa: S608 - quoted
                staged, copied, count = chain(sample, rows), 0, 0
                while batch := list(islice(staged, _ROWS_PER_COPY)):
                    count += len(batch)
                    if table.is_altered:  # the sample determined the types of the new columns
                        _require_fit(connection, table, batch)
                    for _, adjacent in groupby(batch, key=tuple):
                        group = list(adjacent)
                        fields = [columns[name] for name in group[0]]
                        copied += copy_rows(connection, table.sql, fields, group)
        return LoadReceipt(inserted=copied, duplicates=stage.duplicates(), kept_out=count - copied)


def _require_fit(connection: Connection, table: PostgresTable, rows: Iterable[JsonObject]) -> None:
    """Raise UserError for the first row that the table cannot store exactly."""
    for row in rows:
        if reason := table.refusal(connection, row):
            raise UserError(
                f"{table.shown}: {reason}", hint="give the type of the field in load.schema"
            )
