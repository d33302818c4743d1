"""Replaces all rows of a SQLite table in one transaction at the end of a run."""

from __future__ import annotations

from contextlib import closing
from itertools import chain, islice
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.refused_rows import RowsRefusedError, load_all, require_accepted
from loomgit.rows.sqlite import object_kind, quote, transaction, translate_errors
from loomgit.rows.sqlite_rows import (
    count_rows,
    has_unique_key,
    insert,
    may_drop_rows,
    refusing_rows,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from loomgit.domain.values import JsonObject
    from loomgit.rows.sqlite_table import DestinationTable
    from loomgit.rows.stage import Stage

_SAMPLE = 1000  # Loom reads at most this many rows to choose the column types of a new table
_ROWS_PER_BATCH = 1000  # rows per savepoint


class ReplaceableSqliteTable:
    """Replaces the rows of a SQLite table, for `ReplaceSink`."""

    def __init__(self, table: DestinationTable) -> None:
        self._table = table
        self.key = table.key
        self.shown = table.shown

    def check_replacement(self) -> None:
        """Raise UserError or WorldError if the rows of the table cannot be replaced."""
        self._table.check(updates=False)

    def refusal_at_rest(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly, or ""."""
        return self._table.refusal_at_rest(row)

    def replace_rows(self, stage: Stage) -> LoadReceipt:
        """Replace all rows of the table with the staged rows. All of them count as inserted.

        Raises RowsRefusedError if the database refuses rows. The table then stays unchanged.
        """
        table = self._table
        with (
            closing(table.open()) as connection,
            translate_errors(table.shown, connection),
        ):
            try:
                with transaction(connection):
                    return self._replace(connection, stage)
            except RowsRefusedError:
                table.forget_changes()
                raise

    def _replace(self, connection: sqlite3.Connection, stage: Stage) -> LoadReceipt:
        table = self._table
        rows = stage.placed_rows()
        sample = list(islice(rows, _SAMPLE))
        if sample:
            all_fields: JsonObject = dict.fromkeys(stage.fields())
            table.shape(connection, [all_fields, *(row for _, row in sample)], unique=True)
        elif object_kind(connection, table.name) is None:
            return LoadReceipt()
        connection.execute(f"DELETE FROM {quote(table.name)}")  # noqa: S608 - quoted
        # Different staged keys may be equal in the table, for example in a NOCASE column. Only
        # the last row with such a key is kept.
        replacing = table.key if has_unique_key(connection, table.name, table.key) else ()

        def load(some: Sequence[JsonObject]) -> LoadReceipt:
            if table.is_altered:  # the sample determined the types of the new columns
                require_accepted(some, lambda row: table.refusal(connection, row))
            with refusing_rows(connection):
                insert(connection, table.name, some, table.shown, replacing=replacing)
            return LoadReceipt(inserted=len(some))

        written = load_all(chain(sample, rows), load, batch_size=_ROWS_PER_BATCH).inserted
        inserted = count_rows(connection, table.name)
        kept_out = written - inserted if may_drop_rows(connection, table.name) else 0
        duplicates = stage.duplicates() + written - inserted - kept_out
        return LoadReceipt(inserted=inserted, duplicates=duplicates, kept_out=kept_out)
