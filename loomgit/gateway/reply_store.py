"""Replies in one SQLite file that any number of processes may share; a damaged one is not served.

Reading is a look-up of microseconds on the caller's thread; a thread of its own writes, many
replies a transaction, so that a disk that is slow holds nobody up.
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
from loomgit.gateway.kept import as_hit, parse, price, render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from loomgit.domain.models import Completion

    Change: TypeAlias = "tuple[bytes, Completion | None, float]"

FILE = "responses.sqlite"
SCHEMA = 1
LIMIT = 1 << 30  # bytes
ROOM = 0.9  # of the limit is what stays when the oldest go
OVERHEAD = 120  # bytes that an entry takes besides its value
GRAIN = 3600.0  # seconds: how exactly the last use is known
PATIENCE = 30.0  # seconds to wait for another process that writes
GATHER = 0.02  # seconds: replies that come together are written together
BATCH = 500
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
    """What a store holds: replies, bytes on disk, what they cost in USD (as far as known), the ages
    of the oldest and the newest in seconds; by model the number and the cost."""

    entries: int
    bytes: int
    cost: float
    oldest: float | None
    newest: float | None
    models: dict[str, tuple[int, float]]


class ReplyStore:
    """Completions by key, over processes and runs.

    Beyond `limit` bytes those go that were not used for longest. Whatever is wrong with the file is
    told to `warn`, once, and costs no more than the replies that were in it.
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
        self._unzip = zstandard.ZstdDecompressor()
        self._fault: sqlite3.Error | OSError | None = None
        self._told = False

    def find(self, key: bytes, *, ttl: float | None = None) -> Completion | None:
        """The reply kept under `key`, as a hit, unless it is older than `ttl` seconds."""
        waiting = self._pending.get(key)
        if waiting is not None:
            return as_hit(waiting)
        if self._useless():
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
            return None  # damaged: it is asked for anew, and overwritten
        if row[2] < now - GRAIN:
            self._change((key, None, now))
        return completion

    def put(
        self, key: bytes, completion: Completion, *, on_disk: Callable[[], None] = lambda: None
    ) -> None:
        """Keep the reply; it is found at once here, and by other processes once it is on disk.

        `on_disk` is called then, from another thread, or at once where the file is out of use.
        """
        if self._useless():
            on_disk()
            return
        self._pending[key] = completion
        self._on_disk.setdefault(key, []).append(on_disk)
        self._change((key, completion, self._clock()))

    def close(self) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            self._closing.set()
            self._changes.put(None)
            self._writer.join()
            self._writer = None
            self._closing.clear()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._useless()

    def _useless(self) -> bool:
        """Whether the file is out of use; says so where nobody did yet."""
        if self._fault is not None and not self._told:
            self._told = True
            self._warn(
                f"the cache of replies is not used: {self._path}: {self._fault} "
                "(`loom cache clear` empties it)"
            )
        return self._fault is not None

    def _fail(self, error: sqlite3.Error | OSError) -> None:
        self._fault = error
        self._useless()

    # -- reading

    def _read(self, key: bytes) -> tuple[bytes, float, float] | None:
        if self._reader is None:
            self._reader = connect(self._path, self._warn)
        found: tuple[bytes, float, float] | None = self._reader.execute(
            "SELECT value, created, used FROM replies WHERE key = ?", (key,)
        ).fetchone()
        return found

    def _open(self, key: bytes, value: bytes) -> Completion:
        content = self._unzip.decompress(value)
        if not content.startswith(key):
            raise ValueError("this is another key's reply")
        return parse(orjson.loads(content[len(key) :]))

    # -- writing

    def _change(self, change: Change) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="replies", daemon=True)
            self._writer.start()
        self._changes.put(change)

    def _write_all(self) -> None:
        """The writing thread: takes what is there, writes it in one transaction, and again."""
        squeeze = zstandard.ZstdCompressor(level=3, write_checksum=True)
        unchecked = self._limit  # bytes written since the size was looked at: at first unknown
        last = False
        try:
            with closing(connect(self._path, self._warn)) as database:
                while not last:
                    changes, last = self._gather()
                    unchecked += self._write(database, changes, squeeze)
                    if unchecked > self._limit / 20:
                        shrink(database, self._limit)
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
        """What there is to write, at least one thing; whether it is the last."""
        changes: list[Change] = []
        change = self._changes.get()
        self._closing.wait(GATHER)
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
        squeeze: zstandard.ZstdCompressor,
    ) -> int:
        rows = []
        for key, completion, now in changes:
            if completion is not None:
                value = squeeze.compress(key + orjson.dumps(render(completion)))
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
    """Open the store's file, made where there is none, and anew where it is no database.

    Raises sqlite3.Error or OSError.
    """
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise  # locked, full, not allowed: the file itself may be well
    except sqlite3.DatabaseError as error:
        with FileLock(_lock(path)):
            if _is_damaged(path):  # and no other process has seen to it meanwhile
                _remove_files(path)
                warn(f"the cache of replies was damaged and begins anew: {path}: {error}")
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(
        path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
            with FileLock(_lock(path)):  # changing to WAL waits for nobody
                _make(database)
        # WAL loses nothing when a process is killed; a loss of power costs the last replies.
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database


def _make(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
        return  # another process was quicker
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


def shrink(database: sqlite3.Connection, limit: int) -> int:
    """Let those go that were not used for longest, where there are more than `limit` bytes; how
    many went."""
    total = database.execute("SELECT total(size) FROM replies").fetchone()[0]
    if total <= limit:
        return 0
    return database.execute(OLDEST, (total - ROOM * limit,)).rowcount


# -- upkeep


def figures(path: Path, now: float) -> StoreFigures:
    """What the store at `path` holds. Raises WorldError where it cannot be read."""
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
    """Remove all replies; how many there were, 0 for a damaged file. Raises WorldError."""
    try:
        return _remove(path, lambda database: database.execute("DELETE FROM replies").rowcount)
    except WorldError as error:
        damaged = isinstance(error.__cause__, sqlite3.DatabaseError)
        if not damaged or isinstance(error.__cause__, sqlite3.OperationalError):
            raise
        _remove_files(path)
        return 0


def prune(path: Path, *, before: float | None = None, limit: int = LIMIT) -> int:
    """Remove replies made before a moment, then the least used over `limit` bytes; how many went.

    Raises WorldError.
    """

    def remove(database: sqlite3.Connection) -> int:
        old = "DELETE FROM replies WHERE created < ?"
        aged = 0 if before is None else database.execute(old, (before,)).rowcount
        return aged + shrink(database, limit)

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
