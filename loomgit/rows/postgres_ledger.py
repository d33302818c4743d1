"""The ledger of a PostgreSQL database: the table `_loom_loads`, which lists the loaded batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.refused_rows import decode_refused, encode_refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.rows.postgres_connection import Connection
    from loomgit.rows.postgres_table import PostgresTable


class PostgresLedger:
    """The entries of one run for one destination table.

    `refused` is a JSON object: the reasons for the rows that the database refused, by the index of
    the row in the batch.
    """

    def __init__(self, table: PostgresTable, run: str) -> None:
        self._name = table.ledger.replace("%", "%%")  # the statements have parameters
        self._target = table.sql
        self._run = run

    def find(self, connection: Connection, part: int) -> tuple[LoadReceipt, dict[int, str]] | None:
        """Return the receipt and the refused rows of a batch, or None if it is not loaded."""
        entry = connection.execute(
            "SELECT inserted, updated, unchanged, duplicates, kept_out, refused "  # noqa: S608
            f"FROM {self._name} WHERE run = %s AND target = %s AND part = %s",
            (self._run, self._target, part),
        ).fetchone()
        if entry is None:
            return None
        counts = [value for value in entry[:5] if isinstance(value, int)]
        return LoadReceipt(*counts), decode_refused(str(entry[5]))

    def add(
        self, connection: Connection, part: int, receipt: LoadReceipt, refused: Mapping[int, str]
    ) -> None:
        """Add an entry for a batch, in the transaction that writes the rows of the batch."""
        connection.execute(
            f"INSERT INTO {self._name} "  # noqa: S608 - quoted
            "(run, target, part, inserted, updated, unchanged, duplicates, kept_out, refused) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (self._run, self._target, part, receipt.inserted, receipt.updated, receipt.unchanged,
             receipt.duplicates, receipt.kept_out, encode_refused(refused)),
        )  # fmt: skip
