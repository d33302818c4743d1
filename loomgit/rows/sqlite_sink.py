"""SQLite destinations: each batch of rows is one transaction, and is visible immediately."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.refused_rows import RowRefusedError, load_accepted, require_accepted
from loomgit.rows.sqlite import (
    connect,
    fold_case,
    object_kind,
    quote,
    transaction,
    translate_errors,
)
from loomgit.rows.sqlite_ledger import SqliteLedger
from loomgit.rows.sqlite_rejected import apply_rejections
from loomgit.rows.sqlite_values import column_affinities, loss_reason, to_sqlite, would_change
from loomgit.rows.stage import key_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.values import JsonObject
    from loomgit.domain.watermarks import LoadedParts
    from loomgit.rows.query import Scalar
    from loomgit.rows.sqlite_table import DestinationTable
    from loomgit.rows.sqlite_values import Affinity

_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)
_CREATE_SEEN = "CREATE TEMP TABLE IF NOT EXISTS _loom_seen (key TEXT PRIMARY KEY) WITHOUT ROWID"


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
            connection.execute("SAVEPOINT rows")
            try:
                receipt = write(connection, some)
            except sqlite3.IntegrityError as fault:
                connection.execute("ROLLBACK TO rows")
                raise RowRefusedError(str(fault)) from fault
            finally:
                if connection.in_transaction:
                    connection.execute("RELEASE rows")
            return receipt

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
            receipt += _upsert(connection, self._table, fields, group)
        self._has_changed |= receipt.inserted + receipt.updated > 0
        for fields, group in by_fields(seen_before).items():
            again = _upsert(connection, self._table, fields, group)
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
        first_seen: list[JsonObject] = []
        seen_before: list[JsonObject] = []
        for text, row in last_rows.items():
            inserted = connection.execute(
                "INSERT OR IGNORE INTO _loom_seen VALUES (?) RETURNING 1", (text,)
            )
            (seen_before if inserted.fetchone() is None else first_seen).append(row)
        return first_seen, seen_before


def by_fields(rows: Iterable[JsonObject]) -> dict[tuple[str, ...], list[JsonObject]]:
    """Group rows that have the same field names in the same order. The keys are the field names."""
    groups: dict[tuple[str, ...], list[JsonObject]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return groups


def require_loaded_table(connection: sqlite3.Connection, table: str, shown: str) -> None:
    """Raise UserError if the table does not exist, although the run has loaded rows into it."""
    if object_kind(connection, table) is None:
        raise UserError(
            f"{shown}: the table '{table}' was removed since the run loaded rows into it",
            hint="restore the table, or start a new run without --resume",
        )


def may_drop_rows(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table has a trigger or an `ON CONFLICT` clause, which may silently drop rows."""
    cursor = connection.execute(
        "SELECT type, sql FROM sqlite_master WHERE tbl_name = ? COLLATE NOCASE", (table,)
    )
    return any(kind == "trigger" or _ON_CONFLICT.search(sql or "") for kind, sql in cursor)


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    """Return the number of rows in the table."""
    (number,) = connection.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()  # noqa: S608
    return int(number)


def insert(
    connection: sqlite3.Connection,
    table: str,
    rows: Iterable[JsonObject],
    shown: str,
    *,
    replacing: Sequence[str] = (),
) -> int:
    """Insert the rows in order, and return the number of rows that SQLite has changed.

    A column that is missing from a row gets its default value. If `replacing` is not empty, a new
    row updates the existing row that has the same values in these columns. The table must then have
    a unique index on these columns. Raises UserError if a column would change a value.
    """
    affinities = column_affinities(connection, table)
    # `cursor.rowcount` is not used, because it is wrong in a Turkish locale before Python 3.13: the
    # lower case of I is not i in this locale, and so sqlite3 does not recognize the word INSERT.
    before = connection.total_changes
    for fields, group in groupby(rows, key=tuple):
        columns = [affinities.get(fold_case(name), "BLOB") for name in fields]
        connection.executemany(
            f"INSERT INTO {quote(table)} ({', '.join(map(quote, fields))}) "  # noqa: S608 - quoted
            f"VALUES ({', '.join('?' * len(fields))}){_conflict_clause(fields, replacing)}",
            (_parameters(row, columns, shown) for row in group),
        )
    return connection.total_changes - before


def _conflict_clause(fields: Sequence[str], replacing: Sequence[str]) -> str:
    """Return the ON CONFLICT clause that updates the existing row with the same key.

    `replacing` are the key columns. The clause is empty if `replacing` is empty.
    """
    if not replacing:
        return ""
    others = [quote(name) for name in fields if name not in replacing]
    update = ", ".join(f"{name} = excluded.{name}" for name in others)
    action = f"UPDATE SET {update}" if update else "NOTHING"
    return f" ON CONFLICT ({', '.join(map(quote, replacing))}) DO {action}"


