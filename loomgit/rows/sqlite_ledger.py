"""The ledger of a SQLite database: the table `_loom_loads`, which lists the loaded batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.refused_rows import decode_refused, encode_refused
from loomgit.rows.sqlite import columns
from loomgit.rows.sqlite_progress import store_part
from loomgit.rows.sqlite_table import LOADED_PARTS_TABLE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from loomgit.domain.watermarks import LoadedParts

_CREATE = f"""
    CREATE TABLE IF NOT EXISTS {LOADED_PARTS_TABLE} (
        run TEXT NOT NULL,
        target TEXT NOT NULL,
        part INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        updated INTEGER NOT NULL DEFAULT 0,
        unchanged INTEGER NOT NULL DEFAULT 0,
        duplicates INTEGER NOT NULL DEFAULT 0,
        kept_out INTEGER NOT NULL DEFAULT 0,
        kept_rows INTEGER NOT NULL DEFAULT 0,
        deleted INTEGER NOT NULL DEFAULT 0,
        refused TEXT NOT NULL DEFAULT '{{}}',
        loaded_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (run, target, part)
    ) WITHOUT ROWID
"""
# The columns that older versions of Loom did not create.
_NEWER = {
    "updated": "INTEGER NOT NULL DEFAULT 0",
    "unchanged": "INTEGER NOT NULL DEFAULT 0",
    "duplicates": "INTEGER NOT NULL DEFAULT 0",
    "kept_out": "INTEGER NOT NULL DEFAULT 0",
    "kept_rows": "INTEGER NOT NULL DEFAULT 0",
    "deleted": "INTEGER NOT NULL DEFAULT 0",
    "refused": "TEXT NOT NULL DEFAULT '{}'",
}
_DEFAULTS = {name: definition.rpartition(" ")[2] for name, definition in _NEWER.items()}


class SqliteLedger:
    """The entries of one run for one destination table.

    A batch that changes nothing and has no refused row gets its entry together with the next batch
    that has one. Until then, to load it again changes nothing either. Therefore, a run that changes
    nothing does not change the database file.

    `rows` is the number of inserted rows. `refused` is a JSON object: the reasons for the rows that
    the database refused, by the index of the row in the batch.
    """

    def __init__(self, run: str, target: str, loaded: LoadedParts | None = None) -> None:
        """Create the ledger. The records in `loaded` are stored with the entries of their parts."""
        self._loaded = loaded
        self._run = run
        self._target = target
        self._unchanged: list[tuple[int, LoadReceipt, Mapping[int, str]]] = []  # not yet stored

    def find(
        self, connection: sqlite3.Connection, part: int
    ) -> tuple[LoadReceipt, dict[int, str]] | None:
        """Return the receipt and the refused rows of a batch, or None if it has no entry."""
        present = columns(connection, LOADED_PARTS_TABLE)
        if not present:
            return None
        # A ledger of an older version of Loom lacks some columns.
        names = [name if name in present else _DEFAULTS[name] for name in ("rows", *_NEWER)]
        entry = connection.execute(
            f"SELECT {', '.join(names)} "  # noqa: S608 - constant
            f"FROM {LOADED_PARTS_TABLE} WHERE run = ? AND target = ? AND part = ?",
            (self._run, self._target, part),
        ).fetchone()
        return None if entry is None else (LoadReceipt(*entry[:-1]), decode_refused(entry[-1]))

    def parts(self, connection: sqlite3.Connection) -> frozenset[int]:
        """Return the numbers of the batches that have an entry."""
        if not columns(connection, LOADED_PARTS_TABLE):
            return frozenset()
        entries = connection.execute(
            f"SELECT part FROM {LOADED_PARTS_TABLE} WHERE run = ? AND target = ?",  # noqa: S608
            (self._run, self._target),
        )
        return frozenset(part for (part,) in entries)

    def add(
        self,
        connection: sqlite3.Connection,
        part: int,
        receipt: LoadReceipt,
        refused: Mapping[int, str],
        *,
        has_changed: bool,
    ) -> None:
        """Add an entry for a batch, in the transaction that writes the rows of the batch.

        `has_changed` is false if the batch did not change the table and no row was refused.
        """
        self._unchanged.append((part, receipt, refused))
        if not has_changed and self._loaded is not None:
            self._loaded.take(part, ())  # to load these records again changes nothing
        if has_changed:
            _create_table(connection)
            for entry in self._unchanged:
                self._insert(connection, *entry)
            self._unchanged.clear()

    def _insert(
        self,
        connection: sqlite3.Connection,
        part: int,
        receipt: LoadReceipt,
        refused: Mapping[int, str],
    ) -> None:
        connection.execute(
            f"INSERT INTO {LOADED_PARTS_TABLE} (run, target, part, rows, updated, "  # noqa: S608
            "unchanged, duplicates, kept_out, kept_rows, deleted, refused) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self._run, self._target, part),
                *(receipt.inserted, receipt.updated, receipt.unchanged),
                *(receipt.duplicates, receipt.kept_out),
                *(receipt.kept_rows, receipt.deleted, encode_refused(refused)),
            ),
        )
        if self._loaded is not None:
            store_part(connection, self._loaded, self._target, part, refused)


def _create_table(connection: sqlite3.Connection) -> None:
    connection.execute(_CREATE)
    present = columns(connection, LOADED_PARTS_TABLE)
    for name, definition in _NEWER.items():
        if name not in present:
            connection.execute(f"ALTER TABLE {LOADED_PARTS_TABLE} ADD COLUMN {name} {definition}")
