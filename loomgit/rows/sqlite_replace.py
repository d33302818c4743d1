"""Replaces all rows of a SQLite table in one transaction at the end of a run."""

from __future__ import annotations

from contextlib import closing
from itertools import chain, count, islice
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.sqlite import object_kind, quote, transaction, translate_errors
from loomgit.rows.sqlite_rows import count_rows, has_unique_key, insert, may_drop_rows

if TYPE_CHECKING:
    from loomgit.domain.values import JsonObject
    from loomgit.rows.sqlite_table import DestinationTable
    from loomgit.rows.stage import Stage

_SAMPLE = 1000  # Loom reads at most this many rows to choose the column types of a new table


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
        """Replace all rows of the table with the staged rows. All of them count as inserted."""
        table = self._table
        with (
            closing(table.open()) as connection,
            translate_errors(table.shown, connection),
            transaction(connection),
        ):
            rows = stage.rows()
            sample = list(islice(rows, _SAMPLE))
            if sample:
                all_fields: JsonObject = dict.fromkeys(stage.fields())
                table.shape(connection, [all_fields, *sample], unique=True)
            elif object_kind(connection, table.name) is None:
                return LoadReceipt()
            connection.execute(f"DELETE FROM {quote(table.name)}")  # noqa: S608 - quoted
            numbers = count()
            staged = (row for row, _ in zip(chain(sample, rows), numbers, strict=False))
            # Different staged keys may be equal in the table, for example in a NOCASE column. Only
            # the last row with such a key is kept.
            replacing = table.key if has_unique_key(connection, table.name, table.key) else ()
            insert(connection, table.name, staged, table.shown, replacing=replacing)
            inserted = count_rows(connection, table.name)
            left_out = next(numbers) - inserted
            kept_out = left_out if may_drop_rows(connection, table.name) else 0
        duplicates = stage.duplicates() + left_out - kept_out
        return LoadReceipt(inserted=inserted, duplicates=duplicates, kept_out=kept_out)
