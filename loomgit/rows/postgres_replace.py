"""Replaces all rows of a PostgreSQL table in one transaction at the end of a run."""

from __future__ import annotations

from itertools import chain, groupby, islice
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.postgres import translate_errors
from loomgit.rows.postgres_sink import copy, lock
from loomgit.rows.stage import Stage, key_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.values import JsonObject
    from loomgit.rows.postgres_table import PostgresTable

_SAMPLE = 1000  # rows that determine the column types of a new table
_COPIED = 1000  # rows per COPY


class PostgresReplaceSink:
    """A PostgreSQL table as a destination. After `commit`, it contains only this run's rows.

    `load` stores the rows in a stage: a temporary database. `commit` deletes the rows of the table
    and copies the staged rows to it, in one transaction. Until it ends, other connections see the
    old rows. The definition, indexes, triggers and privileges of the table do not change.
    """

    def __init__(self, table: PostgresTable, *, stage: Path, name: str) -> None:
        self._table = table
        self._stage = Stage(stage, name)

    def check(self) -> None:
        """Raise UserError or WorldError if a load into the table would fail."""
        self._table.check()

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly; empty if it can."""
        return self._table.refusal_at_rest(row)

    def load(self, part: int, rows: Sequence[JsonObject]) -> Mapping[int, str]:
        """Store one batch of rows until `commit`. `part` is the number of the batch.

        If a batch with this number is already stored, nothing changes.
        """
        if self._stage.finished() is None:
            key = self._table.key
            keys = [key_text(row, key, self._table.shown) if key else None for row in rows]
            self._stage.add(part, rows, keys)
        return {}

    def commit(self) -> LoadReceipt:
        """Replace the rows of the table with the staged rows, and return the receipt.

        If the run resumes after a crash and its earlier process has already replaced the rows, only
        return the receipt of that process. If the database refuses a row, UserError is raised, and
        the table stays unchanged.
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
        with table.open() as connection, translate_errors(table.shown):
            lock(connection, table)
            with connection.transaction():
                rows = self._stage.rows()
                sample = list(islice(rows, _SAMPLE))
                if sample:
                    all_fields: JsonObject = dict.fromkeys(self._stage.fields())
                    table.shape(connection, [all_fields, *sample])
                columns = table.columns(connection)
                if not columns:
                    return LoadReceipt()
                # The lock excludes writers that do not use Loom. Readers see the old rows.
                connection.execute(f"LOCK TABLE {table.sql} IN SHARE ROW EXCLUSIVE MODE")
                only = "" if table.is_partitioned(connection) else "ONLY "  # not of child tables
                connection.execute(f"DELETE FROM {only}{table.sql}")  # noqa: S608 - quoted
                staged, copied, count = chain(sample, rows), 0, 0
                while batch := list(islice(staged, _COPIED)):
                    count += len(batch)
                    for _, adjacent in groupby(batch, key=tuple):
                        group = list(adjacent)
                        fields = [columns[name] for name in group[0]]
                        copied += copy(connection, table.sql, fields, group)
        return LoadReceipt(
            inserted=copied, duplicates=self._stage.duplicates(), kept_out=count - copied
        )
