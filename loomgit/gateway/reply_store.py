"""Stores replies in one SQLite file, which several processes may share. Ignores damaged replies.

Reads take microseconds on the caller's thread. A separate thread writes many replies per
transaction, so that a slow disk blocks no caller.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, TypeAlias

import orjson
import zstandard
from filelock import FileLock
from msgspec import Struct

from loomgit.errors import WorldError
from loomgit.gateway.reply_codec import as_hit, parse, price, render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from loomgit.domain.models import Completion

    Change: TypeAlias = "tuple[bytes, Completion | None, float]"

FILE = "responses.sqlite"
SCHEMA = 1
LIMIT = 1 << 30  # bytes
REMAINING_SHARE = 0.9  # fraction of the limit that remains in use after an eviction
OVERHEAD = 120  # bytes that an entry needs in addition to its value
USE_PRECISION = 3600.0  # seconds; the time of the last use is stored with this precision
PATIENCE = 30.0  # seconds to wait while another process writes
BATCH_DELAY = 0.02  # seconds to collect replies for one transaction
BATCH = 500  # maximum changes per transaction
TABLES = """
CREATE TABLE replies (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    value BLOB NOT NULL,
    size INTEGER NOT NULL,
    model TEXT NOT NULL,
    cost REAL,
    created REAL NOT NULL,
    used REAL NOT NULL
);
CREATE INDEX by_use ON replies (used, size);
"""
OLDEST = """
DELETE FROM replies WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(size) OVER (ORDER BY used, id) - size AS before FROM replies
    ) WHERE before < ?
)
"""


class StoreFigures(Struct, frozen=True):
    """Statistics of a store. `cost` is the known cost in USD. `oldest` and `newest` are the ages of
    the oldest and the newest reply, in seconds. `models` maps a model to the number of its replies
    and their cost in USD."""

    entries: int
    bytes: int
    cost: float
    oldest: float | None
    newest: float | None
    models: dict[str, tuple[int, float]]


class ReplyStore:
    """Stores completions by key. Processes and runs may share a store.

    If the replies exceed `limit` bytes, evicts the least recently used replies. A problem with the
    file raises no error, because only stored replies can be lost. It is reported to `warn` once.
    """

    def __init__(
        self,
        path: Path,
        *,
        warn: Callable[[str], None],
        limit: int = LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._warn = warn
        self._limit = limit
        self._clock = clock
        self._reader: sqlite3.Connection | None = None
        self._writer: threading.Thread | None = None
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._pending: dict[bytes, Completion] = {}
        self._on_disk: dict[bytes, list[Callable[[], None]]] = {}
        self._decompressor = zstandard.ZstdDecompressor()
        self._fault: sqlite3.Error | OSError | None = None
        self._warned = False

    def find(self, key: bytes, *, ttl: float | None = None) -> Completion | None:
        """Return the reply as a cache hit, or None if it is missing or older than `ttl` seconds."""
        pending = self._pending.get(key)
        if pending is not None:
            return as_hit(pending)
        if self._is_unusable():
            return None
        try:
            row = self._read(key)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return None
        now = self._clock()
        if row is None or (ttl is not None and row[1] < now - ttl):
            return None
        try:
            completion = self._open(key, row[0])
        except (zstandard.ZstdError, ValueError):
            return None  # damaged: a new reply overwrites it
        if row[2] < now - USE_PRECISION:
            self._change((key, None, now))
        return completion

    def put(
        self, key: bytes, completion: Completion, *, on_disk: Callable[[], None] = lambda: None
    ) -> None:
        """Store the reply. Until it is on disk, only this process can find it.

        The writing thread calls `on_disk` after the write. If the file is unusable, `put` calls it.
        """
        if self._is_unusable():
            on_disk()
            return
        self._pending[key] = completion
        self._on_disk.setdefault(key, []).append(on_disk)
        self._change((key, completion, self._clock()))

    def close(self) -> None:
        """Wait until all replies are written."""
        if self._writer is not None:
            self._closing.set()
            self._changes.put(None)
            self._writer.join()
            self._writer = None
            self._closing.clear()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._is_unusable()

    def _is_unusable(self) -> bool:
        """Return whether the file is unusable. Warns about an unusable file once."""
        if self._fault is not None and not self._warned:
            self._warned = True
            self._warn(
                f"the cache of replies is disabled: {self._path}: {self._fault} "
                "(to empty it, run `loom cache clear`)"
            )
        return self._fault is not None

    def _fail(self, error: sqlite3.Error | OSError) -> None:
        self._fault = error
        self._is_unusable()

    # -- reading

    def _read(self, key: bytes) -> tuple[bytes, float, float] | None:
        if self._reader is None:
            self._reader = connect(self._path, self._warn)
        row: tuple[bytes, float, float] | None = self._reader.execute(
            "SELECT value, created, used FROM replies WHERE key = ?", (key,)
        ).fetchone()
        return row

    def _open(self, key: bytes, value: bytes) -> Completion:
        content = self._decompressor.decompress(value)
        if not content.startswith(key):
            raise ValueError("the reply belongs to another key")
        return parse(orjson.loads(content[len(key) :]))

    # -- writing

    def _change(self, change: Change) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="replies", daemon=True)
            self._writer.start()
        self._changes.put(change)

    def _write_all(self) -> None:
        """Write the changes, one transaction per batch. Runs in the writing thread."""
        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        unchecked = self._limit  # bytes since the last size check; the start value forces a check
        last = False
        try:
            with closing(connect(self._path, self._warn)) as database:
                while not last:
                    changes, last = self._gather()
                    unchecked += self._write(database, changes, compressor)
                    if unchecked > self._limit / 20:
                        evict(database, self._limit)
                        unchecked = 0
                    for key, completion, _ in changes:
                        if completion is not None and self._pending.get(key) is completion:
                            del self._pending[key]
                            for call in self._on_disk.pop(key, ()):
                                call()
        except (sqlite3.Error, OSError) as error:
            self._fault = error
            while self._on_disk:
                for call in self._on_disk.popitem()[1]:
                    call()

    def _gather(self) -> tuple[list[Change], bool]:
        """Wait for changes. Return a batch of changes, and whether it is the last batch."""
        changes: list[Change] = []
        change = self._changes.get()
        self._closing.wait(BATCH_DELAY)
        with suppress(queue.Empty):
            while change is not None:
                changes.append(change)
                if len(changes) == BATCH:
                    return changes, False
                change = self._changes.get_nowait()
            return changes, True
        return changes, False

    def _write(
        self,
        database: sqlite3.Connection,
        changes: Sequence[Change],
        compressor: zstandard.ZstdCompressor,
    ) -> int:
        rows = []
        for key, completion, now in changes:
            if completion is not None:
                value = compressor.compress(key + orjson.dumps(render(completion)))
                size = len(value) + OVERHEAD
                cost = price(completion)
                rows.append((key, value, size, completion.model, cost, now, now))
        used = [(now, key) for key, completion, now in changes if completion is None]
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT OR REPLACE INTO replies (key, value, size, model, cost, created, used) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        database.executemany("UPDATE replies SET used = ? WHERE key = ?", used)
        database.execute("COMMIT")
        return sum(row[2] for row in rows)


def connect(path: Path, warn: Callable[[str], None]) -> sqlite3.Connection:
    """Open the store's file. Creates a missing file, and replaces a file that is not a database.

    Raises sqlite3.Error or OSError.
    """
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise  # a lock, a full disk or missing permissions: the file may be intact
    except sqlite3.DatabaseError as error:
        with FileLock(_lock(path)):
            if _is_damaged(path):  # another process may have replaced the file by now
                _remove_files(path)
                warn(f"the cache of replies was damaged and is now empty: {path}: {error}")
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(
        path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
            with FileLock(_lock(path)):  # SQLite's timeout does not apply to the switch to WAL
                _create(database)
        # In WAL mode, a killed process loses nothing. A power failure loses the last replies.
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database


def _create(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
        return  # another process created the tables first
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(
        f"BEGIN; DROP TABLE IF EXISTS replies; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;"
    )


def _is_damaged(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            database.execute("PRAGMA user_version")
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        return True
    return False


def _remove_files(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _lock(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def evict(database: sqlite3.Connection, limit: int) -> int:
    """Keep at most `limit` bytes: evict the least recently used replies; return their number."""
    total = database.execute("SELECT total(size) FROM replies").fetchone()[0]
    if total <= limit:
        return 0
    return database.execute(OLDEST, (total - REMAINING_SHARE * limit,)).rowcount


# -- upkeep


def read_figures(path: Path, now: float) -> StoreFigures:
    """Return the statistics of a store. Raises WorldError if the store is unreadable."""
    if not path.exists():
        return StoreFigures(0, 0, 0.0, None, None, {})
    try:
        with closing(_connect(path)) as database:
            models = {
                model: (count, cost)
                for model, count, cost in database.execute(
                    "SELECT model, count(*), total(cost) FROM replies GROUP BY model ORDER BY 2"
                    " DESC, 1"
                )
            }
            oldest, newest = database.execute(
                "SELECT min(created), max(created) FROM replies"
            ).fetchone()
    except (sqlite3.Error, OSError) as error:
        raise WorldError(f"{path}: {error}") from error
    return StoreFigures(
        entries=sum(count for count, _ in models.values()),
        bytes=_size(path),
        cost=sum(cost for _, cost in models.values()),
        oldest=None if oldest is None else now - oldest,
        newest=None if newest is None else now - newest,
        models=models,
    )


def clear(path: Path) -> int:
    """Remove all replies, return their number (0 if the file is damaged). May raise WorldError."""
    try:
        return _remove(path, lambda database: database.execute("DELETE FROM replies").rowcount)
    except WorldError as error:
        damaged = isinstance(error.__cause__, sqlite3.DatabaseError)
        if not damaged or isinstance(error.__cause__, sqlite3.OperationalError):
            raise
        _remove_files(path)
        return 0


def prune(path: Path, *, before: float | None = None, limit: int = LIMIT) -> int:
    """Remove replies that were created before `before`, then evict replies beyond `limit` bytes.

    `before` is in epoch seconds. Returns the number of removed replies. May raise WorldError.
    """

    def remove(database: sqlite3.Connection) -> int:
        delete = "DELETE FROM replies WHERE created < ?"
        outdated = 0 if before is None else database.execute(delete, (before,)).rowcount
        return outdated + evict(database, limit)

    return _remove(path, remove)


def _remove(path: Path, remove: Callable[[sqlite3.Connection], int]) -> int:
    if not path.exists():
        return 0
    try:
        with closing(_connect(path)) as database:
            removed = remove(database)
            if removed:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return removed
    except (sqlite3.Error, OSError) as error:
        raise WorldError(f"{path}: {error}") from error


def _size(path: Path) -> int:
    files = (path.with_name(path.name + ending) for ending in ("", "-wal", "-shm"))
    return sum(file.stat().st_size for file in files if file.exists())