def has_unique_key(connection: sqlite3.Connection, table: str, key: Sequence[str]) -> bool:
    """Whether the table has a primary key or a unique index on exactly the columns `key`."""
    key_columns = {fold_case(name) for name in key}
    primary_key = {
        fold_case(str(row[1]))
        for row in connection.execute(f"PRAGMA table_info({quote(table)})")
        if row[5]
    }
    if key_columns and key_columns == primary_key:
        return True
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quote(table)})"):
        names = {
            fold_case(str(row[2]))
            for row in connection.execute(f"PRAGMA index_info({quote(index)})")
        }
        if key_columns and unique and not partial and names == key_columns:
            return True
    return False


def _parameters(row: JsonObject, columns: Sequence[Affinity], shown: str) -> list[Scalar]:
    parameters = []
    for (name, value), column in zip(row.items(), columns, strict=True):
        if would_change(value, column):
            raise UserError(
                f"{shown}: {loss_reason(name, column, value)}",
                hint="change the type of the column to TEXT",
            )
        parameters.append(to_sqlite(value, column))
    return parameters


def _upsert(
    connection: sqlite3.Connection,
    table: DestinationTable,
    fields: tuple[str, ...],
    rows: list[JsonObject],
) -> LoadReceipt:
    """Upsert rows that have the same `fields` and different keys.

    The rows are first inserted into a temporary table that has the column types of the destination.
    Thus, SQLite converts new values to the column types before it compares them.
    """
    target, names = quote(table.name), [quote(name) for name in fields]
    columns = ", ".join(names)
    connection.execute("DROP TABLE IF EXISTS temp._loom_incoming")
    connection.execute(
        f"CREATE TEMP TABLE _loom_incoming AS SELECT {columns} FROM {target} LIMIT 0"  # noqa: S608
    )
    insert(connection, "_loom_incoming", rows, table.shown)
    keys = [quote(name) for name in table.key]
    duplicates = _drop_equal_keys(connection, table)
    connection.execute(
        f"CREATE INDEX temp._loom_incoming_key ON _loom_incoming ({', '.join(keys)})"
    )
    match = " AND ".join(f"{target}.{name} = _loom_incoming.{name}" for name in keys)
    others = [name for name in names if name not in keys]
    updated = 0
    matched = connection.execute(
        f"SELECT count(*) FROM _loom_incoming WHERE EXISTS "  # noqa: S608
        f"(SELECT 1 FROM {target} WHERE {match})"
    ).fetchone()[0]
    may_drop, dropped = may_drop_rows(connection, table.name), 0
    if others and matched:
        changes = ", ".join(f"{name} = _loom_incoming.{name}" for name in others)
        # SQLite compares two texts by the collation of the left column. Here, this is the column of
        # the temporary table. Its collation is BINARY, so "a" and "A" are different values.
        differs = " OR ".join(f"_loom_incoming.{name} IS NOT {target}.{name}" for name in others)
        if may_drop:
            (dropped,) = connection.execute(
                f"SELECT count(*) FROM {target}, _loom_incoming WHERE {match} AND ({differs})"  # noqa: S608
            ).fetchone()
        updated = connection.execute(
            f"UPDATE {target} SET {changes} FROM _loom_incoming "  # noqa: S608
            f"WHERE {match} AND ({differs})"
        ).rowcount
        dropped = max(0, dropped - updated)
    count = len(rows) - duplicates
    if matched < count:
        connection.execute(
            f"INSERT INTO {target} ({columns}) SELECT {columns} FROM _loom_incoming "  # noqa: S608
            f"WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {match}) ORDER BY _loom_incoming.rowid"
        )
    unchanged, inserted = max(0, matched - updated - dropped), count - matched
    if may_drop:
        (present,) = connection.execute(
            f"SELECT count(*) FROM _loom_incoming WHERE EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {target} WHERE {match})"
        ).fetchone()
        dropped += inserted - (present - matched)
        inserted = present - matched
    return LoadReceipt(inserted, updated, unchanged, duplicates, dropped)


def _drop_equal_keys(connection: sqlite3.Connection, table: DestinationTable) -> int:
    """Keep only the last incoming row of each key. Return the number of deleted rows.

    The key columns of the destination table define which keys are equal: "a" and "A" are equal in a
    NOCASE column, and "1" and "1.0" in an INTEGER column. The temporary table has the types of the
    destination table, but not its collations. Therefore, the query begins with a SELECT from the
    destination table that returns no rows. SQLite then uses the collations of this first SELECT to
    group the rows of the whole UNION ALL.
    """
    keys = ", ".join(quote(name) for name in table.key)
    return connection.execute(
        "DELETE FROM _loom_incoming WHERE rowid NOT IN (SELECT max(number) FROM ("  # noqa: S608
        f"SELECT {keys}, 0 AS number FROM {quote(table.name)} WHERE 0 UNION ALL "
        f"SELECT {keys}, rowid FROM _loom_incoming) GROUP BY {keys})"
    ).rowcount
