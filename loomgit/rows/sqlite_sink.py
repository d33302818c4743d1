"""A SQLite table as a destination: each batch in one transaction, visible at once."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from loomgit.domain.ports import LoadReceipt
from loomgit.domain.values import as_text
from loomgit.errors import UserError
from loomgit.rows.paths import make_folder, require_file, require_place
from loomgit.rows.sqlite import columns, connect, kind, quote, transaction, translated
from loomgit.rows.sqlite_values import (
    affinity,
    changes,
    common_type,
    schema_types,
    stored,
    value_type,
)
from loomgit.rows.stage import key_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.rows.query import Scalar
    from loomgit.rows.sqlite_values import Affinity

LEDGER = "_loom_loads"
_LEDGER = f"""
    CREATE TABLE IF NOT EXISTS {LEDGER} (
        run TEXT NOT NULL,
        target TEXT NOT NULL,
        part INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        loaded_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (run, target, part)
    ) WITHOUT ROWID
"""
_SEEN = "CREATE TEMP TABLE IF NOT EXISTS _loom_seen (key TEXT PRIMARY KEY) WITHOUT ROWID"


class Table:
    """A table of a SQLite database as something to write to; nothing is opened before `open`."""

    def __init__(
        self, path: Path, shown: str, name: str, key: tuple[str, ...], schema: JsonMapping | None
    ) -> None:
        self.path = path
        self.shown = shown
        self.name = name
        self.key = key
        self._types = schema_types(schema)
        self._made = False

    def check(self) -> None:
        """Raise where the table cannot be written or lacks a column that is to be loaded."""
        require_place(self.path, self.shown)
        self._refuse_reserved()
        if not self.path.exists():
            return
        require_file(self.path, self.shown)
        with translated(self.shown):
            connection = connect(self.path)
            try:
                if self._require_writable(connection):
                    wanted = dict.fromkeys((*self.key, *self._types))
                    if missing := self._missing(connection, wanted):
                        raise self._no_column(missing[0], {})
            finally:
                connection.close()

    def open(self) -> sqlite3.Connection:
        """Open the database for writing; it and its folder are created where they are missing."""
        self._refuse_reserved()
        require_place(self.path, self.shown)
        make_folder(self.path.parent, self.shown)
        with translated(self.shown):
            connection = connect(self.path, writing=True)
            try:
                self._require_writable(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def shape(
        self, connection: sqlite3.Connection, rows: Sequence[JsonObject], *, unique: bool
    ) -> None:
        """Create the table, as `rows` need it, or see that it has all their columns.

        `unique` makes the key the primary key. A table that was made here gets a column that only
        later rows have; one that was there before is never altered.
        """
        names = dict.fromkeys(name for row in rows for name in row)
        exists = self._require_writable(connection)
        missing = self._missing(connection, names) if exists else list(names)
        if not missing:
            return
        found = {name: {value_type(row.get(name)) for row in rows} for name in missing}
        if not exists:
            self._create(connection, found, unique=unique)
            return
        if not self._made:
            raise self._no_column(missing[0], found)
        for name in missing:
            connection.execute(
                f"ALTER TABLE {quote(self.name)} ADD COLUMN {self._column(name, found)}"
            )

    def _create(
        self, connection: sqlite3.Connection, found: Mapping[str, set[str]], *, unique: bool
    ) -> None:
        names = dict.fromkeys((*found, *self._types))
        parts = [self._column(name, found) for name in names]
        if unique and self.key:
            parts = [
                f"{part} NOT NULL" if name in self.key else part
                for name, part in zip(names, parts, strict=True)
            ]
            parts.append(f"PRIMARY KEY ({', '.join(map(quote, self.key))})")
        connection.execute(f"CREATE TABLE {quote(self.name)} ({', '.join(parts)})")
        self._made = True

    def _column(self, name: str, found: Mapping[str, set[str]]) -> str:
        kinds = found.get(name, set()) - {""}
        declared = self._types.get(name)
        if declared is None:
            declared = common_type(kinds)
        return f"{quote(name)} {declared}".rstrip()

    def _require_writable(self, connection: sqlite3.Connection) -> bool:
        """Whether the table is there; raises UserError where a view is in its place."""
        present = kind(connection, self.name)
        if present == "view":
            raise UserError(f"{self.shown}: '{self.name}' is a view", hint="name a table to write")
        return present is not None

    def _missing(self, connection: sqlite3.Connection, wanted: Iterable[str]) -> list[str]:
        present = {name.casefold() for name in columns(connection, self.name)}
        return [name for name in wanted if name.casefold() not in present]

    def _no_column(self, name: str, found: Mapping[str, set[str]]) -> UserError:
        return UserError(
            f"{self.shown}: table '{self.name}' has no column '{name}'",
            hint=f"ALTER TABLE {quote(self.name)} ADD COLUMN {self._column(name, found)}",
        )

    def _refuse_reserved(self) -> None:
        if self.name.lower() == LEDGER or self.name.lower().startswith("sqlite_"):
            raise UserError(f"{self.shown}: the table name '{self.name}' is reserved")


class SqliteSink:
    """Appends to a table, or upserts into it by key.

    `append`: a row of the ledger `_loom_loads` goes with each part, in its transaction; a part that
    is in the ledger is skipped and counted as it was, so `run` must be this pipeline's alone.
    `upsert`: needs no index on the key (without one the table is read once a batch), writes the
    fields that a row has and leaves the others, and touches only rows that differ: after the
    column's own conversions, so 1, 1.0 and, in an INTEGER column, "1" are the same.
    """

    def __init__(self, table: Table, *, mode: LoadMode, run: str) -> None:
        self._table = table
        self._append = mode == "append"
        self._run = run
        self._receipt = LoadReceipt()
        self._open: list[sqlite3.Connection] = []

    def check(self) -> None:
        """Raise where the table cannot be written or lacks a column that is to be loaded."""
        self._table.check()

    def load(self, part: int, rows: Sequence[JsonObject]) -> None:
        """Write one batch in one transaction."""
        if not rows:
            return
        connection = self._connection()
        with translated(self._table.shown, connection), transaction(connection):
            if self._append:
                receipt = self._appended(connection, part, rows)
            else:
                receipt = self._upserted(connection, rows)
        self._receipt += receipt

    def commit(self) -> LoadReceipt:
        """Close the database; the batches are visible already."""
        self._close()
        return self._receipt

    def abort(self) -> None:
        """Close the database; batches that were taken stay."""
        self._close()

    def _connection(self) -> sqlite3.Connection:
        if not self._open:
            self._open.append(self._table.open())
        return self._open[0]

    def _close(self) -> None:
        while self._open:
            self._open.pop().close()

    def _appended(
        self, connection: sqlite3.Connection, part: int, rows: Sequence[JsonObject]
    ) -> LoadReceipt:
        entry = (self._run, self._table.name, part)
        connection.execute(_LEDGER)
        done = connection.execute(
            f"SELECT rows FROM {LEDGER} WHERE run = ? AND target = ? AND part = ?",  # noqa: S608
            entry,
        ).fetchone()
        if done is not None:
            return LoadReceipt(inserted=int(done[0]))
        self._table.shape(connection, rows, unique=False)
        keeps_out = may_keep_out(connection, self._table.name)
        before = count_rows(connection, self._table.name) if keeps_out else 0
        insert(connection, self._table.name, rows, self._table.shown)
        after = count_rows(connection, self._table.name) if keeps_out else len(rows)
        inserted = after - before
        connection.execute(
            f"INSERT INTO {LEDGER} (run, target, part, rows) VALUES (?, ?, ?, ?)",  # noqa: S608
            (*entry, inserted),
        )
        return LoadReceipt(inserted=inserted, kept_out=len(rows) - inserted)

    def _upserted(self, connection: sqlite3.Connection, rows: Sequence[JsonObject]) -> LoadReceipt:
        key, shown = self._table.key, self._table.shown
        last = {key_text(row, key, shown): row for row in rows}
        self._table.shape(connection, rows, unique=True)
        connection.execute(_SEEN)
        fresh: list[JsonObject] = []
        again: list[JsonObject] = []  # a key of an earlier part was counted there
        for text, row in last.items():
            new = connection.execute(
                "INSERT OR IGNORE INTO _loom_seen VALUES (?) RETURNING 1", (text,)
            )
            (again if new.fetchone() is None else fresh).append(row)
        receipt = LoadReceipt(duplicates=len(rows) - len(fresh))
        for fields, group in by_fields(fresh).items():
            receipt += _upsert(connection, self._table, fields, group)
        for fields, group in by_fields(again).items():
            _upsert(connection, self._table, fields, group)
        return receipt


def by_fields(rows: Iterable[JsonObject]) -> dict[tuple[str, ...], list[JsonObject]]:
    """The rows grouped by the fields that they have."""
    groups: dict[tuple[str, ...], list[JsonObject]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return groups


def may_keep_out(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a table may leave out rows without an error: by a trigger, or `ON CONFLICT`."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE tbl_name = ? COLLATE NOCASE "
        "AND (type = 'trigger' OR sql LIKE '%ON CONFLICT%') LIMIT 1",
        (table,),
    )
    return found.fetchone() is not None


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    """The number of rows of a table."""
    (number,) = connection.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()  # noqa: S608
    return int(number)


def insert(
    connection: sqlite3.Connection, table: str, rows: Iterable[JsonObject], shown: str
) -> int:
    """Insert the rows in order and return their number; a field that a row lacks is null.

    Raises UserError for a value that its column would change.
    """
    affinities = {
        row[1].casefold(): affinity(row[2])
        for row in connection.execute(f"PRAGMA table_info({quote(table)})")
    }
    # Not the cursor's rowcount: before Python 3.13, sqlite3 does not recognize INSERT in a Turkish
    # locale, in which the lower case of I is not i.
    before = connection.total_changes
    for fields, group in groupby(rows, key=tuple):
        columns = [affinities.get(name.casefold(), "BLOB") for name in fields]
        connection.executemany(
            f"INSERT INTO {quote(table)} ({', '.join(map(quote, fields))}) "  # noqa: S608 - quoted
            f"VALUES ({', '.join('?' * len(fields))})",
            (_parameters(row, columns, shown) for row in group),
        )
    return connection.total_changes - before


def _parameters(row: JsonObject, columns: Sequence[Affinity], shown: str) -> list[Scalar]:
    parameters = []
    for (name, value), column in zip(row.items(), columns, strict=True):
        if changes(value, column):
            raise UserError(
                f"{shown}: column '{name}' is {column} and cannot hold {as_text(value)[:60]} "
                "without a change",
                hint="make it a TEXT column",
            )
        parameters.append(stored(value, column))
    return parameters


def _upsert(
    connection: sqlite3.Connection, table: Table, fields: tuple[str, ...], rows: list[JsonObject]
) -> LoadReceipt:
    """Upsert rows that all have `fields` and differ in their keys.

    They first go to a temporary table of the destination's own column types, so that both sides of
    a comparison went through the same conversions.
    """
    target, names = quote(table.name), [quote(name) for name in fields]
    chosen = ", ".join(names)
    connection.execute("DROP TABLE IF EXISTS temp._loom_incoming")
    connection.execute(
        f"CREATE TEMP TABLE _loom_incoming AS SELECT {chosen} FROM {target} LIMIT 0"  # noqa: S608
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
    keeps_out, kept_out = may_keep_out(connection, table.name), 0
    if others and matched:
        changes = ", ".join(f"{name} = _loom_incoming.{name}" for name in others)
        # The temporary column stands on the left: its collation counts, which is BINARY.
        differs = " OR ".join(f"_loom_incoming.{name} IS NOT {target}.{name}" for name in others)
        if keeps_out:
            (kept_out,) = connection.execute(
                f"SELECT count(*) FROM {target}, _loom_incoming WHERE {match} AND ({differs})"  # noqa: S608
            ).fetchone()
        updated = connection.execute(
            f"UPDATE {target} SET {changes} FROM _loom_incoming "  # noqa: S608
            f"WHERE {match} AND ({differs})"
        ).rowcount
        kept_out = max(0, kept_out - updated)
    count = len(rows) - duplicates
    if matched < count:
        connection.execute(
            f"INSERT INTO {target} ({chosen}) SELECT {chosen} FROM _loom_incoming "  # noqa: S608
            f"WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {match}) ORDER BY _loom_incoming.rowid"
        )
    unchanged, inserted = max(0, matched - updated - kept_out), count - matched
    if keeps_out:
        (there,) = connection.execute(
            f"SELECT count(*) FROM _loom_incoming WHERE EXISTS "  # noqa: S608
            f"(SELECT 1 FROM {target} WHERE {match})"
        ).fetchone()
        kept_out += inserted - (there - matched)
        inserted = there - matched
    return LoadReceipt(inserted, updated, unchanged, duplicates, kept_out)


def _drop_equal_keys(connection: sqlite3.Connection, table: Table) -> int:
    """Keep the last of the incoming rows whose keys the table's unique index takes for equal, as
    "a" and "A" under NOCASE; return the number of the others."""
    collations = _key_collations(connection, table)
    if not collations:
        return 0
    keys = ", ".join(f"{quote(name)} COLLATE {rule}" for name, rule in collations.items())
    return connection.execute(
        "DELETE FROM _loom_incoming WHERE rowid NOT IN "  # noqa: S608 - quoted
        f"(SELECT max(rowid) FROM _loom_incoming GROUP BY {keys})"
    ).rowcount


def _key_collations(connection: sqlite3.Connection, table: Table) -> dict[str, str]:
    """How the unique index on the key compares each column; empty where it compares bytes."""
    wanted = {name.casefold() for name in table.key}
    indexes = connection.execute(f"PRAGMA index_list({quote(table.name)})").fetchall()
    for _, index, unique, *_ in indexes:
        columns = {
            str(row[2]): str(row[4])
            for row in connection.execute(f"PRAGMA index_xinfo({quote(index)})")
            if row[5]  # part of the key
        }
        if unique and {name.casefold() for name in columns} == wanted:
            return {} if set(columns.values()) == {"BINARY"} else columns
    return {}
