"""Connects to databases through SQLAlchemy, for reading only."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.engine import create_engine
from sqlalchemy.engine.url import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from loomgit.domain.safe_text import remember
from loomgit.errors import LoomError, UserError, WorldError
from loomgit.rows.paths import require_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection, Engine

    from loomgit.rows.sql_address import SqlAddress

# The statements that make a session read-only and set its time zone to UTC.
_SESSION: Final = {
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET time_zone = '+00:00'"),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY", "SET time_zone = '+00:00'"),
    "oracle": ("ALTER SESSION SET TIME_ZONE = '+00:00'",),
    "postgresql": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET TimeZone = 'UTC'",
    ),
    "sqlite": ("PRAGMA query_only = ON",),
    "duckdb": ("SET TimeZone = 'UTC'",),
}
# The first statement of a transaction, in databases without a read-only session.
_TRANSACTION: Final = {"oracle": "SET TRANSACTION READ ONLY"}
_FILE_DIALECTS: Final = ("duckdb", "sqlite")
# The packages of modules that have another name, and of dialects that SQLAlchemy does not contain.
_PACKAGES: Final = {
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
    "psycopg2": "psycopg2-binary",
    "duckdb": "duckdb-engine",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "redshift": "sqlalchemy-redshift",
    "databricks": "databricks-sqlalchemy",
    "clickhousedb": "clickhouse-connect",
    "cockroachdb": "sqlalchemy-cockroachdb",
}
_SECRET_PART = re.compile(r"(?:pwd|\w*pass(?:word|wd)?|\w*token|\w*secret)\s*=\s*([^;]+)", re.I)
_SECRET_NAME = re.compile(r"key|token|pass|pwd|secret|sig", re.I)
# SQLSTATE classes and error numbers of MySQL for failures that the user cannot correct in a file:
# connection, timeout, deadlock, resources, shutdown.
_OUTAGES = ("08", "40", "53", "57", "58", "F0", "XX", "HYT")
_MYSQL_OUTAGES = (1040, 1053, 1205, 1213, 1226, 1317, 1969, 2006, 2013, 3024)
_SQLITE_OUTAGES = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_FULL")


@contextmanager
def connect(address: SqlAddress, root: Path) -> Iterator[Connection]:
    """Open a connection for reading, and close it at the end of the block.

    Transactions are read-only in MySQL, MariaDB, PostgreSQL and Oracle. Files of SQLite and DuckDB
    are opened read-only; a relative path refers to `root`. In every database, the transaction is
    not committed. Unread rows are discarded. Raises UserError if the URL or a package is wrong, and
    WorldError if the database cannot be reached or refuses the connection.
    """
    shown = str(address)
    engine = _create_engine(address, shown, root)
    try:
        connection = engine.connect()
    except DBAPIError as fault:
        raise WorldError(f"{shown}: {describe(fault)}") from fault
    except OSError as fault:
        raise WorldError(f"{shown}: {fault.strerror or fault}") from fault
    except (SQLAlchemyError, TypeError, ValueError, RuntimeError) as fault:
        raise UserError(f"{shown}: {first_line(fault)}") from fault
    try:
        with translate_errors(shown):
            for statement in _SESSION.get(engine.dialect.name, ()):
                connection.exec_driver_sql(statement)
            connection.commit()
            if engine.dialect.name in _TRANSACTION:
                connection.exec_driver_sql(_TRANSACTION[engine.dialect.name])
        yield connection
    finally:
        # `invalidate` closes the session at once; `close` would first read all remaining rows.
        connection.invalidate()
        connection.close()
        engine.dispose()


@contextmanager
def translate_errors(shown: str) -> Iterator[None]:
    """Convert each error of SQLAlchemy in the block to UserError or WorldError.

    The message starts with `shown`, the name of the database.
    """
    try:
        yield
    except DBAPIError as fault:
        error: type[LoomError] = WorldError if _is_outage(fault) else UserError
        raise error(f"{shown}: {describe(fault)}") from fault
    except (SQLAlchemyError, OverflowError, UnicodeError) as fault:
        raise UserError(f"{shown}: {first_line(fault)}") from fault


def describe(fault: DBAPIError) -> str:
    """Return the message of the driver in one line, without the statement and its parameters."""
    cause = fault.orig
    arguments: tuple[object, ...] = getattr(cause, "args", ())
    if len(arguments) == 2 and isinstance(arguments[1], str | bytes):  # a number and a message
        message = arguments[1]
        text = message.decode(errors="replace") if isinstance(message, bytes) else message
        return first_line(text)
    return first_line(cause)


def first_line(fault: object) -> str:
    """Return the first line of an error that is not empty."""
    lines = [" ".join(line.split()) for line in str(fault).splitlines() if line.strip()]
    return lines[0] if lines else type(fault).__name__


def _is_outage(fault: DBAPIError) -> bool:
    """Whether an error has its cause outside of the statement, such as a lost connection."""
    cause: Any = fault.orig
    arguments: tuple[object, ...] = getattr(cause, "args", ()) or ("",)
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or arguments[0]
    if fault.connection_invalidated or state in _MYSQL_OUTAGES:
        return True
    if isinstance(state, str) and len(state) == 5 and state.startswith(_OUTAGES):
        return True
    return str(getattr(cause, "sqlite_errorname", "")).startswith(_SQLITE_OUTAGES)


def _create_engine(address: SqlAddress, shown: str, root: Path) -> Engine:
    try:
        url = make_url(address.url)
    except (ArgumentError, ValueError) as fault:  # the message does not show the URL: it is secret
        raise _invalid_url(shown) from fault
    _remember_secrets(url)
    if "@" in (url.host or ""):
        raise UserError(
            f"{shown}: the user or the password contains '@'",
            hint="write special characters of a user or password as percent escapes, such as %40",
        )
    arguments: dict[str, object] = {}
    dialect = url.get_backend_name()
    if dialect in _FILE_DIALECTS and url.database and not url.database.startswith((":", "md:")):
        path = root / url.database
        require_file(path, shown)
        url = url.set(database=str(path))
        if dialect == "duckdb":
            arguments["read_only"] = True
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    except NoSuchModuleError as fault:
        raise _missing_dialect(url.drivername, shown) from fault
    except ModuleNotFoundError as fault:
        raise _missing_package(fault.name or "", url.drivername, shown) from fault
    except ImportError as fault:  # a system library of the driver is missing
        raise UserError(f"{shown}: the driver cannot be used: {first_line(fault)}") from fault
    except (ArgumentError, ValueError, TypeError) as fault:
        raise _invalid_url(shown) from fault
    if engine.dialect.is_async:
        raise UserError(
            f"{shown}: {url.drivername} is an asynchronous driver",
            hint="use another driver of the dialect",
        )
    return engine


def _remember_secrets(url: URL) -> None:
    """Hide the password and the secret parameters of a URL in all output from now on."""
    remember(url.password)
    for name, value in url.query.items():
        for text in (value,) if isinstance(value, str) else value:
            if _SECRET_NAME.search(name):
                remember(text)
            remember(*_SECRET_PART.findall(text))  # `odbc_connect` contains `PWD=...`


def _invalid_url(shown: str) -> UserError:
    return UserError(
        f"{shown} is not a URL of SQLAlchemy",
        hint="write the URL as DIALECT+DRIVER://USER:${PASSWORD}@HOST/DATABASE",
    )


def _missing_dialect(name: str, shown: str) -> UserError:
    dialect, _, driver = name.partition("+")
    package = None if driver else _PACKAGES.get(dialect)
    problem = f"{shown}: SQLAlchemy has no dialect '{name}'"
    if package:
        return UserError(f"{problem} without another package: pip install {package}")
    return UserError(
        problem,
        hint="correct the URL, or install the package of the dialect "
        "(https://docs.sqlalchemy.org/en/20/dialects/#external-dialects)",
    )


def _missing_package(module: str, name: str, shown: str) -> UserError:
    top = module.partition(".")[0]
    package = _PACKAGES.get(top, top)
    return UserError(f"{shown}: {name} needs the driver '{top}': pip install {package}")
