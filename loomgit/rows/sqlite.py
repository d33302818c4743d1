"""Functions for SQLite databases: connections, transactions, names and error messages."""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from loomgit.domain.suggestions import did_you_mean, suggest_or_list
from loomgit.errors import LoomError, UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

LOCK_TIMEOUT = 10.0  # seconds to wait for the lock of another program
_NO_SUCH = re.compile(r"no such (table|column): (\S+)")


def connect(path: Path, *, writing: bool = False) -> sqlite3.Connection:
    """Open the database for reading. If `writing` is true, open it for reading and writing.

    If `writing` is true, a missing database is created. The connection does not start transactions
    by itself. Several threads may use the connection, but not at the same time. Raises
    sqlite3.Error. Raises WorldError if the folder is read-only and contains a write-ahead log with
    changes of another program, because SQLite cannot read the log there.
    """
    if writing:
        return _open(path, "mode=rwc")
    connection = _open(path, "mode=ro")
    try:
        connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError as fault:
        connection.close()
        if not _is_read_only(fault):
            raise
        # To read a database in WAL mode (write-ahead log), SQLite creates files in the folder of
        # the database. If the folder is read-only, only the option `immutable` works. It ignores
        # the log, so the log must be missing or empty.
        if _has_log(path):
            raise WorldError(
                f"{path.name}: has changes in {path.name}-wal, which cannot be read in a read-only "
                "folder",
                hint="make the folder writable, or run `PRAGMA wal_checkpoint` with write access",
            ) from fault
        return _open(path, "mode=ro&immutable=1")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _open(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=LOCK_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def _is_read_only(fault: sqlite3.Error) -> bool:
    name: str = getattr(fault, "sqlite_errorname", "")
    return name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def quote(name: str) -> str:
    """Return `name` as a quoted SQL identifier. The name may contain any character."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def translate_errors(shown: str, connection: sqlite3.Connection | None = None) -> Iterator[None]:
    """Convert each SQLite error in the block to UserError or WorldError.

    The message starts with `shown`, the name of the database. If a table or column does
    not exist, `connection` is used to suggest a similar name.
    """
    try:
        yield
    except sqlite3.Error as fault:
        raise _translate(fault, shown, connection) from fault


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run the block in one transaction, which is rolled back if the block raises an error.

    The transaction acquires the write lock first, so that the statements in the block do not fail
    because of a lock.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _translate(
    fault: sqlite3.Error, shown: str, connection: sqlite3.Connection | None
) -> LoomError:
    name: str = getattr(fault, "sqlite_errorname", "")
    if name.startswith("SQLITE_NOTADB"):
        return UserError(f"{shown}: is not a SQLite database")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return WorldError(
            f"{shown}: another program has locked the database for more than {LOCK_TIMEOUT:.0f} s",
            hint="close the other program, or try again later",
        )
    if name.startswith("SQLITE_READONLY"):
        return WorldError(f"{shown}: is read-only, or is in a read-only folder")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_IOERR", "SQLITE_FULL")):
        return WorldError(f"{shown}: {fault}")
    hint = None
    if connection is not None and (matched := _NO_SUCH.match(str(fault))):
        names = tables(connection) if matched[1] == "table" else _all_columns(connection)
        hint = did_you_mean(matched[2].rpartition(".")[2], names)
    return UserError(f"{shown}: {fault}", hint=hint)


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of all tables and views, except the internal tables of SQLite."""
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [name for (name,) in rows]


def object_kind(connection: sqlite3.Connection, table: str) -> str | None:
    """Return `table` or `view`, or None if no table or view has this name.

    The case of ASCII letters is ignored.
    """
    row = connection.execute(
        "SELECT type FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name = ? COLLATE NOCASE",
        (table,),
    ).fetchone()
    return None if row is None else str(row[0])


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the names of a table's columns, in order."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({quote(table)})")]


def require_table(connection: sqlite3.Connection, table: str, shown: str) -> None:
    """Raise UserError if the database has neither a table nor a view with this name."""
    if object_kind(connection, table) is None:
        raise UserError(
            f"{shown}: no such table: {table}",
            hint=suggest_or_list(table, tables(connection), "there are")
            or "the database has no tables",
        )


def require_distinct(names: Iterable[str], shown: str) -> None:
    """Raise UserError if two names differ only in upper and lower case.

    DuckDB and SQLite ignore the case of column names, so a table cannot have two such columns.
    """
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(fold_case(name), name)
        if other != name:
            raise UserError(
                f"{shown}: the names '{other}' and '{name}' differ only in upper and lower case, "
                "which SQL ignores",
                hint="rename one of them",
            )


@lru_cache(maxsize=1024)  # each row has the same names
def fold_case(name: str) -> str:
    """Return the name with its ASCII letters in lower case, as SQLite compares names."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


class MissingColumn(UserError):
    """A source lacks the column `column`, which the pipeline needs."""

    def __init__(self, column: str, message: str, *, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.column = column


def require_columns(required: Sequence[str], present: Sequence[str], shown: str) -> None:
    """Raise MissingColumn for the first column in `required` that is not in `present`."""
    for name in required:
        if name not in present:  # an exact comparison, because field names are case-sensitive
            hint = suggest_or_list(name, present, "there are")
            raise MissingColumn(name, f"{shown}: no column '{name}'", hint=hint)


def _all_columns(connection: sqlite3.Connection) -> list[str]:
    return [column for table in tables(connection) for column in columns(connection, table)]
