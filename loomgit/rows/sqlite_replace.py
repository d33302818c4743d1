"""Replacing the rows of a SQLite table: staged beside the run, swapped in one transaction."""

from __future__ import annotations

from contextlib import closing
from itertools import chain, count, islice
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.sqlite import kind, quote, transaction, translated
from loomgit.rows.sqlite_sink import count_rows, has_unique_key, insert, may_keep_out
from loomgit.rows.stage import Stage, key_text, place_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loomgit.domain.values import JsonObject
    from loomgit.rows.sqlite_table import Table

_SAMPLE = 1000  # rows that decide the column types of a new table


class SqliteReplaceSink:
    """The table holds what this run loads and nothing else, from `commit` on.

    Its definition, indexes and triggers stay. All rows count as inserted.
    """

    def __init__(self, table: Table, *, stage: Path) -> None:
        self._table = table
        self._stage = Stage(stage, place_name(table.path, table.name))

    def check(self) -> None:
        """Raise where the table cannot be written or would refuse the rows."""
        self._table.check(updates=False)

    def refusal(self, row: JsonObject) -> str:
        """Why the table cannot hold the row as it is; empty where it can, or is not there yet."""
        return self._table.refusal_at_rest(row)

    def load(self, part: int, rows: Sequence[JsonObject]) -> None:
        """Stage one batch; a part that was staged before is not taken again."""
        if self._stage.finished() is None:
            key = self._table.key
            keys = [key_text(row, key, self._table.shown) if key else None for row in rows]
            self._stage.add(part, rows, keys)

    def commit(self) -> LoadReceipt:
        """Swap; where an earlier process got that far, return what it did."""
        receipt = self._stage.finished()
        if receipt is None:
            receipt = self._swap()
            self._stage.finish(receipt)
        return receipt

    def abort(self) -> None:
        """Drop what was staged; the table stays as it is."""
        self._stage.close()
        if self._stage.finished() is None:
            self._stage.discard()

    def _swap(self) -> LoadReceipt:
        table = self._table
        with (
            closing(table.open()) as connection,
            translated(table.shown, connection),
            transaction(connection),
        ):
            rows = self._stage.rows()
            first = list(islice(rows, _SAMPLE))
            if first:
                all_fields: JsonObject = dict.fromkeys(self._stage.fields())
                table.shape(connection, [all_fields, *first], unique=True)
            elif kind(connection, table.name) is None:
                return LoadReceipt()
            connection.execute(f"DELETE FROM {quote(table.name)}")  # noqa: S608 - quoted
            numbers = count()
            staged = (row for row, _ in zip(chain(first, rows), numbers, strict=False))
            # Of rows whose keys the table takes for equal, the last one counts.
            replacing = table.key if has_unique_key(connection, table.name, table.key) else ()
            insert(connection, table.name, staged, table.shown, replacing=replacing)
            inserted = count_rows(connection, table.name)
            left_out = next(numbers) - inserted
            kept_out = left_out if may_keep_out(connection, table.name) else 0
        duplicates = self._stage.duplicates() + left_out - kept_out
        return LoadReceipt(inserted=inserted, duplicates=duplicates, kept_out=kept_out)
