"""The ledger of a PostgreSQL database: the table `_loom_loads`, which lists the loaded batches."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg import errors

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.postgres_catalog import find_table
from loomgit.rows.refused_rows import decode_refused, encode_refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.rows.postgres_connection import Connection

LEDGER = "_loom_loads"
_NUMBERS = ("inserted", "updated", "unchanged", "duplicates", "kept_out", "kept_rows", "deleted")
# The columns that older versions of Loom did not create.
_NEWER = ("kept_rows", "deleted")
_NEWER_TYPE = "bigint NOT NULL DEFAULT 0"


class PostgresLedger:
    """The entries of one run for one destination table, by the number of the batch.

    `ledger` and `target` are the quoted names of the ledger and of the destination table.
    """

    def __init__(self, ledger: str, run: str, target: str) -> None:
        self._ledger = ledger.replace("%", "%%")  # the statements have parameters
        self._run = run
        self._target = target

    def find(self, connection: Connection, part: int) -> tuple[LoadReceipt, dict[int, str]] | None:
        """Return the receipt and the refused rows of a batch, or None if it has no entry."""
        entry = connection.execute(
            f"SELECT {', '.join(_NUMBERS)}, refused FROM {self._ledger} "  # noqa: S608 - quoted
            "WHERE run = %s AND target = %s AND part = %s",
            (self._run, self._target, part),
        ).fetchone()
        if entry is None:
            return None
        return LoadReceipt(*(int(str(number)) for number in entry[:-1])), decode_refused(
            str(entry[-1])
        )

    def parts(self, connection: Connection) -> frozenset[int]:
        """Return the numbers of the batches that have an entry."""
        name = self._ledger.replace("%%", "%")
        if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
            return frozenset()
        entries = connection.execute(
            f"SELECT part FROM {self._ledger} WHERE run = %s AND target = %s",  # noqa: S608 - quoted
            (self._run, self._target),
        )
        return frozenset(int(str(part)) for (part,) in entries)

    def add(
        self,
        connection: Connection,
        part: int,
        receipt: LoadReceipt,
        refused: Mapping[int, str],
    ) -> None:
        """Add an entry for a batch, in the transaction that writes the rows of the batch."""
        numbers = [getattr(receipt, name) for name in _NUMBERS]
        connection.execute(
            f"INSERT INTO {self._ledger} (run, target, part, {', '.join(_NUMBERS)}, refused) "  # noqa: S608
            f"VALUES ({', '.join(['%s'] * (4 + len(_NUMBERS)))})",
            (self._run, self._target, part, *numbers, encode_refused(refused)),
        )


def create_ledger(connection: Connection, schema: str | None, ledger: str) -> None:
    """Create the table `ledger`, or add the columns that an older version did not create.

    `ledger` is the quoted name of the table in `schema`.
    """
    # The statements below need privileges even if they would change nothing.
    found = find_table(connection, schema, LEDGER)
    if found is not None:
        if statement := upgrade_statement(connection, found[0], ledger):
            connection.execute(statement)
        return
    with suppress(errors.UniqueViolation, errors.DuplicateTable):  # another run creates it now
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {ledger} ("
            "run text NOT NULL, target text NOT NULL, part integer NOT NULL, "
            "inserted bigint NOT NULL, updated bigint NOT NULL, unchanged bigint NOT NULL, "
            "duplicates bigint NOT NULL, kept_out bigint NOT NULL, "
            f"{', '.join(f'{name} {_NEWER_TYPE}' for name in _NEWER)}, refused text NOT NULL, "
            "loaded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run, target, part))"
        )


def upgrade_statement(connection: Connection, table: int, ledger: str) -> str:
    """Return the statement that adds the missing columns to a ledger, or "" if it has them all.

    `table` is the object id of the ledger, and `ledger` its quoted name.
    """
    present = connection.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = %s AND attname = ANY (%s) "
        "AND NOT attisdropped",
        (table, [*_NEWER]),
    ).fetchall()
    missing = [name for name in _NEWER if (name,) not in present]
    additions = [f"ADD COLUMN IF NOT EXISTS {name} {_NEWER_TYPE}" for name in missing]
    return f"ALTER TABLE {ledger} {', '.join(additions)}" if additions else ""
