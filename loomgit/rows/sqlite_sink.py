"""A SQLite table as a destination: each batch in one transaction, visible at once."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.sqlite import fold_case, quote, transaction, translated
from loomgit.rows.sqlite_table import LEDGER
from loomgit.rows.sqlite_values import changes, column_affinities, stored, unfit
from loomgit.rows.stage import key_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.values import JsonObject
    from loomgit.rows.query import Scalar
    from loomgit.rows.sqlite_table import Table
    from loomgit.rows.sqlite_values import Affinity

_LEDGER = f"""
    CREATE TABLE IF NOT EXISTS {LEDGER} (
        run TEXT NOT NULL,
        target TEXT NOT NULL,
        part INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        loaded_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (run, target, part)
    ) WITHOUT ROWID
"""
_SEEN = "CREATE TEMP TABLE IF NOT EXISTS _loom_seen (key TEXT PRIMARY KEY) WITHOUT ROWID"


class SqliteSink:
    """Appends to a table, or upserts into it by key.

    `append`: a row of the ledger `_loom_loads` goes with each part, in its transaction; a part that
    is in the ledger is skipped and counted as it was, so `run` must be this pipeline's alone.
    `upsert`: needs no index on the key (without one the table is read once a batch), writes the
    fields that a row has and leaves the others, and touches only rows that differ: after the
    column's own conversions, so 1, 1.0 and, in an INTEGER column, "1" are the same.
    """

    def __init__(self, table: Table, *, mode: LoadMode, run: str) -> None:
        self._table = table
        self._append = mode == "append"
        self._run = run
        self._receipt = LoadReceipt()
        self._open: list[sqlite3.Connection] = []

    def check(self) -> None:
        """Raise where the table cannot be written or would refuse the rows."""
        self._table.check(updates=not self._append)

    def refusal(self, row: JsonObject) -> str:
        """Why the table cannot hold the row as it is; empty where it can."""
        return self._table.refusal(self._connection(), row)

    def load(self, part: int, rows: Sequence[JsonObject]) -> None:
        """Write one batch in one transaction."""
        if not rows:
            return
        connection = self._connection()
        with translated(self._table.shown, connection), transaction(connection):
            if self._append:
                receipt = self._appended(connection, part, rows)
            else:
                receipt = self._upserted(connection, rows)
        self._receipt += receipt

    def commit(self) -> LoadReceipt:
        """Close the database; the batches are visible already."""
        self._close()
        return self._receipt

    def abort(self) -> None:
        """Close the database; batches that were taken stay."""
        self._close()

    def _connection(self) -> sqlite3.Connection:
        if not self._open:
            self._open.append(self._table.open())
        return self._open[0]

    def _close(self) -> None:
        while self._open:
            self._open.pop().close()

    def _appended(
        self, connection: sqlite3.Connection, part: int, rows: Sequence[JsonObject]
    ) -> LoadReceipt:
        entry = (self._run, self._table.name, part)
        connection.execute(_LEDGER)
        done = connection.execute(
            f"SELECT rows FROM {LEDGER} WHERE run = ? AND target = ? AND part = ?",  # noqa: S608
            entry,
        ).fetchone()
        if done is not None:
            return LoadReceipt(inserted=int(done[0]))
        self._table.shape(connection, rows, unique=False)
        keeps_out = may_keep_out(connection, self._table.name)
        before = count_rows(connection, self._table.name) if keeps_out else 0
        insert(connection, self._table.name, rows, self._table.shown)
        after = count_rows(connection, self._table.name) if keeps_out else len(rows)
        inserted = after - before
        connection.execute(
            f"INSERT INTO {LEDGER} (run, target, part, rows) VALUES (?, ?, ?, ?)",  # noqa: S608
            (*entry, inserted),
        )
        return LoadReceipt(inserted=inserted, kept_out=len(rows) - inserted)

    def _upserted(self, connection: sqlite3.Connection, rows: Sequence[JsonObject]) -> LoadReceipt:
        key, shown = self._table.key, self._table.shown
        last = {key_text(row, key, shown): row for row in rows}
        self._table.shape(connection, rows, unique=True)
        connection.execute(_SEEN)
        fresh: list[JsonObject] = []
        again: list[JsonObject] = []  # a key of an earlier part was counted there
        for text, row in last.items():
            new = connection.execute(
                "INSERT OR IGNORE INTO _loom_seen VALUES (?) RETURNING 1", (text,)
            )
            (again if new.fetchone() is None else fresh).append(row)
        receipt = LoadReceipt(duplicates=len(rows) - len(fresh))
        for fields, group in by_fields(fresh).items():
            receipt += _upsert(connection, self._table, fields, group)
        for fields, group in by_fields(again).items():
            _upsert(connection, self._table, fields, group)
        return receipt


def by_fields(rows: Iterable[JsonObject]) -> dict[tuple[str, ...], list[JsonObject]]:
    """The rows grouped by the fields that they have."""
    groups: dict[tuple[str, ...], list[JsonObject]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return groups


def may_keep_out(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a table may leave out rows without an error: by a trigger, or `ON CONFLICT`."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE tbl_name = ? COLLATE NOCASE "
        "AND (type = 'trigger' OR sql LIKE '%ON CONFLICT%') LIMIT 1",
        (table,),
    )
    return found.fetchone() is not None


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    """The number of rows of a table."""
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
    """Insert the rows in order and return their number; a field that a row lacks is null.

    A row with the same values in the columns `replacing`, on which the table has a unique index,
    is replaced. Raises UserError for a value that its column would change.
    """
    affinities = column_affinities(connection, table)
    # Not the cursor's rowcount: before Python 3.13, sqlite3 does not recognize INSERT in a Turkish
    # locale, in which the lower case of I is not i.
    before = connection.total_changes
    for fields, group in groupby(rows, key=tuple):
        columns = [affinities.get(fold_case(name), "BLOB") for name in fields]
        connection.executemany(
            f"INSERT INTO {quote(table)} ({', '.join(map(quote, fields))}) "  # noqa: S608 - quoted
            f"VALUES ({', '.join('?' * len(fields))}){_conflict(fields, replacing)}",
            (_parameters(row, columns, shown) for row in group),
        )
    return connection.total_changes - before


def _conflict(fields: Sequence[str], replacing: Sequence[str]) -> str:
    """The ON CONFLICT clause that replaces rows with the same key; empty without a key."""
    if not replacing:
        return ""
    others = [quote(name) for name in fields if name not in replacing]
    update = ", ".join(f"{name} = excluded.{name}" for name in others)
    action = f"UPDATE SET {update}" if update else "NOTHING"
    return f" ON CONFLICT ({', '.join(map(quote, replacing))}) DO {action}"


def has_unique_key(connection: sqlite3.Connection, table: str, key: Sequence[str]) -> bool:
    """Whether the table itself lets no two rows have the same key."""
    wanted = {fold_case(name) for name in key}
    primary = {
        fold_case(str(row[1]))
        for row in connection.execute(f"PRAGMA table_info({quote(table)})")
        if row[5]
    }
    if wanted and wanted == primary:
        return True
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quote(table)})"):
        names = {
            fold_case(str(row[2]))
            for row in connection.execute(f"PRAGMA index_info({quote(index)})")
        }
        if wanted and unique and not partial and names == wanted:
            return True
    return False


def _parameters(row: JsonObject, columns: Sequence[Affinity], shown: str) -> list[Scalar]:
    parameters = []
    for (name, value), column in zip(row.items(), columns, strict=True):
        if changes(value, column):
            raise UserError(f"{shown}: {unfit(name, column, value)}", hint="make it a TEXT column")
        parameters.append(stored(value, column))
    return parameters


def _upsert(
    connection: sqlite3.Connection, table: Table, fields: tuple[str, ...], rows: list[JsonObject]
) -> LoadReceipt:
    """Upsert rows that all have `fields` and differ in their keys.

    They first go to a temporary table of the destination's own column types, so that both sides of
    a comparison went through the same conversions.
    """
    target, names = quote(table.name), [quote(name) for name in fields]
    chosen = ", ".join(names)
    connection.execute("DROP TABLE IF EXISTS temp._loom_incoming")
    connection.execute(
        f"CREATE TEMP TABLE _loom_incoming AS SELECT {chosen} FROM {target} LIMIT 0"  # noqa: S608
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
    keeps_out, kept_out = may_keep_out(connection, table.name), 0
    if others and matched:
        changes = ", ".join(f"{name} = _loom_incoming.{name}" for name in others)
        # The temporary column stands on the left: its collation counts, which is BINARY.
        differs = " OR ".join(f"_loom_incoming.{name} IS NOT {target}.{name}" for name in others)
        if keeps_out:
            (kept_out,) = connection.execute(
                f"SELECT count(*) FROM {target}, _loom_incoming WHERE {match} AND ({differs})"  # noqa: S608
            ).fetchone()
        updated = connection.execute(
            f"UPDATE {target} SET {changes} FROM _loom_incoming "  # noqa: S608
            f"WHERE {match} AND ({differs})"
        ).rowcount
        kept_out = max(0, kept_out - updated)
    count = len(rows) - duplicates
    if matched < count:
        connection.execute(
            f"INSERT INTO {target} ({chosen}) SELECT {chosen} FROM _loom_incoming "  # noqa: S608
            f"WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {match}) ORDER BY _loom_incoming.rowid"
        )
    unchanged, inserted = max(0, matched - updated - kept_out), count - matched
    if keeps_out:
        (there,) = connection.execute(
            f"SELECT count(*) FROM _loom_incoming WHERE EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {target} WHERE {match})"
        ).fetchone()
        kept_out += inserted - (there - matched)
        inserted = there - matched
    return LoadReceipt(inserted, updated, unchanged, duplicates, kept_out)


def _drop_equal_keys(connection: sqlite3.Connection, table: Table) -> int:
    """Keep the last of the incoming rows whose keys the table takes for equal, as "a" and "A" in a
    column with NOCASE, or "1" and "1.0" in an INTEGER column; return the number of the others.

    A compound SELECT compares as the columns of its first part do, here those of the table.
    """
    keys = ", ".join(quote(name) for name in table.key)
    return connection.execute(
        "DELETE FROM _loom_incoming WHERE rowid NOT IN (SELECT max(number) FROM ("  # noqa: S608
        f"SELECT {keys}, 0 AS number FROM {quote(table.name)} WHERE 0 UNION ALL "
        f"SELECT {keys}, rowid FROM _loom_incoming) GROUP BY {keys})"
    ).rowcount
