"""SQLite destinations: each batch of rows is one transaction, and is visible immediately."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.refused_rows import load_accepted, require_accepted
from loomgit.rows.sqlite import (
    connect,
    transaction,
    translate_errors,
)
from loomgit.rows.sqlite_ledger import SqliteLedger
from loomgit.rows.sqlite_rejected import apply_rejections
from loomgit.rows.sqlite_rows import (
    by_fields,
    count_rows,
    insert,
    may_drop_rows,
    refusing_rows,
    require_loaded_table,
    upsert,
)
from loomgit.rows.stage import key_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.values import JsonObject
    from loomgit.domain.watermarks import LoadedParts
    from loomgit.rows.sqlite_table import DestinationTable

_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)
_CREATE_SEEN = "CREATE TEMP TABLE IF NOT EXISTS _loom_seen (key TEXT PRIMARY KEY) WITHOUT ROWID"
_INSERT_SEEN = "INSERT OR IGNORE INTO _loom_seen SELECT value FROM json_each(?) RETURNING key"


class SqliteSink:
    """Appends rows to a SQLite table, or upserts them by key. A part is a numbered batch of rows.

    The table `_loom_loads` records each part in the same transaction as its rows. If a part is
    already recorded, it is not written again, and its recorded numbers are added to the receipt. A
    part is identified by `run`, the table name and the part number. Therefore, `run` must be
    different for each run and each pipeline.

    In mode `upsert`, a new row with an existing key updates only its own fields, and only if a
    value differs. Values are compared after their conversion to the column type: 1 and 1.0 are
    equal, and 1 and "1" are equal in an INTEGER column. The key needs no index, but if it has none,
    SQLite reads the whole table once per batch. The rows of rejected records are counted, or
    deleted if `deletes_rejected` is true.
    """

    def __init__(
        self,
        table: DestinationTable,
        *,
        mode: LoadMode,
        run: str,
        deletes_rejected: bool = False,
        loaded: LoadedParts | None = None,
    ) -> None:
        """Create the sink. If `loaded` is given, its records are stored with their parts."""
        self._table = table
        self._is_append = mode == "append"
        self._deletes_rejected = deletes_rejected
        self._ledger = SqliteLedger(run, table.name, loaded)
        self._receipt = LoadReceipt()
        self._has_changed = False  # whether the current batch has changed the table
        self._connections: list[sqlite3.Connection] = []

    def check(self) -> None:
        """Raise UserError or WorldError if a load into the table would fail."""
        self._table.check(updates=not self._is_append)

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly, or "" if it can."""
        return self._table.refusal(self._connection(), row)

    def loaded_parts(self) -> frozenset[int]:
        """Return the numbers of the batches in `_loom_loads`."""
        if not self._table.path.exists():
            return frozenset()
        with (
            translate_errors(self._table.shown),
            closing(connect(self._table.path)) as connection,
        ):
            return self._ledger.parts(connection)

    def load(
        self, part: int, rows: Sequence[JsonObject], rejected: Sequence[JsonObject] = ()
    ) -> Mapping[int, str]:
        """Write one batch of rows in one transaction. `part` is the number of the batch.

        A row is refused if it violates a constraint, or if a trigger refuses it. Returns the reason
        for each refused row, by the index of the row. All other rows are written. The rows with the
        keys `rejected` are counted or deleted in the same transaction.
        """
        if not rows and not (rejected and self._table.path.exists()):
            return {}
        connection = self._connection()
        write = self._append_rows if self._is_append else self._upsert_rows

        def load_some(some: Sequence[JsonObject]) -> LoadReceipt:
            if self._table.is_altered:  # `refusal` did not know the types of the new columns
                require_accepted(some, lambda row: self._table.refusal(connection, row))
            with refusing_rows(connection):
                return write(connection, some)

        with translate_errors(self._table.shown, connection), transaction(connection):
            recorded = self._ledger.find(connection, part)
            if recorded is None:
                receipt, refused = LoadReceipt(), dict[int, str]()
                self._has_changed = False
                if rows:
                    self._table.shape(connection, rows, unique=not self._is_append)
                    receipt, refused = load_accepted(rows, load_some)
                receipt += self._apply_rejections(connection, rejected)
                recorded = receipt, refused
                has_changed = self._has_changed or receipt.deleted > 0 or bool(refused)
                self._ledger.add(connection, part, *recorded, has_changed=has_changed)
            else:
                require_loaded_table(connection, self._table.name, self._table.shown)
                if not self._is_append:
                    self._remember_keys(connection, rows, recorded[1])
        self._receipt += recorded[0]
        return recorded[1]

    def commit(self) -> LoadReceipt:
        """Close the database and return the receipt. All batches are already visible."""
        self._close()
        return self._receipt

    def abort(self) -> None:
        """Close the database. The batches that `load` has written remain in the table."""
        self._close()

    def _connection(self) -> sqlite3.Connection:
        if not self._connections:
            self._connections.append(self._table.open())
        return self._connections[0]

    def _close(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def _append_rows(
        self, connection: sqlite3.Connection, rows: Sequence[JsonObject]
    ) -> LoadReceipt:
        may_drop = may_drop_rows(connection, self._table.name)
        before = count_rows(connection, self._table.name) if may_drop else 0
        insert(connection, self._table.name, rows, self._table.shown)
        after = count_rows(connection, self._table.name) if may_drop else len(rows)
        inserted = after - before
        self._has_changed |= inserted > 0
        return LoadReceipt(inserted=inserted, kept_out=len(rows) - inserted)

    def _upsert_rows(
        self, connection: sqlite3.Connection, rows: Sequence[JsonObject]
    ) -> LoadReceipt:
        first_seen, seen_before = self._remember_keys(connection, rows)
        receipt = LoadReceipt(duplicates=len(rows) - len(first_seen))
        for fields, group in by_fields(first_seen).items():
            receipt += upsert(connection, self._table, fields, group)
        self._has_changed |= receipt.inserted + receipt.updated > 0
        for fields, group in by_fields(seen_before).items():
            again = upsert(connection, self._table, fields, group)
            self._has_changed |= again.inserted + again.updated > 0
        return receipt

    def _apply_rejections(
        self, connection: sqlite3.Connection, rejected: Sequence[JsonObject]
    ) -> LoadReceipt:
        """Count or delete the rows with the keys `rejected`, except the rows of this run."""
        if self._is_append or not rejected:
            return LoadReceipt()
        connection.execute(_CREATE_SEEN)
        seen = "SELECT 1 FROM _loom_seen WHERE key = ?"
        earlier = [
            row
            for row in rejected
            if connection.execute(seen, (self._key_text(row),)).fetchone() is None
        ]
        return apply_rejections(connection, self._table, earlier, deletes=self._deletes_rejected)

    def _key_text(self, row: JsonObject) -> str:
        return key_text(row, self._table.key, self._table.shown)

    def _remember_keys(
        self,
        connection: sqlite3.Connection,
        rows: Sequence[JsonObject],
        refused: Collection[int] = (),
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        """Record the keys of the rows, except the refused rows, which are given by their indexes.

        Of several rows with the same key, only the last row counts. Returns the rows whose keys are
        new, and the rows with the key of a row in an earlier batch.
        """
        accepted = (row for index, row in enumerate(rows) if index not in refused)
        last_rows = {self._key_text(row): row for row in accepted}
        connection.execute(_CREATE_SEEN)
        inserted = connection.execute(_INSERT_SEEN, (orjson.dumps([*last_rows]).decode(),))
        new_keys = {key for (key,) in inserted}
        first_seen = [row for text, row in last_rows.items() if text in new_keys]
        seen_before = [row for text, row in last_rows.items() if text not in new_keys]
        return first_seen, seen_before
