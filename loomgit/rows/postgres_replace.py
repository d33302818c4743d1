"""Replaces all rows of a PostgreSQL table in one transaction at the end of a run."""

from __future__ import annotations

from itertools import chain, groupby, islice
from typing import TYPE_CHECKING

import psycopg

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.postgres_connection import concerns_row, describe, qualified, translate_errors
from loomgit.rows.postgres_copy import copy_rows
from loomgit.rows.postgres_lock import lock_table
from loomgit.rows.refused_rows import (
    RowRefusedError,
    RowsRefusedError,
    load_all,
    require_accepted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

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

        Raises RowsRefusedError if the database refuses rows. The table then stays unchanged.
        """
        table = self._table
        with table.open() as connection, translate_errors(table.shown):
            lock_table(connection, table)
            try:
                with connection.transaction():
                    return self._replace(connection, stage)
            except RowsRefusedError:
                table.forget_changes()
                raise

    def _replace(self, connection: Connection, stage: Stage) -> LoadReceipt:
        table = self._table
        rows = stage.placed_rows()
        sample = list(islice(rows, _SAMPLE))
        if sample:
            all_fields: JsonObject = dict.fromkeys(stage.fields())
            table.shape(connection, [all_fields, *(row for _, row in sample)])
        columns = table.columns(connection)
        if not columns:
            return LoadReceipt()
        # The lock excludes writers that do not use Loom. Readers see the old rows.
        connection.execute(f"LOCK TABLE {table.sql} IN SHARE ROW EXCLUSIVE MODE")
        only = "" if table.is_partitioned(connection) else "ONLY "  # not of child tables
        connection.execute(f"DELETE FROM {only}{table.sql}")  # noqa: S608 - quoted
        _check_rows_at_once(connection, table)

        def load(some: Sequence[JsonObject]) -> LoadReceipt:
            if table.is_altered:  # the sample determined the types of the new columns
                require_accepted(some, lambda row: table.refusal(connection, row))
            copied = 0
            try:
                with connection.transaction():  # a savepoint
                    for _, adjacent in groupby(some, key=tuple):
                        group = list(adjacent)
                        fields = [columns[name] for name in group[0]]
                        copied += copy_rows(connection, table.sql, fields, group)
            except psycopg.Error as fault:
                if not concerns_row(fault):
                    raise
                raise RowRefusedError(describe(fault)) from fault
            return LoadReceipt(inserted=copied, kept_out=len(some) - copied)

        receipt = load_all(chain(sample, rows), load, batch_size=_ROWS_PER_COPY)
        return receipt + LoadReceipt(duplicates=stage.duplicates())


def _check_rows_at_once(connection: Connection, table: PostgresTable) -> None:
    """Let the deferrable constraints of the table refuse a row when it is written.

    The deferred foreign keys of other tables are still checked at COMMIT, because the new rows may
    have the keys of the deleted ones.
    """
    names = connection.execute(
        "SELECT DISTINCT nspname, conname FROM pg_constraint "
        "JOIN pg_namespace ON pg_namespace.oid = connamespace "
        "WHERE conrelid = to_regclass(%s) AND condeferrable",
        (table.sql,),
    ).fetchall()
    if names:
        listed = ", ".join(qualified(str(schema), str(name)) for schema, name in names)
        connection.execute(f"SET CONSTRAINTS {listed} IMMEDIATE")
