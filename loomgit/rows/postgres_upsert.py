"""Upserts into a PostgreSQL table.

Batches whose keys are new are written with COPY. For all other batches, the rows are copied into a
temporary table, from which `INSERT … ON CONFLICT` writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.postgres_columns import comparison_sql
from loomgit.rows.postgres_connection import quote
from loomgit.rows.postgres_copy import copy_columns, copy_rows
from loomgit.rows.postgres_evolution import POSITION_COLUMN
from loomgit.rows.postgres_loaded_keys import LoadedKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.postgres_columns import Column
    from loomgit.rows.postgres_connection import Connection
    from loomgit.rows.postgres_table import PostgresTable

# Qualified, so that a table of the user with the same name is never used instead.
_INCOMING = "pg_temp._loom_incoming_{}"


class PostgresUpsert:
    """Upserts groups of rows that have the same fields, and counts the effects.

    A row with an existing key updates only its own fields, and only if a value differs. The
    temporary tables exist until the connection is closed.
    """

    def __init__(self, table: PostgresTable) -> None:
        self._table = table
        self._incoming: dict[tuple[str, ...], str] = {}  # the temporary table for these fields
        self._may_change_rows = False  # whether the table has a trigger or a rule
        self._loaded_keys = LoadedKeys(table.sql, table.key)
        self._is_plain: bool | None = None  # whether nothing but the upsert decides about the rows
        self._copies_new_rows = True  # until a row of a batch without known keys is in the table

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
        """Create the temporary tables for `load_texts` with these fields.

        This happens outside the transaction of a batch, which may be rolled back.
        """
        self.prepare(connection, names)
        if self._is_plain is None:
            self._is_plain = not self._may_change_rows and self._table.is_plain(connection)
        self._loaded_keys.create(connection)

    def load_rows(
        self, connection: Connection, fields: Sequence[Column], rows: Sequence[JsonObject]
    ) -> LoadReceipt:
        """Upsert rows. `fields` are the columns of their fields, for which `prepare` was called."""
        incoming = self._empty_incoming(connection, fields)
        copy_rows(connection, incoming, fields, rows, numbered=True)
        if not self._loaded_keys.is_created:
            return self._merge(connection, incoming, fields, len(rows))
        receipt = self._merge_unseen(connection, incoming, fields, len(rows))
        self._loaded_keys.add(connection, incoming)
        return receipt

    def remember(
        self, connection: Connection, key: Sequence[Column], rows: Sequence[JsonObject]
    ) -> None:
        """Record the keys of rows that an earlier attempt has loaded. `key` are the key columns."""
        self.prepare_batch(connection, tuple(column.name for column in key))
        incoming = self._empty_incoming(connection, key)
        copy_rows(connection, incoming, key, rows, numbered=True)
        self._loaded_keys.add(connection, incoming)

    def load_texts(
        self, connection: Connection, fields: Sequence[Column], texts: Sequence[Sequence[str]]
    ) -> LoadReceipt:
        """Upsert rows. `texts` are the values of each column, from `copy_texts`.

        A row with the key of an earlier call is a duplicate. `prepare_batch` must have been called.
        """
        names, count = [column.name for column in fields], len(texts[0])
        if self._is_plain and self._copy_new_rows(connection, names, texts):
            return LoadReceipt(inserted=count)
        incoming = self._empty_incoming(connection, fields)
        copy_columns(connection, incoming, names, texts, numbered=True)
        receipt = None
        if self._is_plain:
            receipt = self._insert_new_keys(connection, incoming, fields, count)
        if receipt is None:
            receipt = self._merge_unseen(connection, incoming, fields, count)
            self._loaded_keys.add(connection, incoming)
        return receipt

    def _copy_new_rows(
        self, connection: Connection, names: Sequence[str], texts: Sequence[Sequence[str]]
    ) -> bool:
        """Write rows with COPY into the table. Return False if a key is in the table already.

        COPY is the fastest way, but it writes nothing if one key is in the table or occurs twice.
        Therefore, a sample of the keys is looked up first. After a failed COPY, no more batches are
        tried, because a failure takes time, leaves dead rows in the table, and appears in the log
        of the server.
        """
        keys = [texts[names.index(name)] for name in self._table.key]
        if not self._copies_new_rows or not self._loaded_keys.may_be_new(connection, keys):
            return False
        try:
            with connection.transaction():  # a savepoint
                copy_columns(connection, self._table.sql, names, texts)
        except psycopg.errors.UniqueViolation:
            self._copies_new_rows = False
            return False
        self._loaded_keys.add_copied(connection, keys)
        return True

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
            added = self._loaded_keys.add(connection, incoming)
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
        again = self._loaded_keys.rows(connection, incoming, seen=True)
        (row,) = connection.execute(f"SELECT count(*) FROM {again}").fetchall()  # noqa: S608
        repeated = _number(row[0])
        if not repeated:
            return self._merge(connection, incoming, fields, count)
        new = self._loaded_keys.rows(connection, incoming, seen=False)
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


def _number(value: Json) -> int:
    assert isinstance(value, int)  # the result of count(*)
    return value
