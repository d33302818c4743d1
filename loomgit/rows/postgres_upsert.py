"""Upserts into a PostgreSQL table: COPY into a temporary table, then `INSERT … ON CONFLICT`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.postgres_columns import comparison_sql
from loomgit.rows.postgres_connection import quote
from loomgit.rows.postgres_copy import copy_columns, copy_rows
from loomgit.rows.postgres_evolution import POSITION_COLUMN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.postgres_columns import Column
    from loomgit.rows.postgres_connection import Connection
    from loomgit.rows.postgres_table import PostgresTable

# Qualified, so that a table of the user with the same name is never used instead.
_INCOMING = "pg_temp._loom_incoming_{}"
_SEEN_KEYS = "pg_temp._loom_seen_keys"  # the keys of the batches that this run has loaded


class PostgresUpsert:
    """Upserts groups of rows that have the same fields, and counts the effects.

    A row with an existing key updates only its own fields, and only if a value differs. The
    temporary tables exist until the connection is closed.
    """

    def __init__(self, table: PostgresTable) -> None:
        self._table = table
        self._incoming: dict[tuple[str, ...], str] = {}  # the temporary table for these fields
        self._may_change_rows = False  # whether the table has a trigger or a rule
        self._keeps_seen_keys = False
        self._counts_by_xmax = False  # whether xmax shows which rows an upsert has inserted

    def prepare(self, connection: Connection, fields: tuple[str, ...]) -> None:
        """Create the temporary table for rows with these fields, if it does not exist.

        This happens outside the savepoints of a batch, because a savepoint that is rolled back
        would drop the table.
        """
        if fields in self._incoming:
            return
        if not self._incoming:  # the first batch
            self._may_change_rows = self._table.may_change_rows(connection)
        name = _INCOMING.format(len(self._incoming))
        columns = ", ".join(map(quote, fields))
        connection.execute(
            f"CREATE TEMP TABLE {name.partition('.')[2]} ON COMMIT DELETE ROWS AS "  # noqa: S608 - quoted
            f"SELECT {columns}, 0 AS {POSITION_COLUMN} FROM {self._table.sql} LIMIT 0"
        )
        self._incoming[fields] = name

    def prepare_batch(self, connection: Connection, names: tuple[str, ...]) -> None:
        """Create the temporary tables for `load_values` with these fields.

        This happens outside the transaction of a batch, which may be rolled back.
        """
        self.prepare(connection, names)
        if not self._keeps_seen_keys:
            # A new row has no xmax. The rows of partitioned tables have no such column.
            is_plain = not self._may_change_rows and not self._table.is_partitioned(connection)
            self._counts_by_xmax = is_plain
            _create_seen_keys(connection, self._table.sql, self._table.key)
            self._keeps_seen_keys = True

    def load_rows(
        self, connection: Connection, fields: Sequence[Column], rows: Sequence[JsonObject]
    ) -> LoadReceipt:
        """Upsert rows. `fields` are the columns of their fields, for which `prepare` was called."""
        incoming = self._empty_incoming(connection, fields)
        copy_rows(connection, incoming, fields, rows, numbered=True)
        return self._merge(connection, incoming, fields, len(rows))

    def load_values(
        self, connection: Connection, fields: Sequence[Column], values: Sequence[Sequence[Json]]
    ) -> LoadReceipt:
        """Upsert rows. `values` are the values of each column.

        A row with the key of an earlier call is a duplicate. `prepare_batch` must have been called.
        """
        incoming, count = self._empty_incoming(connection, fields), len(values[0])
        copy_columns(connection, incoming, fields, values, numbered=True)
        receipt = None
        if self._counts_by_xmax:
            receipt = self._insert_new_keys(connection, incoming, fields, count)
        if receipt is None:
            receipt = self._merge_unseen(connection, incoming, fields, count)
            _remember_keys(connection, incoming, self._table.key)
        return receipt

    def _empty_incoming(self, connection: Connection, fields: Sequence[Column]) -> str:
        incoming = self._incoming[tuple(column.name for column in fields)]
        connection.execute(f"DELETE FROM {incoming}")  # noqa: S608 - rows of another group
        return incoming

    def _insert_new_keys(
        self, connection: Connection, incoming: str, fields: Sequence[Column], count: int
    ) -> LoadReceipt | None:
        """Upsert the rows in `incoming` if this run has loaded none of their keys.

        Returns None if a key occurs twice in this run. This method is faster than `_merge`, which
        also counts rows that triggers change, and rows in partitions.
        """
        with connection.transaction():  # a savepoint
            added = _remember_keys(connection, incoming, self._table.key)
            if added < count:
                raise psycopg.Rollback
        if added < count:
            return None
        names = ", ".join(quote(column.name) for column in fields)
        upsert = self._upsert_sql(fields, f"SELECT {names} FROM {incoming}")  # noqa: S608 - quoted
        inserted, written = map(
            _number,
            connection.execute(
                f"WITH written AS ({upsert} RETURNING xmax = 0 AS is_new) "  # noqa: S608 - quoted
                "SELECT count(*) FILTER (WHERE is_new), count(*) FROM written"
            ).fetchone()
            or (),
        )
        return LoadReceipt(inserted, written - inserted, count - written)

    def _merge_unseen(
        self, connection: Connection, incoming: str, fields: Sequence[Column], count: int
    ) -> LoadReceipt:
        """Upsert the rows in `incoming`. A row with the key of an earlier batch is a duplicate."""
        again = _seen_rows(incoming, self._table.key, seen=True)
        (row,) = connection.execute(f"SELECT count(*) FROM {again}").fetchall()  # noqa: S608
        repeated = _number(row[0])
        if not repeated:
            return self._merge(connection, incoming, fields, count)
        new = _seen_rows(incoming, self._table.key, seen=False)
        receipt = self._merge(connection, new, fields, count - repeated)
        self._merge(connection, again, fields, repeated)
        return receipt + LoadReceipt(duplicates=repeated)

    def _merge(
        self, connection: Connection, incoming: str, fields: Sequence[Column], count: int
    ) -> LoadReceipt:
        """Upsert the rows of the temporary table `incoming` into the destination."""
        target, key = self._table.sql, [quote(name) for name in self._table.key]
        names = [quote(column.name) for column in fields]
        match = " AND ".join(f"t.{name} = i.{name}" for name in key)
        keys = f"SELECT DISTINCT {', '.join(key)} FROM {incoming}"  # noqa: S608 - quoted
        counts = (
            f"SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM {target} t WHERE {match})), "  # noqa: S608
            f"count(*) FROM ({keys}) i"
        )
        matched, distinct = map(_number, connection.execute(counts).fetchone() or ())
        select = (
            f"SELECT {', '.join(names)} FROM (SELECT DISTINCT ON ({', '.join(key)}) * "  # noqa: S608
            f"FROM {incoming} ORDER BY {', '.join(key)}, {POSITION_COLUMN} DESC) i "
            f"ORDER BY {POSITION_COLUMN}"
        )
        written = connection.execute(self._upsert_sql(fields, select)).rowcount
        present = distinct
        if self._may_change_rows:
            present, _ = map(_number, connection.execute(counts).fetchone() or ())
        # A trigger may change or drop rows, so the numbers are limited to what is possible.
        inserted = min(max(0, present - matched), written)
        updated = written - inserted
        unchanged = min(max(0, matched - updated), distinct - written)
        kept_out = distinct - written - unchanged
        return LoadReceipt(inserted, updated, unchanged, count - distinct, kept_out)

    def _upsert_sql(self, fields: Sequence[Column], select: str) -> str:
        """Return the statement that upserts the rows of a query into the destination.

        `select` returns the values of the columns `fields`. A row that does not change is not
        written.
        """
        key = self._table.key
        names = ", ".join(quote(column.name) for column in fields)
        others = [column for column in fields if column.name not in key]
        action = "NOTHING"
        if others:
            changes = ", ".join(f"{quote(c.name)} = excluded.{quote(c.name)}" for c in others)
            differs = " OR ".join(
                f"{comparison_sql(c, f't.{quote(c.name)}')} IS DISTINCT FROM "
                f"{comparison_sql(c, f'excluded.{quote(c.name)}')}"
                for c in others
            )
            action = f"UPDATE SET {changes} WHERE {differs}"
        return (
            f"INSERT INTO {self._table.sql} AS t ({names}) {select} "
            f"ON CONFLICT ({', '.join(map(quote, key))}) DO {action}"
        )


def _create_seen_keys(connection: Connection, target: str, key: Sequence[str]) -> None:
    """Create the temporary table of the loaded keys, with the types of the destination."""
    names = ", ".join(map(quote, key))
    name = _SEEN_KEYS.partition(".")[2]
    connection.execute(f"CREATE TEMP TABLE {name} AS SELECT {names} FROM {target} LIMIT 0")  # noqa: S608 - quoted
    connection.execute(f"ALTER TABLE {_SEEN_KEYS} ADD PRIMARY KEY ({names})")


def _seen_rows(incoming: str, key: Sequence[str], *, seen: bool) -> str:
    """Return a subquery: the rows of `incoming` whose keys are in _SEEN_KEYS, or all other rows.

    `incoming` is the temporary table that contains a batch.
    """
    match = " AND ".join(f"s.{quote(name)} = r.{quote(name)}" for name in key)
    exists = "EXISTS" if seen else "NOT EXISTS"
    return (
        f"(SELECT * FROM {incoming} r WHERE {exists} "  # noqa: S608 - quoted
        f"(SELECT 1 FROM {_SEEN_KEYS} s WHERE {match})) batch"
    )


def _remember_keys(connection: Connection, incoming: str, key: Sequence[str]) -> int:
    """Add the keys of the batch in the table `incoming` to _SEEN_KEYS; return how many are new."""
    names = ", ".join(map(quote, key))
    return connection.execute(
        f"INSERT INTO {_SEEN_KEYS} SELECT {names} FROM {incoming} ON CONFLICT DO NOTHING"  # noqa: S608
    ).rowcount


def _number(value: Json) -> int:
    assert isinstance(value, int)  # the result of count(*)
    return value
