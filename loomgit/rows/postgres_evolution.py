"""Checks before `load.evolve: add` adds columns to a PostgreSQL table: names and privileges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.rows.added_columns import case_clash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.rows.postgres_connection import Connection

LOCK_TIMEOUT = 60  # seconds to wait for other sessions that use the table
POSITION_COLUMN = "_loom_at"  # a column of the temporary table into which a batch is copied
_LONGEST_NAME = 63  # bytes; PostgreSQL cuts a longer name without an error
# PostgreSQL documentation, "System Columns"
_SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_IS_ALTERABLE = "SELECT relispartition, reloftype <> 0 FROM pg_class WHERE oid = %s"
# A column of a table is also added to its partitions and child tables.
_NOT_OWNED = """
    WITH RECURSIVE family AS (
        SELECT %s::oid AS oid
        UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid
    )
    SELECT c.oid::regclass::text FROM family JOIN pg_class c USING (oid)
    WHERE NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1 LIMIT 1
"""


def name_fault(name: str) -> str:
    """Return the reason why no column can have this name, or ""."""
    if not name or "\0" in name or len(name.encode()) > _LONGEST_NAME:
        reason = f"a name has 1 to {_LONGEST_NAME} bytes without NUL"
    elif name == POSITION_COLUMN or name in _SYSTEM_COLUMNS:
        reason = "the name is reserved"
    else:
        return ""
    return f"'{name}' cannot be the name of a column: {reason}"


def addition_fault(name: str, columns: Iterable[str]) -> str:
    """Return the reason why the column must not be added to a table with `columns`, or ""."""
    return name_fault(name) or case_clash(name, columns)


def alteration_fault(connection: Connection, table: int) -> str:
    """Return the reason why the role cannot add a column to the table, or "".

    `table` is the object id of the table. Only the owner of a table can add a column, and only if
    the table is neither a partition nor a typed table.
    """
    is_partition, is_typed = connection.execute(_IS_ALTERABLE, (table,)).fetchone() or (False,) * 2
    if is_partition:
        return "a partition has the columns of its parent table"
    if is_typed:
        return "a typed table has the columns of its type"
    not_owned = connection.execute(_NOT_OWNED, (table,)).fetchone()
    return f"the role does not own table {not_owned[0]}" if not_owned else ""


def add_columns(connection: Connection, table: str, definitions: Sequence[str]) -> None:
    """Add columns to the table with the quoted name `table`, in the current transaction.

    A column that another session has just added is kept. Each item of `definitions` is a quoted
    name and a type. Raises psycopg.errors.LockNotAvailable if other sessions use the table for
    more than LOCK_TIMEOUT seconds.
    """
    additions = ", ".join(f"ADD COLUMN IF NOT EXISTS {definition}" for definition in definitions)
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
    connection.execute(f"ALTER TABLE {table} {additions}")
    connection.execute("SET LOCAL lock_timeout = 0")
