"""Shares samples, calls and costs among the processes of one test session, in a SQLite file.

A draw gets one sample (a judged reply) for a test case; a call is one request to a model. A process
claims a draw or a call before it makes a request, and publishes the result for the other processes.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
FIND_SETTLED = """
SELECT key, number, sample FROM draws WHERE sample IS NOT NULL AND (key, number) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
)
"""
# Tolerances for rounding errors, in USD. If the reserved amount is at most SUM_TOLERANCE, it is set
# to 0. The session may exceed its budget by BUDGET_TOLERANCE.
SUM_TOLERANCE, BUDGET_TOLERANCE = 1e-12, 1e-9
WRITE_TIMEOUT = 30.0  # maximum time in seconds to wait while another process writes


class _ClaimTable(NamedTuple):
    """A table whose rows are claimed by processes.

    `keys` are the key columns. `result` is the column that contains NULL until the owner of the row
    publishes the result.
    """

    name: str
    keys: tuple[str, ...]
    result: str


_DRAWS = _ClaimTable("draws", ("key", "number"), "sample")
_CALLS = _ClaimTable("calls", ("key",), "reply")


class SharedDraws:
    """The shared samples, calls and costs of a test session.

    The first process creates the file at `path`. The name of a draw is a pair: the key of the case
    and the number of the sample.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = os.getpid()
        self._local = threading.local()

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection of the current thread. SQLite requires one connection per thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=WRITE_TIMEOUT, isolation_level=None)
            connection.execute("PRAGMA synchronous = OFF")  # the file is temporary
            # The switch to WAL ignores `timeout`, and fails if another process uses the database.
            with FileLock(self._path.with_suffix(".lock")):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(SCHEMA)
            self._local.connection = connection
        return connection

    def _claim(
        self, table: _ClaimTable, key: tuple[str | int | bytes, ...], *, reentrant: bool
    ) -> bool:
        """Try to make this process the owner of a row. Return whether this succeeded.

        If the row has a result, the claim fails. Otherwise, it succeeds if no process owns the row,
        or if the owner has ended. If `reentrant` is true, it also succeeds if this process already
        owns the row.
        """
        connection = self._connection
        marks = ", ".join("?" * len(key))
        where = " AND ".join(f"{column} = ?" for column in table.keys)
        # The statement has RETURNING, because `rowcount` is unreliable: before Python 3.13, sqlite3
        # does not recognize INSERT in a Turkish locale, in which the lower case of I is not i.
        inserted = connection.execute(
            f"INSERT OR IGNORE INTO {table.name} VALUES ({marks}, ?, NULL) RETURNING 1",  # noqa: S608 - constant names
            (*key, self._owner),
        )
        if inserted.fetchone() is not None:
            return True
        row = connection.execute(
            f"SELECT owner, {table.result} FROM {table.name} WHERE {where}",  # noqa: S608 - constant names
            key,
        ).fetchone()
        if row is None:  # the owner removed the row after the INSERT
            return False
        owner, result = row
        is_own = reentrant and owner == self._owner
        if result is not None or (not is_own and _is_alive(owner)):
            return False
        updated = connection.execute(
            f"UPDATE {table.name} SET owner = ? WHERE {where} AND owner = ? "  # noqa: S608 - constant names
            f"AND {table.result} IS NULL",
            (self._owner, *key, owner),
        )
        return updated.rowcount == 1

    def claim(self, name: tuple[str, int]) -> bool:
        """Claim a draw for this process. Return whether this process owns the draw.

        The claim succeeds if the draw has no sample and no other running process owns the draw.
        """
        return self._claim(_DRAWS, name, reentrant=True)

    def leave(self) -> None:
        """Release the draws and calls that this process has claimed but not completed."""
        for table in (_DRAWS, _CALLS):
            self._connection.execute(
                f"UPDATE {table.name} SET owner = 0 WHERE owner = ? AND {table.result} IS NULL",  # noqa: S608 - constant names
                (self._owner,),
            )

    def settle(self, name: tuple[str, int], sample: Sample) -> None:
        """Publish the sample of a draw that this process has claimed."""
        key, number = name
        self._connection.execute(
            "UPDATE draws SET sample = ? WHERE key = ? AND number = ?",
            (to_json(sample), key, number),
        )

    def show(self, name: tuple[str, int], sample: Sample) -> None:
        """Publish a sample of an earlier run as the sample of the draw `name`.

        Nothing changes if a process has claimed the draw, or if the draw already has a sample.
        """
        key, number = name
        self._connection.execute(
            "INSERT OR IGNORE INTO draws VALUES (?, ?, ?, ?)",
            (key, number, self._owner, to_json(sample)),
        )

    def look(self, names: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Sample]:
        """Return the published samples of the draws in `names`; other draws are left out."""
        if not names:
            return {}
        rows = self._connection.execute(FIND_SETTLED, (orjson.dumps(names).decode(),))
        return {(key, number): _parse_sample(content) for key, number, content in rows}

    # -- calls

    def claim_call(self, key: bytes) -> bool:
        """Claim a call for this process. Return whether the claim succeeded.

        The claim succeeds if the call has no reply and no running process owns the call. A second
        claim in the same process fails.
        """
        return self._claim(_CALLS, (key,), reentrant=False)

    def find_reply(self, key: bytes) -> bytes | None:
        """Return the reply to a call, or None while the call is pending.

        Raises KeyError if the call is not claimed.
        """
        row = self._connection.execute("SELECT reply FROM calls WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        reply: bytes | None = row[0]
        return reply

    def publish_reply(self, key: bytes, reply: bytes) -> None:
        """Publish the reply to a call for the other processes."""
        self._connection.execute("UPDATE calls SET reply = ? WHERE key = ?", (reply, key))

    def release_call(self, key: bytes) -> None:
        """Remove a failed call, so that any process can claim the call again."""
        self._connection.execute("DELETE FROM calls WHERE key = ?", (key,))

    # -- budget and charges

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """Reserve `amount` of the session's budget, which is `limit`. All values are in USD.

        Return None on success. If the spent and the reserved amounts would exceed `limit` after the
        reservation, reserve nothing and return the current amounts (spent, reserved).
        """
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            spent, reserved = self.sums()
            if spent + reserved + amount > limit + BUDGET_TOLERANCE:
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
        """End a reservation of this process after a call.

        `reserved` is the amount that was reserved, and `cost` the actual cost, both in USD.
        """
        self._connection.execute(
            "UPDATE budget SET spent = spent + ?, "
            "reserved = CASE WHEN reserved - ? > ? THEN reserved - ? ELSE 0 END WHERE owner = ?",
            (cost, reserved, SUM_TOLERANCE, reserved, self._owner),
        )

    def sums(self) -> tuple[float, float]:
        """Return (spent, reserved): the two amounts of the budget, in USD.

        The reservations of a process that has ended count as spent, because the provider may have
        charged for its calls.
        """
        spent = reserved = 0.0
        for owner, paid, pending in self._connection.execute("SELECT * FROM budget").fetchall():
            alive = owner == self._owner or not pending or _is_alive(owner)
            spent += paid if alive else paid + pending
            reserved += pending if alive else 0.0
        return spent, reserved

    def add_charge(self, project: str, pipeline: str, charge: Charge) -> None:
        """Record a provider's charge for a pipeline."""
        usage = charge.usage
        self._connection.execute(
            "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                project, pipeline, charge.purpose, usage.input, usage.output, usage.cached,
                charge.cost, charge.answered,
            ),
        )  # fmt: skip

    def bills(self) -> dict[tuple[str, str], Bill]:
        """Return the session's current costs, by (project, pipeline)."""
        bills: dict[tuple[str, str], Bill] = {}
        for row in self._connection.execute("SELECT * FROM charges"):
            project, pipeline, purpose, *tokens, cost, answered = row
            bill = bills.setdefault((project, pipeline), Bill())
            bill.add(Charge(purpose, Usage(*tokens), cost, answered=bool(answered)))
        return bills

    # -- results

    def settled(self) -> Iterator[tuple[str, Sample]]:
        """Yield (key of the case, sample) for each published sample, sorted by key and number."""
        for key, content in self._connection.execute(
            "SELECT key, sample FROM draws WHERE sample IS NOT NULL ORDER BY key, number"
        ):
            yield key, _parse_sample(content)


def _parse_sample(content: bytes) -> Sample:
    return from_object(orjson.loads(content))


def _is_alive(process: int) -> bool:
    """Whether a process with this id is running.

    A zombie (a process that has ended, but was not reaped by its parent) is not running. Id 0 means
    no process.
    """
    if not process:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True  # this system has no /proc
    return stat.rpartition(")")[2].split()[:1] != ["Z"]
