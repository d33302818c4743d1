"""Replaces all rows of a SQLite table in one transaction at the end of a run."""

from __future__ import annotations

from contextlib import closing
from itertools import chain, count, islice
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.sqlite import object_kind, quote, transaction, translate_errors
from loomgit.rows.sqlite_sink import count_rows, has_unique_key, insert, may_drop_rows
from loomgit.rows.stage import Stage, destination_id, key_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.values import JsonObject
    from loomgit.rows.sqlite_table import DestinationTable

_SAMPLE = 1000  # Loom reads at most this many rows to choose the column types of a new table


class SqliteReplaceSink:
    """A SQLite table as a destination. After `commit`, the table contains only this run's rows.

    `load` stores the rows in a stage: a temporary database. `commit` copies them to the table. The
    definition, the indexes and the triggers of the table do not change. The receipt reports all
    rows of the table as inserted.
    """

    def __init__(self, table: DestinationTable, *, stage: Path) -> None:
        self._table = table
        self._stage = Stage(stage, destination_id(table.path, table.name))

    def check(self) -> None:
        """Raise UserError or WorldError if a load into the table would fail."""
        self._table.check(updates=False)

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly.

        The reason is empty if the table can store the row, or does not exist yet.
        """
        return self._table.refusal_at_rest(row)

    def load(self, part: int, rows: Sequence[JsonObject]) -> Mapping[int, str]:
        """Store one batch of rows until `commit`. Do nothing if this `part` is already stored."""
        if self._stage.finished() is None:
            key = self._table.key
            keys = [key_text(row, key, self._table.shown) if key else None for row in rows]
            self._stage.add(part, rows, keys)
        return {}

    def commit(self) -> LoadReceipt:
        """Replace the rows of the table with the staged rows, and return the receipt.

        If the run resumes after a crash and its earlier process has already replaced the rows, only
        return the receipt of that process.
        """
        receipt = self._stage.finished()
        if receipt is None:
            receipt = self._replace_rows()
            self._stage.finish(receipt)
        return receipt

    def abort(self) -> None:
        """Delete the staged rows. The table stays unchanged."""
        self._stage.close()
        if self._stage.finished() is None:
            self._stage.discard()

    def _replace_rows(self) -> LoadReceipt:
        table = self._table
        with (
            closing(table.open()) as connection,
            translate_errors(table.shown, connection),
            transaction(connection),
        ):
            rows = self._stage.rows()
            sample = list(islice(rows, _SAMPLE))
            if sample:
                all_fields: JsonObject = dict.fromkeys(self._stage.fields())
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
        duplicates = self._stage.duplicates() + left_out - kept_out
        return LoadReceipt(inserted=inserted, duplicates=duplicates, kept_out=kept_out)
