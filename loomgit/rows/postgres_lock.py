"""Advisory locks of PostgreSQL, which exclude other runs of Loom from a destination table."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from loomgit.errors import WorldError
from loomgit.rows.postgres_connection import connect, describe, qualified, translate_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loomgit.rows.address import PostgresAddress
    from loomgit.rows.postgres_connection import Connection
    from loomgit.rows.postgres_table import PostgresTable

# A lock has the full name of the table, which the address may leave out.
_KEY = """
    hashtextextended(%s || coalesce(
        (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(%s)),
        quote_ident(%s), quote_ident(current_schema())) || '.' || %s, 0)
"""
_HOLDER = f"""
    SELECT application_name, to_char(backend_start, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    FROM pg_locks JOIN pg_stat_activity USING (pid), (SELECT {_KEY} AS key) AS wanted
    WHERE locktype = 'advisory' AND granted
    AND classid::bigint = (key >> 32) & 4294967295 AND objid::bigint = key & 4294967295
"""  # noqa: S608 - constant text
LOCK_TIMEOUT = 60  # seconds to wait for another run that loads into the same table


@contextmanager
def lock_run(address: PostgresAddress, pipeline: str) -> Iterator[Callable[[], None]]:
    """Context that excludes other runs of `pipeline` that load into the same table.

    Raises WorldError immediately if another run holds the lock. The message names its process and
    host, if the role may see them. The server releases the lock if the connection is lost, for
    example when it restarts. The context yields a function that raises WorldError in this case.
    """
    assert address.table is not None  # an address without a table is reported before
    key = (
        f"loom run {pipeline} ",
        qualified(address.schema, address.table),
        address.schema,
        address.table,
    )
    with connect(address) as connection, translate_errors(str(address)):
        name = f"loom process {os.getpid()} on {socket.gethostname()}"
        connection.execute("SELECT set_config('application_name', %s, false)", (name[:63],))
        locked = connection.execute(f"SELECT pg_try_advisory_lock({_KEY})", key).fetchone()
        if locked != (True,):
            holder = connection.execute(_HOLDER, key).fetchone()
            who = f" ({str(holder[0]).removeprefix('loom ')}, since {holder[1]})" if holder else ""
            raise WorldError(
                f"{address}: another run of {pipeline} is loading into '{address.table}'{who}",
                hint="wait for that run to end",
            )

        def require_lock() -> None:
            try:
                connection.execute("SELECT 1")
            except psycopg.Error as fault:
                raise WorldError(
                    f"{address}: the connection that held the lock of the run was lost: "
                    f"{describe(fault)}",
                    hint=f"check whether another run of {pipeline} has loaded into "
                    f"'{address.table}' since",
                ) from fault

        yield require_lock


def lock_table(connection: Connection, table: PostgresTable) -> None:
    """Wait for the advisory lock of the table, which the connection keeps until it is closed.

    Raises WorldError if another run holds the lock for more than LOCK_TIMEOUT seconds.
    """
    try:
        with translate_errors(table.shown):
            connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}s'")
            try:
                key = ("loom ", table.sql, table.schema, table.name)
                connection.execute(f"SELECT pg_advisory_lock({_KEY})", key)
            except psycopg.errors.LockNotAvailable as fault:
                raise WorldError(
                    f"{table.shown}: another run has been loading into table '{table.name}' for "
                    f"over {LOCK_TIMEOUT} s",
                    hint="wait for that run to end",
                ) from fault
            connection.execute("SET lock_timeout = 0")
    except BaseException:
        connection.close()
        raise
