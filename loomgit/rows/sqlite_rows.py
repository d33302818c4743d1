"""Inserts and upserts rows into SQLite tables."""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.refused_rows import RowRefusedError
from loomgit.rows.sqlite import fold_case, object_kind, quote
from loomgit.rows.sqlite_values import (
    NUMERIC_AFFINITIES,
    column_affinities,
    loss_reason,
    to_sqlite,
    would_change,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.domain.values import JsonObject
    from loomgit.rows.query import Scalar
    from loomgit.rows.sqlite_table import DestinationTable
    from loomgit.rows.sqlite_values import Affinity

_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)


def by_fields(rows: Iterable[JsonObject]) -> dict[tuple[str, ...], list[JsonObject]]:
    """Group rows that have the same field names in the same order. The keys are the field names."""
    groups: dict[tuple[str, ...], list[JsonObject]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return groups


def require_loaded_table(connection: sqlite3.Connection, table: str, shown: str) -> None:
    """Raise UserError if the table does not exist, although the run has loaded rows into it."""
    if object_kind(connection, table) is None:
        raise UserError(
            f"{shown}: the table '{table}' was removed since the run loaded rows into it",
            hint="restore the table, or start a new run without --resume",
        )


@contextmanager
def refusing_rows(connection: sqlite3.Connection) -> Iterator[None]:
    """Undo the block and raise RowRefusedError if a constraint or a trigger refuses a row."""
    connection.execute("SAVEPOINT rows")
    try:
        yield
    except sqlite3.IntegrityError as fault:
        connection.execute("ROLLBACK TO rows")
        raise RowRefusedError(str(fault)) from fault
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE rows")


def may_drop_rows(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table has a trigger or an `ON CONFLICT` clause, which may silently drop rows."""
    cursor = connection.execute(
        "SELECT type, sql FROM sqlite_master WHERE tbl_name = ? COLLATE NOCASE", (table,)
    )
    return any(kind == "trigger" or _ON_CONFLICT.search(sql or "") for kind, sql in cursor)


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    """Return the number of rows in the table."""
    (number,) = connection.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()  # noqa: S608
    return int(number)


def insert(
    connection: sqlite3.Connection,
    table: str,
    rows: Iterable[JsonObject],
    shown: str,
    *,
    replacing: Sequence[str] = (),
) -> int:
    """Insert the rows in order, and return the number of rows that SQLite has changed.

    A column that is missing from a row gets its default value. If `replacing` is not empty, a new
    row updates the existing row that has the same values in these columns. The table must then have
    a unique index on these columns. Raises UserError if a column would change a value.
    """
    affinities = column_affinities(connection, table)
    # `cursor.rowcount` is not used, because it is wrong in a Turkish locale before Python 3.13: the
    # lower case of I is not i in this locale, and so sqlite3 does not recognize the word INSERT.
    before = connection.total_changes
    for fields, group in groupby(rows, key=tuple):
        columns = [affinities.get(fold_case(name), "BLOB") for name in fields]
        checked = [
            (name, column)
            for name, column in zip(fields, columns, strict=True)
            if column in NUMERIC_AFFINITIES
        ]
        connection.executemany(
            f"INSERT INTO {quote(table)} ({', '.join(map(quote, fields))}) "  # noqa: S608 - quoted
            f"VALUES ({', '.join('?' * len(fields))}){_conflict_clause(fields, replacing)}",
            (_parameters(row, columns, checked, shown) for row in group),
        )
    return connection.total_changes - before


def _conflict_clause(fields: Sequence[str], replacing: Sequence[str]) -> str:
    """Return the ON CONFLICT clause that updates the existing row with the same key.

    `replacing` are the key columns. The clause is empty if `replacing` is empty.
    """
    if not replacing:
        return ""
    others = [quote(name) for name in fields if name not in replacing]
    update = ", ".join(f"{name} = excluded.{name}" for name in others)
    action = f"UPDATE SET {update}" if update else "NOTHING"
    return f" ON CONFLICT ({', '.join(map(quote, replacing))}) DO {action}"


def has_unique_key(connection: sqlite3.Connection, table: str, key: Sequence[str]) -> bool:
    """Whether the table has a primary key or a unique index on exactly the columns `key`."""
    key_columns = {fold_case(name) for name in key}
    primary_key = {
        fold_case(str(row[1]))
        for row in connection.execute(f"PRAGMA table_info({quote(table)})")
        if row[5]
    }
    if key_columns and key_columns == primary_key:
        return True
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quote(table)})"):
        names = {
            fold_case(str(row[2]))
            for row in connection.execute(f"PRAGMA index_info({quote(index)})")
        }
        if key_columns and unique and not partial and names == key_columns:
            return True
    return False


def _parameters(
    row: JsonObject,
    columns: Sequence[Affinity],
    checked: Sequence[tuple[str, Affinity]],
    shown: str,
) -> list[Scalar]:
    """Return the values of a row as parameters.

    `columns` are the affinities of the columns. `checked` are the fields whose columns change some
    values.
    """
    for name, column in checked:
        if would_change(row[name], column):
            raise UserError(
                f"{shown}: {loss_reason(name, column, row[name])}",
                hint="change the type of the column to TEXT",
            )
    return list(map(to_sqlite, row.values(), columns))


def upsert(
    connection: sqlite3.Connection,
    table: DestinationTable,
    fields: tuple[str, ...],
    rows: list[JsonObject],
) -> LoadReceipt:
    """Upsert rows that have the same `fields` and different keys.

    The rows are first inserted into a temporary table that has the column types of the destination.
    Thus, SQLite converts new values to the column types before it compares them.
    """
    target, names = quote(table.name), [quote(name) for name in fields]
    columns = ", ".join(names)
    connection.execute("DROP TABLE IF EXISTS temp._loom_incoming")
    connection.execute(
        f"CREATE TEMP TABLE _loom_incoming AS SELECT {columns} FROM {target} LIMIT 0"  # noqa: S608
    )
    insert(connection, "_loom_incoming", rows, table.shown)
    keys = [quote(name) for name in table.key]
    duplicates = _drop_equal_keys(connection, table)
    connection.execute(
        f"CREATE INDEX temp._loom_incoming_key ON _loom_incoming ({', '.join(keys)})"
    )
    match = " AND ".join(f"{target}.{name} = _loom_incoming.{name}" for name in keys)
    others = [name for name in names if name not in keys]
    updated = 0
    matched = connection.execute(
        f"SELECT count(*) FROM _loom_incoming WHERE EXISTS "  # noqa: S608
        f"(SELECT 1 FROM {target} WHERE {match})"
    ).fetchone()[0]
    may_drop, dropped = may_drop_rows(connection, table.name), 0
    if others and matched:
        changes = ", ".join(f"{name} = _loom_incoming.{name}" for name in others)
        # SQLite compares two texts by the collation of the left column. Here, this is the column of
        # the temporary table. Its collation is BINARY, so "a" and "A" are different values.
        differs = " OR ".join(f"_loom_incoming.{name} IS NOT {target}.{name}" for name in others)
        if may_drop:
            (dropped,) = connection.execute(
                f"SELECT count(*) FROM {target}, _loom_incoming WHERE {match} AND ({differs})"  # noqa: S608
            ).fetchone()
        updated = connection.execute(
            f"UPDATE {target} SET {changes} FROM _loom_incoming "  # noqa: S608
            f"WHERE {match} AND ({differs})"
        ).rowcount
        dropped = max(0, dropped - updated)
    count = len(rows) - duplicates
    if matched < count:
        connection.execute(
            f"INSERT INTO {target} ({columns}) SELECT {columns} FROM _loom_incoming "  # noqa: S608
            f"WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {match}) ORDER BY _loom_incoming.rowid"
        )
    unchanged, inserted = max(0, matched - updated - dropped), count - matched
    if may_drop:
        (present,) = connection.execute(
            f"SELECT count(*) FROM _loom_incoming WHERE EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {target} WHERE {match})"
        ).fetchone()
        dropped += inserted - (present - matched)
        inserted = present - matched
    return LoadReceipt(inserted, updated, unchanged, duplicates, dropped)


def _drop_equal_keys(connection: sqlite3.Connection, table: DestinationTable) -> int:
    """Keep only the last incoming row of each key. Return the number of deleted rows.

    The key columns of the destination table define which keys are equal: "a" and "A" are equal in a
    NOCASE column, and "1" and "1.0" in an INTEGER column. The temporary table has the types of the
    destination table, but not its collations. Therefore, the query begins with a SELECT from the
    destination table that returns no rows. SQLite then uses the collations of this first SELECT to
    group the rows of the whole UNION ALL.
    """
    keys = ", ".join(quote(name) for name in table.key)
    return connection.execute(
        "DELETE FROM _loom_incoming WHERE rowid NOT IN (SELECT max(number) FROM ("  # noqa: S608
        f"SELECT {keys}, 0 AS number FROM {quote(table.name)} WHERE 0 UNION ALL "
        f"SELECT {keys}, rowid FROM _loom_incoming) GROUP BY {keys})"
    ).rowcount
