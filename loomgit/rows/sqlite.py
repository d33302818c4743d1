"""SQLite as both ends need it: connections, quoted names, and what its errors mean to a user."""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loomgit.domain.words import did_you_mean, one_of
from loomgit.errors import LoomError, UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

PATIENCE = 10.0  # seconds to wait for another program's lock
_NO_SUCH = re.compile(r"no such (table|column): (\S+)")


def connect(path: Path, *, writing: bool = False) -> sqlite3.Connection:
    """Open the database, read-only unless `writing`, which also creates it where it is missing.

    Transactions are begun by hand. The connection may move between threads, one at a time.
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
        # A database in WAL mode needs files beside it. Without a log nobody is writing, and SQLite
        # may take the file for one that does not change.
        if _has_log(path):
            raise WorldError(
                f"{path.name}: has changes in {path.name}-wal, which cannot be read in a read-only "
                "folder",
                hint="make the folder writable, or run `PRAGMA wal_checkpoint` where it is",
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
        timeout=PATIENCE,
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
    """The name as an SQL identifier, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def translated(shown: str, connection: sqlite3.Connection | None = None) -> Iterator[None]:
    """Turn SQLite's errors into ours, naming the database; `connection` is asked for hints."""
    try:
        yield
    except sqlite3.Error as fault:
        raise _meaning(fault, shown, connection) from fault


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it or nothing; the lock is taken at once, so nothing fails for it half-way."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _meaning(fault: sqlite3.Error, shown: str, connection: sqlite3.Connection | None) -> LoomError:
    name: str = getattr(fault, "sqlite_errorname", "")
    if name.startswith("SQLITE_NOTADB"):
        return UserError(f"{shown}: is not a SQLite database")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return WorldError(
            f"{shown}: locked by another program for more than {PATIENCE:.0f} s",
            hint="close the program that holds it, or try again later",
        )
    if name.startswith("SQLITE_READONLY"):
        return WorldError(f"{shown}: is read-only, or lies in a read-only folder")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_IOERR", "SQLITE_FULL")):
        return WorldError(f"{shown}: {fault}")
    hint = None
    if connection is not None and (matched := _NO_SUCH.match(str(fault))):
        names = tables(connection) if matched[1] == "table" else _all_columns(connection)
        hint = did_you_mean(matched[2].rpartition(".")[2], names)
    return UserError(f"{shown}: {fault}", hint=hint)


def tables(connection: sqlite3.Connection) -> list[str]:
    """The names of all tables and views, SQLite's own left out."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [name for (name,) in found]


def kind(connection: sqlite3.Connection, table: str) -> str | None:
    """`table` or `view`, None where nothing of that name exists; SQLite ignores ASCII case."""
    found = connection.execute(
        "SELECT type FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name = ? COLLATE NOCASE",
        (table,),
    ).fetchone()
    return None if found is None else str(found[0])


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The table's columns in order."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({quote(table)})")]


def require_table(connection: sqlite3.Connection, table: str, shown: str) -> None:
    """Raise UserError where the database has neither a table nor a view of that name."""
    if kind(connection, table) is None:
        raise UserError(
            f"{shown}: no such table: {table}",
            hint=one_of(table, tables(connection), "there are") or "the database has no tables",
        )


def require_distinct(names: Iterable[str], shown: str) -> None:
    """Raise UserError where two names differ in upper and lower case only: a table has one of them.

    DuckDB and SQLite compare names in that way.
    """
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(fold_case(name), name)
        if other != name:
            raise UserError(
                f"{shown}: the names '{other}' and '{name}' differ in upper and lower case only, "
                "which SQL does not tell apart",
                hint="rename one of them",
            )


def fold_case(name: str) -> str:
    """ASCII letters without their case, all others as they are."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def require_columns(wanted: Sequence[str], present: Sequence[str], shown: str) -> None:
    """Raise UserError for the first wanted column that is not present."""
    for name in wanted:
        if name not in present:  # names are case-sensitive in records
            raise UserError(f"{shown}: no column '{name}'", hint=one_of(name, present, "there are"))


def _all_columns(connection: sqlite3.Connection) -> list[str]:
    return [column for table in tables(connection) for column in columns(connection, table)]
