"""Counts or deletes the rows of a SQLite table whose records a gate has rejected."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.sqlite import fold_case, object_kind, quote
from loomgit.rows.sqlite_values import column_affinities, to_sqlite, would_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import JsonObject
    from loomgit.rows.sqlite_table import DestinationTable


def apply_rejections(
    connection: sqlite3.Connection,
    table: DestinationTable,
    rejected: Sequence[JsonObject],
    *,
    deletes: bool,
) -> LoadReceipt:
    """Count the rows with the keys `rejected`, and delete them if `deletes` is true.

    The column types and collations of the table define which keys are equal. Raises UserError if a
    constraint or a trigger refuses the deletion.
    """
    if not rejected or object_kind(connection, table.name) is None:
        return LoadReceipt()
    target, keys = quote(table.name), ", ".join(map(quote, table.key))
    affinities = column_affinities(connection, table.name)
    columns = [affinities[fold_case(name)] for name in table.key]
    connection.execute("DROP TABLE IF EXISTS temp._loom_rejected")
    # The temporary table has the column types of the destination table.
    connection.execute(f"CREATE TEMP TABLE _loom_rejected AS SELECT {keys} FROM {target} LIMIT 0")  # noqa: S608
    connection.executemany(
        f"INSERT INTO _loom_rejected VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
        (
            [to_sqlite(row[name], column) for name, column in zip(table.key, columns, strict=True)]
            for row in rejected
            if not any(map(would_change, (row[name] for name in table.key), columns))
        ),
    )
    matching = f"FROM {target} WHERE ({keys}) IN (SELECT {keys} FROM _loom_rejected)"  # noqa: S608
    if not deletes:
        (count,) = connection.execute(f"SELECT count(*) {matching}").fetchone()
        return LoadReceipt(kept_rows=count)
    try:
        return LoadReceipt(deleted=connection.execute(f"DELETE {matching}").rowcount)
    except sqlite3.IntegrityError as fault:
        raise UserError(
            f"{table.shown}: the database refuses to delete the rows of rejected records: {fault}",
            hint="let the database delete them, or start a new run with `load.on_rejected: keep`",
        ) from fault
