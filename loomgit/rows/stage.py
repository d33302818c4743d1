"""Rows on their way into a destination that is written at the end: kept on disk, part by part."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import asdict

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.paths import disk, make_folder
from loomgit.rows.sqlite import connect, transaction, translated

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

_LAST_UNMATCHED = f"{_LAST} AND key NOT IN (SELECT key FROM matched)"  # noqa: S608 - ours


def place_name(path: Path, table: str = "") -> str:
    """A short name for a destination, the same in every process."""
    return hashlib.sha256(f"{path}\n{table}".encode()).hexdigest()[:16]


def key_text(row: JsonMapping, key: Sequence[str], shown: str) -> str:
    """The key's values as one text, in which 7, 7.0 and "7" are the same.

    Raises UserError where the row lacks one.
    """
    parts = [_part(row.get(name)) for name in key]
    for name, part in zip(key, parts, strict=True):
        if part is None:
            raise UserError(
                f"{shown}: a row to load has no value in its key field '{name}'",
                hint="upsert needs extract.key to be in every row; or use mode: append",
            )
    return orjson.dumps(parts).decode()


def find_key_text(row: JsonMapping, key: Sequence[str]) -> str | None:
    """As `key_text`, None where the row lacks a value (an empty field of a CSV file included)."""
    parts = [_part(row.get(name)) for name in key]
    return None if None in parts or "" in parts else orjson.dumps(parts).decode()


def _part(value: Json) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class Stage:
    """What a sink has taken but not made visible.

    A part that is here already is not taken again, and all of it survives a crash, so that a
    resumed run can go on where it was. Order is that of parts and of rows in them, however they
    came; of rows with one key the last in that order counts. After `finish` only the receipt stays.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"load-{name}.sqlite"
        self._receipt = folder / f"load-{name}.json"
        self._shown = str(self._path)
        self._connection: sqlite3.Connection | None = None

    def add(self, part: int, rows: Sequence[JsonObject], keys: Sequence[str | None]) -> None:
        """Take a part, wholly or not at all."""
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
        """The names of all fields, in order of first appearance."""
        with self._reading() as connection:
            return tuple(
                name for (name,) in connection.execute("SELECT name FROM fields ORDER BY at")
            )

    def rows(self) -> Iterator[JsonObject]:
        """Stream the rows in order, those left out that a later one with the same key replaces."""
        yield from self._select(_LAST)

    @contextmanager
    def matching(self) -> Iterator[None]:
        """Around `find` and `unmatched`: which rows are matched is forgotten at the end."""
        with translated(self._shown):
            connection = self._open()
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def find(self, key: str) -> JsonObject | None:
        """The row that counts for `key`; it is no longer among the unmatched."""
        connection = self._open()
        found = connection.execute(
            "SELECT row FROM rows WHERE key = ? ORDER BY part DESC, at DESC LIMIT 1", (key,)
        ).fetchone()
        if found is None:
            return None
        connection.execute("INSERT OR IGNORE INTO matched VALUES (?)", (key,))
        row: JsonObject = orjson.loads(found[0])
        return row

    def unmatched(self) -> Iterator[JsonObject]:
        """Stream the rows that `find` has not returned, as `rows` does."""
        yield from self._select(_LAST_UNMATCHED)

    def _select(self, condition: str) -> Iterator[JsonObject]:
        with self._reading() as connection:
            for (row,) in connection.execute(
                f"SELECT row FROM rows WHERE {condition} ORDER BY part, at"  # noqa: S608 - ours
            ):
                yield orjson.loads(row)

    def duplicates(self) -> int:
        """How many rows a later one with the same key replaces."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT count(key) - count(DISTINCT key) FROM rows WHERE key IS NOT NULL"
            ).fetchone()
            return int(found[0])

    def intend(self, sha256: str, receipt: LoadReceipt) -> None:
        """Note, before the destination is replaced, the hash of what will be there."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM published")
            connection.execute(
                "INSERT INTO published VALUES (?, ?)", (sha256, orjson.dumps(asdict(receipt)))
            )

    def intended(self) -> tuple[str, LoadReceipt] | None:
        """What `intend` noted, where a crash came between it and `finish`."""
        with self._reading() as connection:
            found = connection.execute("SELECT sha256, receipt FROM published").fetchone()
            return None if found is None else (found[0], LoadReceipt(**orjson.loads(found[1])))

    def finish(self, receipt: LoadReceipt) -> None:
        """Keep `receipt` for whoever asks again, and drop the rows."""
        aside = self._receipt.with_suffix(".part")
        make_folder(self._receipt.parent, self._shown)
        with disk(self._shown):
            aside.write_bytes(orjson.dumps(asdict(receipt)))
            aside.replace(self._receipt)
        self._drop()

    def finished(self) -> LoadReceipt | None:
        """The receipt, where this stage was published already."""
        with disk(self._shown):
            if not self._receipt.exists():
                return None
            return LoadReceipt(**orjson.loads(self._receipt.read_bytes()))

    def close(self) -> None:
        """Let go of the files and leave them, for a resumed run."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def discard(self) -> None:
        """Drop all that was taken, and the receipt."""
        self._drop()
        with disk(self._shown):
            self._receipt.unlink(missing_ok=True)

    def _drop(self) -> None:
        self.close()
        with disk(self._shown):
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
        with translated(self._shown):
            yield self._open()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with translated(self._shown), transaction(self._open()) as connection:
            yield connection
