"""A board in a SQLite file, on which the processes of one test session agree who draws which
sample and who makes which call, and find what the others drew and were answered."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from filelock import FileLock

from loomgit.domain.bills import Bill, Charge
from loomgit.domain.models import Usage
from loomgit.domain.values import to_json
from loomgit.history.samples import from_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.samples import Sample

SCHEMA = """
CREATE TABLE IF NOT EXISTS draws (
    key TEXT, number INTEGER, owner INTEGER, sample BLOB, PRIMARY KEY (key, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (key BLOB PRIMARY KEY, owner INTEGER, reply BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budget (owner INTEGER PRIMARY KEY, spent REAL, reserved REAL);
CREATE TABLE IF NOT EXISTS charges (
    project TEXT, pipeline TEXT, purpose TEXT, input INTEGER, output INTEGER, cached INTEGER,
    cost REAL, answered INTEGER
);
"""
LOOK = """
SELECT key, number, sample FROM draws WHERE sample IS NOT NULL AND (key, number) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
)
"""
NOTHING, EXACT = 1e-12, 1e-9  # USD: rounding errors of one sum and of a budget
WAIT = 30.0  # seconds to wait for another process's write


class Board:
    """The board in the file at `path`, which the first process makes.

    The rowcount of an INSERT is not used: before Python 3.13, sqlite3 does not recognize the word
    in a Turkish locale, in which the lower case of I is not i.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = os.getpid()
        self._local = threading.local()

    @property
    def _connection(self) -> sqlite3.Connection:
        """One connection a thread, as SQLite wants it."""
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is None:
            held = sqlite3.connect(self._path, timeout=WAIT, isolation_level=None)
            held.execute("PRAGMA synchronous = OFF")  # it lives no longer than the session
            with FileLock(self._path.with_suffix(".lock")):  # changing to WAL waits for nobody
                held.execute("PRAGMA journal_mode = WAL")
                held.executescript(SCHEMA)
            self._local.connection = held
        return held

    def claim(self, name: tuple[str, int]) -> bool:
        """Whether the draw is this process's from now on: nobody has it, or its process is gone."""
        key, number = name
        connection = self._connection
        added = connection.execute(
            "INSERT OR IGNORE INTO draws VALUES (?, ?, ?, NULL) RETURNING 1",
            (key, number, self._owner),
        )
        if added.fetchone() is not None:
            return True
        owner, sample = connection.execute(
            "SELECT owner, sample FROM draws WHERE key = ? AND number = ?", (key, number)
        ).fetchone()
        if sample is not None or (owner != self._owner and _is_alive(owner)):
            return False
        taken = connection.execute(
            "UPDATE draws SET owner = ? WHERE key = ? AND number = ? AND owner = ? "
            "AND sample IS NULL",
            (self._owner, key, number, owner),
        )
        return taken.rowcount == 1

    def leave(self) -> None:
        """Give up what was claimed here and is not settled."""
        connection = self._connection
        for table, result in (("draws", "sample"), ("calls", "reply")):
            connection.execute(
                f"UPDATE {table} SET owner = 0 WHERE owner = ? AND {result} IS NULL",  # noqa: S608 - both names are ours
                (self._owner,),
            )

    def settle(self, name: tuple[str, int], sample: Sample) -> None:
        """Publish what was drawn."""
        key, number = name
        self._connection.execute(
            "UPDATE draws SET sample = ? WHERE key = ? AND number = ?",
            (to_json(sample), key, number),
        )

    def show(self, name: tuple[str, int], sample: Sample) -> None:
        """Publish what nobody drew: a sample of an earlier run."""
        key, number = name
        self._connection.execute(
            "INSERT OR IGNORE INTO draws VALUES (?, ?, ?, ?)",
            (key, number, self._owner, to_json(sample)),
        )

    def look(self, names: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Sample]:
        """Those of these draws that are settled."""
        if not names:
            return {}
        rows = self._connection.execute(LOOK, (orjson.dumps(names).decode(),))
        return {(key, number): _sample(held) for key, number, held in rows}

    # -- calls

    def claim_call(self, key: bytes) -> bool:
        """Whether the call is this process's: nobody makes it, or its process is gone."""
        connection = self._connection
        added = connection.execute(
            "INSERT OR IGNORE INTO calls VALUES (?, ?, NULL) RETURNING 1", (key, self._owner)
        )
        if added.fetchone() is not None:
            return True
        found = connection.execute("SELECT owner, reply FROM calls WHERE key = ?", (key,))
        owner, reply = found.fetchone() or (0, None)
        if reply is not None or _is_alive(owner):
            return False
        taken = connection.execute(
            "UPDATE calls SET owner = ? WHERE key = ? AND owner = ? AND reply IS NULL",
            (self._owner, key, owner),
        )
        return taken.rowcount == 1

    def find_reply(self, key: bytes) -> bytes | None:
        """What was answered; None where nothing is yet. Raises KeyError for a call nobody makes."""
        found = self._connection.execute("SELECT reply FROM calls WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise KeyError(key)
        reply: bytes | None = found[0]
        return reply

    def keep_reply(self, key: bytes, reply: bytes) -> None:
        """Give the reply to the others."""
        self._connection.execute("UPDATE calls SET reply = ? WHERE key = ?", (reply, key))

    def drop_call(self, key: bytes) -> None:
        """Give the call up: it failed."""
        self._connection.execute("DELETE FROM calls WHERE key = ?", (key,))

    # -- money

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """Reserve an amount (USD) of the session's budget. If it does not fit below the limit,
        reserve nothing and return what is spent and what is reserved.

        What a process that is gone had reserved counts as spent: its calls may have been charged.
        """
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            spent, reserved = self.sums()
            if spent + reserved + amount > limit + EXACT:
                return spent, reserved
            connection.execute(
                "INSERT INTO budget VALUES (?, 0, ?) "
                "ON CONFLICT (owner) DO UPDATE SET reserved = reserved + excluded.reserved",
                (self._owner, amount),
            )
            return None
        finally:
            connection.execute("COMMIT")

    def settle_cost(self, reserved: float, cost: float) -> None:
        """End a reservation of this process, and count what the call cost."""
        self._connection.execute(
            "UPDATE budget SET spent = spent + ?, "
            "reserved = CASE WHEN reserved - ? > ? THEN reserved - ? ELSE 0 END WHERE owner = ?",
            (cost, reserved, NOTHING, reserved, self._owner),
        )

    def sums(self) -> tuple[float, float]:
        """What of the budget is spent and what is reserved, in USD."""
        spent = reserved = 0.0
        for owner, paid, held in self._connection.execute("SELECT * FROM budget").fetchall():
            alive = owner == self._owner or not held or _is_alive(owner)
            spent += paid if alive else paid + held
            reserved += held if alive else 0.0
        return spent, reserved

    def add_charge(self, project: str, pipeline: str, charge: Charge) -> None:
        """Keep what a provider charged for a pipeline."""
        usage = charge.usage
        self._connection.execute(
            "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                project, pipeline, charge.purpose, usage.input, usage.output, usage.cached,
                charge.cost, charge.answered,
            ),
        )  # fmt: skip

    def bills(self) -> dict[tuple[str, str], Bill]:
        """What the session cost so far, by project and pipeline."""
        found: dict[tuple[str, str], Bill] = {}
        for (
            project,
            pipeline,
            purpose,
            asked,
            replied,
            cached,
            cost,
            answered,
        ) in self._connection.execute("SELECT * FROM charges"):
            usage = Usage(asked, replied, cached)
            bill = found.setdefault((project, pipeline), Bill())
            bill.add(Charge(purpose, usage, cost, answered=bool(answered)))
        return found

    # -- all of it

    def settled(self) -> Iterator[tuple[str, Sample]]:
        """Everything that was drawn, by key."""
        for key, held in self._connection.execute(
            "SELECT key, sample FROM draws WHERE sample IS NOT NULL ORDER BY key, number"
        ):
            yield key, _sample(held)


def _sample(held: bytes) -> Sample:
    return from_object(orjson.loads(held))


def _is_alive(process: int) -> bool:
    """Whether a process is there and at work; one that was killed and not yet buried is not, and 0
    is nobody."""
    if not process:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        about = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True  # no such folder on this system
    return about.rpartition(")")[2].split()[:1] != ["Z"]
