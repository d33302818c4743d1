"""The quarantine as a table of a SQLite database."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from loomgit.domain.quarantine import EntryHead, QuarantineStore
from loomgit.errors import UserError, WorldError
from loomgit.rows.paths import make_folder, require_file, require_place
from loomgit.rows.quarantine import TARGET_COLUMN
from loomgit.rows.quarantine_table import (
    QuarantineStatements,
    entry_row,
    read_entry,
    require_quarantine_columns,
    resolution_row,
)
from loomgit.rows.sqlite import (
    columns,
    connect,
    object_kind,
    quote,
    transaction,
    translate_errors,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.quarantine import QuarantineEntry, Resolution


class SqliteQuarantine(QuarantineStore):
    """A table of entries. The first entry creates the table, and the database if necessary."""

    def __init__(self, path: Path, shown: str, table: str) -> None:
        self.damaged = 0
        self._path = path
        self._shown = shown
        self._table = table
        self._statements = QuarantineStatements(quote(table), "?")
        self._connection: sqlite3.Connection | None = None
        self._has_target = False  # whether the table has the column for the target

    def check(self) -> None:
        """Raise UserError or WorldError if the table cannot be written. Writes nothing."""
        require_place(self._path, self._shown)
        if not self._path.exists():
            return
        require_file(self._path, self._shown)
        if not os.access(self._path.parent, os.W_OK):  # SQLite creates files beside the database
            raise WorldError(f"{self._shown}: is in a read-only folder")
        with translate_errors(self._shown), closing(connect(self._path)) as connection:
            self._is_present(connection)

    def _is_present(self, connection: sqlite3.Connection) -> bool:
        """Return whether the table exists. Raises UserError if it is not a quarantine."""
        kind = object_kind(connection, self._table)
        if kind == "view":
            raise UserError(f"{self._shown}: '{self._table}' is a view", hint="name a table")
        if kind is not None:
            present = columns(connection, self._table)
            require_quarantine_columns(present, self._table, self._shown)
            self._has_target = TARGET_COLUMN in present
        return kind is not None

    def add(self, entries: Sequence[QuarantineEntry]) -> None:
        """Insert the entries in one transaction. Raises UserError or WorldError."""
        if not entries:
            return
        with translate_errors(self._shown):
            connection = self._open()
            with transaction(connection):
                if not self._is_present(connection):
                    connection.execute(self._statements.create())
                    index = quote(f"{self._table}_open")
                    connection.execute(
                        f"CREATE INDEX IF NOT EXISTS {index} ON {quote(self._table)} (record_key) "
                        "WHERE resolved_at IS NULL"
                    )
                    self._has_target = True
                elif not self._has_target and any(entry.target for entry in entries):
                    connection.execute(self._statements.add_target())
                    self._has_target = True
                has_target = self._has_target
                connection.executemany(
                    self._statements.insert(has_target=has_target),
                    [entry_row(entry, has_target=has_target) for entry in entries],
                )

    def resolve(self, resolutions: Sequence[Resolution]) -> None:
        """Resolve the open entries of records in one transaction."""
        if not resolutions:
            return
        with translate_errors(self._shown):
            connection = self._open()
            with transaction(connection):
                if not self._is_present(connection):
                    return
                statement = self._statements.resolve(has_target=self._has_target)
                connection.executemany(statement, map(resolution_row, resolutions))

    def open_keys(self, pipeline: str, target: str | None = None) -> set[str]:
        """Return the keys of the records of a pipeline that have an open entry of the target."""
        if not self._path.exists():
            return set()
        with translate_errors(self._shown), closing(connect(self._path)) as connection:
            if not self._is_present(connection):
                return set()
            statement = self._statements.open_keys(has_target=self._has_target)
            return {
                str(key) for (key,) in connection.execute(statement, (pipeline, target, target))
            }

    def entries(self, pipeline: str, *, only_open: bool = False) -> Iterator[QuarantineEntry]:
        """Yield the entries of a pipeline, newest first. Rows that are damaged are skipped."""
        self.damaged = 0
        if not self._path.exists():
            return
        with translate_errors(self._shown), closing(connect(self._path)) as connection:
            if not self._is_present(connection):
                return
            select = self._statements.select(
                only_open=only_open, order="at DESC, rowid DESC", has_target=self._has_target
            )
            for row in connection.execute(select, (pipeline,)):
                entry = read_entry(row)
                if entry is None:
                    self.damaged += 1
                else:
                    yield entry

    def heads(self, pipeline: str, *, only_open: bool = False) -> Iterator[EntryHead]:
        """Yield the heads of the entries of a pipeline, newest first."""
        self.damaged = 0
        if not self._path.exists():
            return
        with translate_errors(self._shown), closing(connect(self._path)) as connection:
            if not self._is_present(connection):
                return
            select = self._statements.heads(
                place="rowid",
                only_open=only_open,
                order="at DESC, rowid DESC",
                has_target=self._has_target,
            )
            for place, *fields in connection.execute(select, (pipeline,)):
                yield EntryHead(place, *fields)

    def read(self, heads: Sequence[EntryHead]) -> list[QuarantineEntry]:
        """Return the entries with these heads. Rows that are damaged are skipped."""
        entries: list[QuarantineEntry] = []
        if not heads:
            return entries
        select = self._statements.read(condition="rowid = ?", has_target=self._has_target)
        with translate_errors(self._shown), closing(connect(self._path)) as connection:
            for head in heads:
                for row in connection.execute(select, (head.place,)):
                    if (entry := read_entry(row)) is None:
                        self.damaged += 1
                    else:
                        entries.append(entry)
        return entries

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            make_folder(self._path.parent, self._shown)
            self._connection = connect(self._path, writing=True)
        return self._connection

    def close(self) -> None:
        """Close the connection; a later write opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
