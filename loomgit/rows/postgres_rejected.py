"""Counts or deletes the rows of a PostgreSQL table whose records a gate has rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.postgres_connection import describe, is_outage, quote
from loomgit.rows.postgres_copy import copy_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import JsonObject
    from loomgit.rows.postgres_connection import Connection
    from loomgit.rows.postgres_table import PostgresTable

_REJECTED = "pg_temp._loom_rejected"  # qualified, so that a table of the user is never used


def apply_rejections(
    connection: Connection,
    table: PostgresTable,
    rejected: Sequence[JsonObject],
    *,
    deletes: bool,
) -> LoadReceipt:
    """Count the rows with the keys `rejected`, and delete them if `deletes` is true.

    `connection` must be in a transaction. Raises UserError if a constraint or a trigger refuses
    the deletion.
    """
    columns = table.columns(connection)
    if not columns or not rejected:
        return LoadReceipt()
    fields = [columns[name] for name in table.key]
    known = [row for row in rejected if not any(field.refusal(row[field.name]) for field in fields)]
    keys = [quote(name) for name in table.key]
    connection.execute(
        f"CREATE TEMP TABLE {_REJECTED.partition('.')[2]} ON COMMIT DROP AS "  # noqa: S608 - quoted
        f"SELECT {', '.join(keys)} FROM {table.sql} LIMIT 0"
    )
    copy_rows(connection, _REJECTED, fields, known)
    match = " AND ".join(f"t.{name} = r.{name}" for name in keys)
    distinct = f"(SELECT DISTINCT {', '.join(keys)} FROM {_REJECTED}) r"  # noqa: S608 - quoted
    if not deletes:
        row = connection.execute(
            f"SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM {table.sql} t WHERE {match})) "  # noqa: S608
            f"FROM {distinct}"
        ).fetchone()
        return LoadReceipt(kept_rows=int(str(row[0])) if row else 0)
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a refusal must not wait for COMMIT
    try:
        deleted = connection.execute(
            f"DELETE FROM {table.sql} t USING {distinct} WHERE {match}"  # noqa: S608 - quoted
        ).rowcount
    except psycopg.Error as fault:
        if is_outage(fault):
            raise
        raise UserError(
            f"{table.shown}: the database refuses to delete the rows of rejected records: "
            f"{describe(fault)}",
            hint="let the database delete them, or start a new run with `load.on_rejected: keep`",
        ) from fault
    return LoadReceipt(deleted=deleted)
