"""The stage: a temporary database that collects the rows of a run.

A destination that is written only at the end of a run needs a stage. The rows arrive in parts. A
part is a numbered batch of rows.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import asdict

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import LoomError, UserError
from loomgit.rows.paths import make_folder, translate_os_errors
from loomgit.rows.sqlite import connect, transaction, translate_errors

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.values import Json, JsonMapping, JsonObject
    from loomgit.rows.refused_rows import RowPlace

_TABLES = """
    CREATE TABLE IF NOT EXISTS parts (
        part INTEGER PRIMARY KEY, published INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS rows (
        part INTEGER, at INTEGER, key TEXT, row BLOB, PRIMARY KEY (part, at)
    );
    CREATE INDEX IF NOT EXISTS rows_by_key ON rows (key, part, at) WHERE key IS NOT NULL;
    CREATE TABLE IF NOT EXISTS rejected (part INTEGER, key TEXT, PRIMARY KEY (key, part))
        WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS refused (
        part INTEGER, at INTEGER, reason TEXT NOT NULL, PRIMARY KEY (part, at)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS fields (at INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE IF NOT EXISTS publications (sha256 TEXT, receipt BLOB, done INTEGER);
    CREATE TEMP TABLE matched (key TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_LAST = (
    "NOT EXISTS (SELECT 1 FROM rows later WHERE later.key = rows.key "
    "AND (later.part, later.at) > (rows.part, rows.at))"
)

_LAST_UNMATCHED = f"{_LAST} AND key NOT IN (SELECT key FROM matched)"  # noqa: S608 - constant text


def destination_id(path: Path, table: str = "") -> str:
    """Return a short id of a destination, for file names. All processes get the same id."""
    return hashlib.sha256(f"{path}\n{table}".encode()).hexdigest()[:16]


def key_text(row: JsonMapping, key: Sequence[str], shown: str) -> str:
    """Return the values of the key fields as one text. 7, 7.0 and "7" give the same text.

    Raises UserError if a key field is missing from the row or is null.
    """
    parts = [_value_text(row.get(name)) for name in key]
    for name, part in zip(key, parts, strict=True):
        if part is None:
            raise UserError(
                f"{shown}: a row to load has no value in its key field '{name}'",
                hint="give each row a value in every field of extract.key, or use mode: append",
            )
    return orjson.dumps(parts).decode()


def find_key_text(row: JsonMapping, key: Sequence[str]) -> str | None:
    """Return the same text as `key_text`, or None if a key field is missing, null or an empty text.

    An empty text is treated like null, because both look the same in a CSV file.
    """
    parts = [_value_text(row.get(name)) for name in key]
    return None if None in parts or "" in parts else orjson.dumps(parts).decode()


def _value_text(value: Json) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class Stage:
    """A SQLite file with the rows that a sink has received but not yet written to its destination.

    A part is a numbered batch of rows. The rows are ordered by the number of their part and their
    position in the part, not by the time of the calls. If several rows have the same key, only the
    last row in this order is written.

    The file survives a crash, so that a resumed run can continue: a part that was added before is
    not added again, even if its rows are already published. A publication writes the staged rows to
    the destination. Its receipt (the numbers of written rows) replaces the rows.

    If `keeps_rows` is true, a publication replaces the whole destination. The rows then remain in
    the stage, because a later publication of the run must contain them, too.
    """

    def __init__(self, folder: Path, name: str, *, keeps_rows: bool = False) -> None:
        self._path = folder / f"load-{name}.sqlite"
        self._shown = str(self._path)
        self._keeps_rows = keeps_rows
        self._connection: sqlite3.Connection | None = None

    def add(
        self,
        part: int,
        rows: Sequence[JsonObject],
        keys: Sequence[str | None],
        rejected: Iterable[str] = (),
    ) -> None:
        """Add all rows of a part in one transaction. If the part was added before, do nothing.

        `keys` has one item per row: the text of its key, or None. `rejected` are the texts of the
        keys of rejected records.
        """
        with self._transaction() as connection:
            if connection.execute("SELECT 1 FROM parts WHERE part = ?", (part,)).fetchone():
                return
            connection.execute("INSERT INTO parts (part) VALUES (?)", (part,))
            names = dict.fromkeys(name for row in rows for name in row)
            connection.executemany(
                "INSERT OR IGNORE INTO fields (name) VALUES (?)", ((name,) for name in names)
            )
            connection.executemany(
                "INSERT INTO rows VALUES (?, ?, ?, ?)",
                (
                    (part, at, key, orjson.dumps(row))
                    for at, (row, key) in enumerate(zip(rows, keys, strict=True))
                ),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO rejected VALUES (?, ?)", ((part, key) for key in rejected)
            )

    def parts(self) -> frozenset[int]:
        """Return the numbers of all parts that were added, also of those that are published."""
        if not self._path.exists():
            return frozenset()
        with self._reading() as connection:
            return frozenset(part for (part,) in connection.execute("SELECT part FROM parts"))

    def fields(self) -> tuple[str, ...]:
        """Return the names of all fields, in order of first appearance."""
        with self._reading() as connection:
            return tuple(
                name for (name,) in connection.execute("SELECT name FROM fields ORDER BY at")
            )

    def rows(self) -> Iterator[JsonObject]:
        """Yield the rows in order.

        If several rows have the same key, yield only the last of them.
        """
        yield from self._select(_LAST)

    def placed_rows(self) -> Iterator[tuple[RowPlace, JsonObject]]:
        """Yield the same rows as `rows`, each with its part and its index in the part."""
        with self._reading() as connection:
            for part, at, row in connection.execute(
                f"SELECT part, at, row FROM rows WHERE {_LAST} ORDER BY part, at"  # noqa: S608 - constant text
            ):
                yield (part, at), orjson.loads(row)

    def refuse(self, reasons: Mapping[RowPlace, str]) -> None:
        """Remove rows that the destination refuses, and record the reasons."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM rows WHERE part = ? AND at = ?", reasons)
            connection.executemany(
                "INSERT INTO refused VALUES (?, ?, ?)",
                ((part, at, reason) for (part, at), reason in reasons.items()),
            )

    def refused(self) -> dict[RowPlace, str]:
        """Return the reasons for the rows that `refuse` has removed."""
        if not self._path.exists():
            return {}
        with self._reading() as connection:
            return {
                (part, at): reason
                for part, at, reason in connection.execute("SELECT part, at, reason FROM refused")
            }

    @contextmanager
    def matching(self) -> Iterator[None]:
        """Context in which `find` and `unmatched` must be called.

        `find` records the keys of the rows that it returns, and `unmatched` skips these keys. At
        the end of the context, the recorded keys are deleted.
        """
        with translate_errors(self._shown):
            connection = self._open()
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def find(self, key: str) -> JsonObject | None:
        """Return the last row with this key, or None. `unmatched` will skip the returned row."""
        connection = self._open()
        stored = connection.execute(
            "SELECT row FROM rows WHERE key = ? ORDER BY part DESC, at DESC LIMIT 1", (key,)
        ).fetchone()
        if stored is None:
            return None
        connection.execute("INSERT OR IGNORE INTO matched VALUES (?)", (key,))
        row: JsonObject = orjson.loads(stored[0])
        return row

    def has_rejected(self) -> bool:
        """Whether keys of rejected records are staged that are not published."""
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM rejected LIMIT 1").fetchone() is not None

    def is_rejected(self, key: str) -> bool:
        """Whether a staged part contains a rejected record with this key."""
        row = self._open().execute("SELECT 1 FROM rejected WHERE key = ? LIMIT 1", (key,))
        return row.fetchone() is not None

    def unmatched(self) -> Iterator[JsonObject]:
        """Yield the same rows as `rows`, except those that `find` has returned."""
        yield from self._select(_LAST_UNMATCHED)

    def _select(self, condition: str) -> Iterator[JsonObject]:
        with self._reading() as connection:
            for (row,) in connection.execute(
                f"SELECT row FROM rows WHERE {condition} ORDER BY part, at"  # noqa: S608 - constant text
            ):
                yield orjson.loads(row)

    def duplicates(self) -> int:
        """Return the number of rows that have the same key as a later row."""
        with self._reading() as connection:
            counted = connection.execute(
                "SELECT count(key) - count(DISTINCT key) FROM rows WHERE key IS NOT NULL"
            ).fetchone()
            return int(counted[0])

    def intend(self, sha256: str, receipt: LoadReceipt) -> None:
        """Record a publication before the new file replaces the destination.

        `sha256` is the hash of the new file. After a crash, it shows whether the destination was
        replaced.
        """
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO publications VALUES (?, ?, 0)", (sha256, _encode(receipt))
            )

    def intended(self) -> str | None:
        """Return the hash of a publication that `intend` recorded and that is not settled.

        The result is None if there is no such publication.
        """
        with self._reading() as connection:
            stored = connection.execute("SELECT sha256 FROM publications WHERE NOT done").fetchone()
            return None if stored is None else str(stored[0])

    def settle(self, *, published: bool) -> None:
        """Complete the publication that `intend` recorded, or cancel it if it did not happen."""
        with self._transaction() as connection:
            if published:
                connection.execute("UPDATE publications SET done = 1")
                self._mark_published(connection)
            else:
                connection.execute("DELETE FROM publications WHERE NOT done")

    def finish(self, receipt: LoadReceipt) -> None:
        """Record a complete publication.

        Deletes the staged rows, unless the stage keeps them, and the rejected keys.
        """
        with self._transaction() as connection:
            connection.execute("INSERT INTO publications VALUES ('', ?, 1)", (_encode(receipt),))
            self._mark_published(connection)

    def _mark_published(self, connection: sqlite3.Connection) -> None:
        if not self._keeps_rows:
            connection.execute("DELETE FROM rows")
        connection.execute("DELETE FROM rejected")
        connection.execute("UPDATE parts SET published = 1")

    @property
    def exists(self) -> bool:
        """Whether the file of the stage exists."""
        return self._path.exists()

    def receipt(self) -> LoadReceipt | None:
        """Return the sum of the receipts of all publications, or None if nothing was published.

        If the stage keeps its rows, the last receipt is returned: it includes all rows.
        """
        if not self._path.exists():
            return None
        with self._reading() as connection:
            stored = connection.execute(
                "SELECT receipt FROM publications WHERE done ORDER BY rowid"
            ).fetchall()
        receipts = [LoadReceipt(**orjson.loads(receipt)) for (receipt,) in stored]
        if self._keeps_rows:
            receipts = receipts[-1:]
        return sum(receipts, LoadReceipt()) if receipts else None

    def has_unpublished(self) -> bool:
        """Whether parts are staged that are not published."""
        with self._reading() as connection:
            found = connection.execute("SELECT 1 FROM parts WHERE NOT published LIMIT 1")
            return found.fetchone() is not None

    def close(self) -> None:
        """Close the database. Its file remains on disk for a resumed run."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def discard(self) -> None:
        """Delete the parts that are not published. They can be added again.

        If the database cannot be written, for example because the disk is full, the parts remain.
        They also remain if a publication is not settled: the destination may contain them.
        """
        try:
            if self._path.exists() and self.intended() is not None:
                return
            is_empty = self.receipt() is None
            if not is_empty:
                with self._transaction() as connection:
                    for table in ("rows", "refused"):
                        connection.execute(
                            f"DELETE FROM {table} "  # noqa: S608 - constant text
                            "WHERE part IN (SELECT part FROM parts WHERE NOT published)"
                        )
                    connection.execute("DELETE FROM rejected")
                    connection.execute("DELETE FROM parts WHERE NOT published")
        except LoomError:
            return
        finally:
            self.close()
        if not is_empty:
            return
        with translate_os_errors(self._shown):
            for ending in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            make_folder(self._path.parent, self._shown)
            connection = connect(self._path, writing=True)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_TABLES)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with translate_errors(self._shown):
            yield self._open()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with translate_errors(self._shown), transaction(self._open()) as connection:
            yield connection


def _encode(receipt: LoadReceipt) -> bytes:
    return orjson.dumps(asdict(receipt))
