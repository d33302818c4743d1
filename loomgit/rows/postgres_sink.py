"""PostgreSQL destinations: writes each batch of rows in one transaction, visible immediately."""

from __future__ import annotations

import hashlib
from itertools import groupby
from typing import TYPE_CHECKING

import psycopg

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.postgres_connection import concerns_row, describe, translate_errors
from loomgit.rows.postgres_copy import copy_columns, copy_rows, copy_texts
from loomgit.rows.postgres_ledger import PostgresLedger
from loomgit.rows.postgres_lock import lock_table
from loomgit.rows.postgres_rejected import apply_rejections
from loomgit.rows.postgres_upsert import PostgresUpsert
from loomgit.rows.refused_rows import (
    RowRefusedError,
    load_accepted,
    require_accepted,
)
from loomgit.rows.stage import key_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.records import RowBatch
    from loomgit.domain.values import JsonObject
    from loomgit.domain.watermarks import LoadedParts
    from loomgit.rows.postgres_columns import Column
    from loomgit.rows.postgres_connection import Connection
    from loomgit.rows.postgres_table import PostgresTable

# Qualified, so that a table of the user with the same name is never used instead.
_SEEN = "pg_temp._loom_seen"


class PostgresSink:
    """Appends rows to a PostgreSQL table, or upserts them by key. A part is a numbered batch.

    The rows of a part and its entry in the table `_loom_loads` are written in one transaction. If a
    part already has an entry, it is not written again, and its recorded receipt is returned. The
    entries are found by `run`, the table name and the part number. Therefore, `run` must be
    different for each run and each pipeline.

    In mode `upsert`, a new row with an existing key updates only its own fields, and only if a
    value differs. While the sink is open, an advisory lock excludes other runs that load into the
    same table. The rows of rejected records are counted, or deleted if the table deletes them
    (`PostgresTable.deletes_rejected`).
    """

    def __init__(
        self,
        table: PostgresTable,
        *,
        mode: LoadMode,
        run: str,
        loaded: LoadedParts | None = None,
    ) -> None:
        """Create the sink. If `loaded` is given, its records are stored with their parts."""
        self._table = table
        self._loaded = loaded
        self._progress = table.progress_table()
        self._is_append = mode == "append"
        self._ledger = PostgresLedger(table.ledger, run, table.sql)
        self._upsert = PostgresUpsert(table)
        self._receipt = LoadReceipt()
        self._connections: list[Connection] = []
        self._is_prepared = False
        self._expects_batches = False

    def check(self) -> None:
        """Raise UserError or WorldError if a load into the table would fail."""
        self._table.check()

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly; empty if it can."""
        with translate_errors(self._table.shown):
            return self._table.refusal(self._connection(), row)

    def loaded_parts(self) -> frozenset[int]:
        """Return the numbers of the batches in `_loom_loads`."""
        with translate_errors(self._table.shown), self._table.open() as connection:
            return self._ledger.parts(connection)

    def load(
        self, part: int, rows: Sequence[JsonObject], rejected: Sequence[JsonObject] = ()
    ) -> Mapping[int, str]:
        """Write one batch of rows in one transaction. `part` is the number of the batch.

        The keys of the result are the indexes of the rows that the database refuses. The values are
        the reasons. The other rows are written. The rows with the keys `rejected` are counted or
        deleted in the same transaction.
        """
        if not rows and not rejected:
            return {}
        with translate_errors(self._table.shown):
            connection = self._connection()
            if not self._is_prepared:
                self._prepare(connection)
            with connection.transaction():
                receipt, refused = self._load_part(connection, part, rows, rejected)
        self._receipt += receipt
        return refused

    def expect_batches(self) -> None:
        """Record the keys of rows so that `load_batch` finds duplicates of them, too."""
        self._expects_batches = True

    def load_batch(self, part: int, batch: RowBatch) -> bool:
        """Write all rows of a batch in one transaction, or none of them.

        Returns False if the table does not exist yet, lacks a column, or may refuse a row.
        """
        with translate_errors(self._table.shown):
            connection = self._connection()
            if not self._is_prepared:
                self._prepare(connection)
            columns = self._table.columns(connection)
            if not all(name in columns for name in batch.names):
                return False
            fields = [columns[name] for name in batch.names]
            texts = copy_texts(fields, batch.rows)
            if texts is None:
                return False
            if not self._is_append:
                self._upsert.prepare_batch(connection, batch.names)
            try:
                with connection.transaction():
                    receipt = self._load_texts(connection, part, fields, texts)
            except psycopg.Error as fault:
                if not concerns_row(fault):
                    raise
                return False
        self._receipt += receipt
        return True

    def commit(self) -> LoadReceipt:
        """Close the connection and return the receipt. All batches are already visible."""
        self._close()
        return self._receipt

    def abort(self) -> None:
        """Close the connection. The batches that `load` has written remain in the table."""
        self._close()

    def _prepare(self, connection: Connection) -> None:
        self._table.create_ledger(connection)
        if self._loaded is not None:
            self._progress.create(connection)
        if not self._is_append:
            connection.execute(f"CREATE TABLE {_SEEN} (key text PRIMARY KEY)")
        self._is_prepared = True

    def _connection(self) -> Connection:
        if not self._connections:
            connection = self._table.open()
            lock_table(connection, self._table)
            self._connections.append(connection)
        return self._connections[0]

    def _close(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def _load_texts(
        self,
        connection: Connection,
        part: int,
        fields: Sequence[Column],
        texts: Sequence[Sequence[str]],
    ) -> LoadReceipt:
        """Load the values of the columns `fields`, and return the receipt of the part."""
        table, count = self._table, len(texts[0])
        recorded = self._ledger.find(connection, part)
        if recorded is not None and (self._is_append or not recorded[1]):
            return recorded[0]
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal must not wait for COMMIT
        if self._is_append:
            copied = copy_columns(connection, table.sql, [c.name for c in fields], texts)
            receipt = LoadReceipt(inserted=copied, kept_out=count - copied)
        else:
            receipt = self._upsert.load_texts(connection, fields, texts)
        self._record_part(connection, part, receipt, {})
        return receipt

    def _load_part(
        self,
        connection: Connection,
        part: int,
        rows: Sequence[JsonObject],
        rejected: Sequence[JsonObject],
    ) -> tuple[LoadReceipt, dict[int, str]]:
        recorded = self._ledger.find(connection, part)
        if recorded is not None:
            _require_loaded_table(connection, self._table)
            if not self._is_append:
                loaded = [row for i, row in enumerate(rows) if i not in recorded[1]]
                self._remember(connection, loaded)
                if self._expects_batches:
                    columns = self._table.columns(connection)
                    key = [columns[name] for name in self._table.key]
                    self._upsert.remember(connection, key, loaded)
            return recorded
        receipt, refused = LoadReceipt(), dict[int, str]()
        if rows:
            receipt, refused = self._load_rows(connection, rows)
        if rejected and not self._is_append:
            deletes = self._table.deletes_rejected
            earlier = self._not_loaded(connection, rejected)
            receipt += apply_rejections(connection, self._table, earlier, deletes=deletes)
        self._record_part(connection, part, receipt, refused)
        return receipt, refused

    def _record_part(
        self, connection: Connection, part: int, receipt: LoadReceipt, refused: Mapping[int, str]
    ) -> None:
        self._ledger.add(connection, part, receipt, refused)
        if self._loaded is not None:
            self._progress.store_part(connection, self._loaded, part, refused)

    def _load_rows(
        self, connection: Connection, rows: Sequence[JsonObject]
    ) -> tuple[LoadReceipt, dict[int, str]]:
        table = self._table
        columns = table.shape(connection, rows)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal must not wait for COMMIT
        if not self._is_append:
            for fields in dict.fromkeys(map(tuple, rows)):
                if self._expects_batches:
                    self._upsert.prepare_batch(connection, fields)
                else:
                    self._upsert.prepare(connection, fields)
        last, seen = (rows, set()) if self._is_append else self._last_rows(connection, rows)

        def load(some: Sequence[JsonObject]) -> LoadReceipt:
            if table.is_altered:  # `refusal` did not know the types of the new columns
                require_accepted(some, lambda row: table.refusal(connection, row))
            try:
                with connection.transaction():  # a savepoint
                    receipt = LoadReceipt()
                    for is_seen, group in _groups(some, seen):
                        loaded = self._load_group(connection, columns, group)
                        receipt += LoadReceipt() if is_seen else loaded
                    return receipt
            except psycopg.Error as fault:
                if not concerns_row(fault):
                    raise
                raise RowRefusedError(describe(fault)) from fault

        receipt, refused = load_accepted(last, load)
        if not self._is_append:
            self._remember(connection, [row for i, row in enumerate(last) if i not in refused])
        positions = {id(row): index for index, row in enumerate(rows)}
        refused = {positions[id(last[i])]: reason for i, reason in refused.items()}
        receipt += LoadReceipt(duplicates=len(rows) - len(last) + len(seen))
        return receipt, refused

    def _not_loaded(self, connection: Connection, keys: Sequence[JsonObject]) -> list[JsonObject]:
        """Return the keys of rows that this run has not loaded."""
        hashes = {self._key_hash(key): key for key in keys}
        loaded = connection.execute(
            f"SELECT key FROM {_SEEN} WHERE key = ANY (%s)",  # noqa: S608 - constant
            ([*hashes],),
        )
        for (key_hash,) in loaded:
            del hashes[str(key_hash)]
        return [*hashes.values()]

    def _last_rows(
        self, connection: Connection, rows: Sequence[JsonObject]
    ) -> tuple[list[JsonObject], set[int]]:
        """Return the last row of each key, and the rows that the receipt already includes.

        The latter are given by the `id()` of the row. Their keys occurred in an earlier batch.
        """
        last = {self._key_hash(row): row for row in rows}
        cursor = connection.execute(f"SELECT key FROM {_SEEN} WHERE key = ANY (%s)", ([*last],))  # noqa: S608
        return [*last.values()], {id(last[str(key)]) for (key,) in cursor}

    def _remember(self, connection: Connection, rows: Sequence[JsonObject]) -> None:
        """Record that the receipt includes the keys of these rows."""
        connection.execute(
            f"INSERT INTO {_SEEN} SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            ([self._key_hash(row) for row in rows],),
        )

    def _key_hash(self, row: JsonObject) -> str:
        """Return a short text for the key of a row: the database may limit the size of a text."""
        text = key_text(row, self._table.key, self._table.shown)
        return hashlib.sha256(text.encode()).hexdigest()

    def _load_group(
        self, connection: Connection, columns: Mapping[str, Column], rows: Sequence[JsonObject]
    ) -> LoadReceipt:
        """Load rows that have the same fields."""
        fields = [columns[name] for name in rows[0]]
        if self._is_append:
            copied = copy_rows(connection, self._table.sql, fields, rows)
            return LoadReceipt(inserted=copied, kept_out=len(rows) - copied)
        return self._upsert.load_rows(connection, fields, rows)


def _require_loaded_table(connection: Connection, table: PostgresTable) -> None:
    """Raise UserError if the table does not exist, although the run has loaded rows into it."""
    if not table.columns(connection):
        raise UserError(
            f"{table.shown}: the table '{table.name}' was removed since the run loaded rows into "
            "it",
            hint="restore the table, or start a new run without --resume",
        )


def _groups(
    rows: Iterable[JsonObject], seen: Collection[int]
) -> Iterator[tuple[bool, list[JsonObject]]]:
    """Yield adjacent rows that have the same fields in the same order, and that are all in `seen`
    or all not. The order of the rows stays, because a later row replaces an earlier one."""

    def kind(row: JsonObject) -> tuple[bool, tuple[str, ...]]:
        return id(row) in seen, tuple(row)

    for (is_seen, _), group in groupby(rows, key=kind):
        yield is_seen, list(group)
