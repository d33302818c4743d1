"""Functions for PostgreSQL databases: connections, names and error messages."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import psycopg

from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import LoomError, UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.abc import AdaptContext

    from loomgit.domain.values import Json
    from loomgit.rows.address import PostgresAddress

Connection: TypeAlias = "psycopg.Connection[tuple[Json, ...]]"

# SQLSTATE classes of errors in the statement itself. All other errors concern a row: data
# exceptions, violated constraints, errors that a trigger raises with any code, row level security.
_OF_STATEMENT = ("0A", "25", "26", "28", "2D", "34", "3D", "3F", "42")
_RAISE = "exec_stmt_raise"  # the function of PostgreSQL that runs RAISE in PL/pgSQL
_SECURITY_POLICY = "row-level security"
CONNECT_TIMEOUT = 10  # seconds; `connect_timeout` in the URL and PGCONNECT_TIMEOUT replace it
# Values are read and written as text, so their notation must not depend on settings of the server,
# the database or the role.
_SESSION = """
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex'; SET extra_float_digits = 1; SET client_encoding = 'UTF8';
    SET xmloption = 'content'; SET standard_conforming_strings = on; SET array_nulls = on;
    SELECT set_config(name, '0', false) FROM pg_settings
        WHERE name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout')
"""
# SQLSTATE classes of failures that the user cannot correct in a file: connection, transaction
# rollback, resources, operator intervention, system error.
_OUTAGES = ("08", "40", "53", "57", "58", "F0", "XX")
_LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)
_UNKNOWN = re.compile(r'(?P<kind>column|relation|table) "?(?P<name>[^"\s]+)"? does not exist')


def connect(address: PostgresAddress, *, context: AdaptContext | None = None) -> Connection:
    """Open a connection in which the session settings determine the notation of all values.

    The connection begins no transaction by itself. TLS, passwords and defaults work as in libpq:
    the parameters of the URL, `PG*` variables, `~/.pgpass` and service files apply. Raises
    WorldError if the server cannot be reached or refuses the connection.
    """
    has_timeout = "connect_timeout=" in address.url or "PGCONNECT_TIMEOUT" in os.environ
    try:
        connection = psycopg.connect(
            address.url,
            autocommit=True,
            prepare_threshold=None,  # poolers such as PgBouncer can lose prepared statements
            context=context,
            fallback_application_name="loom",
            connect_timeout=None if has_timeout else CONNECT_TIMEOUT,
        )
    except psycopg.ProgrammingError as fault:  # the URL has an unknown parameter
        raise UserError(f"{address}: {_one_line(fault)}") from fault
    except psycopg.Error as fault:
        raise WorldError(f"{address}: {_one_line(fault)}") from fault
    with translate_errors(str(address)):
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
    return connection


def quote(name: str) -> str:
    """Return `name` as a quoted SQL identifier. The name must not contain a NUL character."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str | None, table: str) -> str:
    """Return the quoted name of a table, with its schema if there is one."""
    return quote(table) if schema is None else f"{quote(schema)}.{quote(table)}"


@contextmanager
def translate_errors(shown: str, connection: Connection | None = None) -> Iterator[None]:
    """Convert each error of psycopg in the block to UserError or WorldError.

    The message starts with `shown`, the name of the database. If a table is unknown, `connection`
    is used to suggest a similar name; it must not be in a transaction.
    """
    try:
        yield
    except psycopg.Error as fault:
        raise _translate(fault, shown, connection) from fault


def is_outage(fault: psycopg.Error) -> bool:
    """Whether an error has its cause outside of the statement, such as a lost connection.

    The same statement may then succeed later.
    """
    state = fault.sqlstate
    if state is None:
        return isinstance(fault, psycopg.OperationalError)
    return state.startswith(_OUTAGES) or state in ("55P03", "25P03")


def concerns_row(fault: psycopg.Error) -> bool:
    """Whether the database refused a row, and not the statement or the connection."""
    if fault.diag.source_function == _RAISE:
        return True  # with a code that the trigger chooses
    if is_outage(fault) or fault.sqlstate is None:
        return False
    return not fault.sqlstate.startswith(_OF_STATEMENT) or _SECURITY_POLICY in str(fault)


def describe(fault: psycopg.Error) -> str:
    """Return the message of the server in one line, with its detail."""
    primary = fault.diag.message_primary
    if primary is None:
        return _one_line(fault)
    detail = fault.diag.message_detail
    return " ".join(f"{primary} ({detail.rstrip('.')})".split() if detail else primary.split())


def _translate(fault: psycopg.Error, shown: str, connection: Connection | None) -> LoomError:
    if is_outage(fault):
        return WorldError(f"{shown}: {describe(fault)}")
    hint = fault.diag.message_hint
    message = describe(fault)
    matched = _UNKNOWN.search(message)
    if matched and matched["kind"] != "column" and connection is not None:
        name = matched["name"].rpartition(".")[2]
        hint = did_you_mean(name, visible_tables(connection)) or hint
    if (line := _LINE.search(str(fault))) and line[1] != "1":
        message += f" (line {line[1]} of the query)"
    return UserError(f"{shown}: {message}", hint=hint)


def visible_tables(connection: Connection) -> list[str]:
    """Return the tables and views that a query can name without a schema, except system tables."""
    if connection.closed:
        return []
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND pg_table_is_visible(oid) AND relnamespace::regnamespace::text NOT IN "
        "('pg_catalog', 'information_schema', 'pg_toast') ORDER BY relname LIMIT 1000"
    )
    return [str(name) for (name,) in rows]


def current_role(connection: Connection) -> str:
    """Return the quoted name of the role that the connection uses."""
    row = connection.execute("SELECT quote_ident(current_user)").fetchone()
    return str(row[0]) if row is not None else ""


def _one_line(fault: Exception) -> str:
    """Return the first line of an error that names a cause: the error of the first host."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Multiple connection attempts failed")]
    return lines[0].removeprefix("- ") if lines else type(fault).__name__
