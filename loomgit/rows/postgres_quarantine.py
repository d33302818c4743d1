"""The quarantine as a table of a PostgreSQL database."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import psycopg
from msgspec.structs import replace
from psycopg import errors

from loomgit.domain.quarantine import EntryHead, QuarantineStore
from loomgit.errors import UserError, WorldError
from loomgit.rows.postgres_catalog import find_table, load_columns
from loomgit.rows.postgres_connection import (
    connect,
    current_role,
    qualified,
    quote,
    translate_errors,
)
from loomgit.rows.quarantine import TARGET_COLUMN
from loomgit.rows.quarantine_table import (
    QuarantineStatements,
    entry_row,
    read_entry,
    require_quarantine_columns,
    resolution_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from loomgit.domain.quarantine import QuarantineEntry, Resolution
    from loomgit.rows.address import PostgresAddress
    from loomgit.rows.postgres_connection import Connection

    _Rows: TypeAlias = Callable[[bool], Sequence[tuple[str | None, ...]]]

_ROWS_PER_FETCH = 1000
_NUL, _ESCAPED_NUL = "\0", "\\u0000"  # PostgreSQL cannot store the character NUL in a text


class _Statement(Protocol):
    """Builds a statement for a table with or without the column for the target."""

    def __call__(self, *, has_target: bool) -> str: ...


class PostgresQuarantine(QuarantineStore):
    """A table of entries. The first entry creates the table."""

    def __init__(self, address: PostgresAddress) -> None:
        assert address.table is not None  # `open_quarantine_store` reports an address without one
        self.damaged = 0
        self._address = address
        self._table = address.table
        self._shown = str(address)
        self._sql = qualified(address.schema, address.table)
        self._statements = QuarantineStatements(self._sql, "%s")
        self._connection: Connection | None = None
        self._has_target = False  # whether the table has the column for the target

    def check(self) -> None:
        """Raise UserError or WorldError if the table cannot be written. Writes nothing."""
        with connect(self._address) as connection, translate_errors(self._shown, connection):
            (read_only,) = connection.execute("SHOW transaction_read_only").fetchone() or ("",)
            if read_only == "on":
                raise WorldError(f"{self._shown}: the server accepts no changes")
            if self._is_present(connection):
                privileges = (
                    "SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p "
                    "WHERE NOT has_table_privilege(to_regclass(%s), p)"
                )
                for (privilege,) in connection.execute(privileges, (self._sql,)).fetchall():
                    raise UserError(
                        f"{self._shown}: the role lacks the privilege {privilege} on table "
                        f"{self._sql}",
                        hint=f"GRANT SELECT, INSERT, UPDATE ON {self._sql} "
                        f"TO {current_role(connection)}",
                    )
            else:
                self._require_creatable(connection)

    def _is_present(self, connection: Connection) -> bool:
        """Return whether the table exists. Raises UserError if it is not a quarantine."""
        table = find_table(connection, self._address.schema, self._table)
        if table is None:
            return False
        if table[1] not in ("r", "p"):
            raise UserError(f"{self._shown}: '{self._table}' is not a table", hint="name a table")
        present = load_columns(connection, table[0])
        require_quarantine_columns(present, self._table, self._shown)
        self._has_target = TARGET_COLUMN in present
        return True

    def _require_creatable(self, connection: Connection) -> None:
        row = connection.execute(
            "SELECT nspname, has_schema_privilege(oid, 'CREATE') FROM pg_namespace "
            "WHERE nspname = coalesce(%s, current_schema())",
            (self._address.schema,),
        ).fetchone()
        if row is None:
            schema = self._address.schema
            raise UserError(
                f"{self._shown}: there is no schema for table {self._sql}",
                hint=None if schema is None else f"CREATE SCHEMA {quote(schema)}",
            )
        if row[1] is not True:
            raise UserError(
                f"{self._shown}: the role cannot create table '{self._table}' in schema '{row[0]}'",
                hint=f"GRANT CREATE ON SCHEMA {quote(str(row[0]))} TO {current_role(connection)}",
            )

    def add(self, entries: Sequence[QuarantineEntry]) -> None:
        """Insert the entries in one transaction. Raises UserError or WorldError."""
        if entries:
            self._write(
                self._statements.insert,
                lambda has_target: [entry_row(each, has_target=has_target) for each in entries],
                needs_target=any(entry.target for entry in entries),
            )

    def resolve(self, resolutions: Sequence[Resolution]) -> None:
        """Resolve the open entries of records in one transaction."""
        if resolutions:
            rows = list(map(resolution_row, resolutions))
            self._write(self._statements.resolve, lambda _: rows, needs_target=False)

    def _write(self, statement: _Statement, rows: _Rows, *, needs_target: bool) -> None:
        """Execute a statement for each row. A connection that was lost is opened again, once.

        If `needs_target` is true, the column for the target is added if the table lacks it.
        """
        is_used = self._connection is not None
        with translate_errors(self._shown):
            try:
                self._execute(statement, rows, needs_target=needs_target)
            except psycopg.OperationalError:
                self.close()
                if not is_used:
                    raise
                self._execute(statement, rows, needs_target=needs_target)

    def _execute(self, statement: _Statement, rows: _Rows, *, needs_target: bool) -> None:
        if self._connection is None:
            self._connection = connect(self._address)
            if not self._is_present(self._connection):
                self._create(self._connection)
                self._is_present(self._connection)
        if needs_target and not self._has_target:
            self._add_target(self._connection)
        has_target = self._has_target
        escaped = [tuple(map(_escape, row)) for row in rows(has_target)]
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(statement(has_target=has_target).encode(), escaped)

    def _add_target(self, connection: Connection) -> None:
        statement = self._statements.add_target()
        try:
            connection.execute(statement.encode())
        except errors.DuplicateColumn:  # another run has added it
            pass
        except errors.InsufficientPrivilege as fault:
            raise UserError(
                f"{self._shown}: table {self._sql} is of an older version of Loom, and the role "
                "cannot add the column for the target",
                hint=statement,
            ) from fault
        self._has_target = True

    def _create(self, connection: Connection) -> None:
        index = quote(f"{self._table[:50]}_open")
        with (
            suppress(errors.UniqueViolation, errors.DuplicateTable),  # another run creates it now
            connection.transaction(),
        ):
            connection.execute(self._statements.create().encode())
            # A hash index accepts keys of any length.
            connection.execute(
                f"CREATE INDEX {index} ON {self._sql} USING hash (record_key) "
                "WHERE resolved_at IS NULL".encode()
            )

    def open_keys(self, pipeline: str, target: str | None = None) -> set[str]:
        """Return the keys of the records of a pipeline that have an open entry of the target."""
        with connect(self._address) as connection, translate_errors(self._shown, connection):
            if not self._is_present(connection):
                return set()
            statement = self._statements.open_keys(has_target=self._has_target)
            rows = connection.execute(statement.encode(), (pipeline, target, target))
            return {_unescape(str(key)) for (key,) in rows}

    def entries(self, pipeline: str, *, only_open: bool = False) -> Iterator[QuarantineEntry]:
        """Yield the entries of a pipeline, newest first. Rows that are damaged are skipped."""
        self.damaged = 0
        with connect(self._address) as connection, translate_errors(self._shown, connection):
            if not self._is_present(connection):
                return
            select = self._statements.select(
                only_open=only_open, order="at DESC", has_target=self._has_target
            )
            with connection.transaction(), connection.cursor("loom_quarantine") as cursor:
                cursor.itersize = _ROWS_PER_FETCH
                cursor.execute(select.encode(), (pipeline,))
                for row in cursor:
                    entry = read_entry(row)
                    if entry is None:
                        self.damaged += 1
                    else:
                        yield replace(entry, record_key=_unescape(entry.record_key))

    def heads(self, pipeline: str, *, only_open: bool = False) -> Iterator[EntryHead]:
        """Yield the heads of the entries of a pipeline, newest first."""
        self.damaged = 0
        with connect(self._address) as connection, translate_errors(self._shown, connection):
            if not self._is_present(connection):
                return
            select = self._statements.heads(
                place="ctid::text",
                only_open=only_open,
                order="at DESC",
                has_target=self._has_target,
            )
            with connection.transaction(), connection.cursor("loom_quarantine") as cursor:
                cursor.itersize = _ROWS_PER_FETCH
                cursor.execute(select.encode(), (pipeline,))
                for place, name, key, stage, at, target in cursor:
                    yield EntryHead(
                        str(place),
                        str(name),
                        _unescape(str(key)),
                        str(stage),
                        str(at),
                        None if target is None else str(target),
                    )

    def read(self, heads: Sequence[EntryHead]) -> list[QuarantineEntry]:
        """Return the entries with these heads. Rows that are damaged are skipped.

        An entry that another process has resolved since is skipped, too.
        """
        entries: list[QuarantineEntry] = []
        if not heads:
            return entries
        condition = "ctid = %s::tid AND record_key = %s"
        select = self._statements.read(condition=condition, has_target=self._has_target)
        with connect(self._address) as connection, translate_errors(self._shown, connection):
            for head in heads:
                key = _escape(head.record_key)
                for row in connection.execute(select.encode(), (head.place, key)):
                    if (entry := read_entry(row)) is None:
                        self.damaged += 1
                    else:
                        entries.append(replace(entry, record_key=head.record_key))
        return entries

    def close(self) -> None:
        """Close the connection; a later write opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _escape(value: str | None) -> str | None:
    return value if value is None else value.replace(_NUL, _ESCAPED_NUL)


def _unescape(key: str) -> str:
    return key.replace(_ESCAPED_NUL, _NUL)
