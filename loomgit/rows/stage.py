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
from loomgit.errors import UserError
from loomgit.rows.paths import make_folder, translate_os_errors
from loomgit.rows.sqlite import connect, transaction, translate_errors

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.values import Json, JsonMapping, JsonObject

_TABLES = """
    CREATE TABLE IF NOT EXISTS parts (part INTEGER PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS rows (
        part INTEGER, at INTEGER, key TEXT, row BLOB, PRIMARY KEY (part, at)
    );
    CREATE INDEX IF NOT EXISTS rows_by_key ON rows (key, part, at) WHERE key IS NOT NULL;
    CREATE TABLE IF NOT EXISTS fields (at INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE IF NOT EXISTS published (sha256 TEXT, receipt BLOB);
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
    last row in this order is written. Staged parts survive a crash, so that a resumed run can
    continue: a part that is already staged is not added again. `finish` replaces the rows with a
    receipt: the numbers of written rows.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"load-{name}.sqlite"
        self._receipt_path = folder / f"load-{name}.json"
        self._shown = str(self._path)
        self._connection: sqlite3.Connection | None = None

    def add(self, part: int, rows: Sequence[JsonObject], keys: Sequence[str | None]) -> None:
        """Add all rows of a part in one transaction. If the part is already staged, do nothing.

        `keys` has one item per row: the text of its key, or None.
        """
        with self._transaction() as connection:
            if connection.execute("SELECT 1 FROM parts WHERE part = ?", (part,)).fetchone():
                return
            connection.execute("INSERT INTO parts VALUES (?)", (part,))
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
        """Store the hash and the receipt of the new file before it replaces the destination.

        After a crash, the hash shows whether the destination was replaced.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM published")
            connection.execute(
                "INSERT INTO published VALUES (?, ?)", (sha256, orjson.dumps(asdict(receipt)))
            )

    def intended(self) -> tuple[str, LoadReceipt] | None:
        """Return the hash and the receipt that `intend` stored, or None if it was not called.

        A resumed run needs them if the earlier process crashed between `intend` and `finish`.
        """
        with self._reading() as connection:
            stored = connection.execute("SELECT sha256, receipt FROM published").fetchone()
            return None if stored is None else (stored[0], LoadReceipt(**orjson.loads(stored[1])))

    def finish(self, receipt: LoadReceipt) -> None:
        """Delete the staged rows, and store `receipt`, which `finished` returns from now on."""
        temporary = self._receipt_path.with_suffix(".part")
        make_folder(self._receipt_path.parent, self._shown)
        with translate_os_errors(self._shown):
            temporary.write_bytes(orjson.dumps(asdict(receipt)))
            temporary.replace(self._receipt_path)
        self._delete_rows()

    def finished(self) -> LoadReceipt | None:
        """Return the receipt if the rows are already in the destination, else None."""
        with translate_os_errors(self._shown):
            if not self._receipt_path.exists():
                return None
            return LoadReceipt(**orjson.loads(self._receipt_path.read_bytes()))

    def close(self) -> None:
        """Close the database. Its file remains on disk for a resumed run."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def discard(self) -> None:
        """Delete the staged rows and the receipt from disk."""
        self._delete_rows()
        with translate_os_errors(self._shown):
            self._receipt_path.unlink(missing_ok=True)

    def _delete_rows(self) -> None:
        self.close()
        with translate_os_errors(self._shown):
            for ending in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            make_folder(self._path.parent, self._shown)
            self._connection = connect(self._path, writing=True)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(_TABLES)
        return self._connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with translate_errors(self._shown):
            yield self._open()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with translate_errors(self._shown), transaction(self._open()) as connection:
            yield connection
