"""A SQLite table as something to write to: its columns, and what it would refuse."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.paths import make_folder, require_file, require_place
from loomgit.rows.sqlite import (
    columns,
    connect,
    fold_case,
    kind,
    quote,
    require_distinct,
    translated,
)
from loomgit.rows.sqlite_example import try_example
from loomgit.rows.sqlite_values import (
    changes,
    column_affinities,
    common_type,
    is_mismatch,
    is_strict,
    schema_types,
    unfit,
    value_type,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.rows.sqlite_values import Affinity

LEDGER = "_loom_loads"  # the table of parts that were loaded, beside the user's


class Table:
    """A table of a SQLite database as something to write to; nothing is opened before `open`."""

    def __init__(
        self,
        path: Path,
        shown: str,
        name: str,
        key: tuple[str, ...],
        schema: JsonMapping | None,
        *,
        examples: Sequence[JsonObject],
    ) -> None:
        self.path = path
        self.shown = shown
        self.name = name
        self.key = key
        self._types = schema_types(schema)
        self._examples = examples
        self._made = False
        self._affinities: dict[str, Affinity] | None = None  # known since the last change
        self._strict = False

    def check(self, *, updates: bool) -> None:
        """Raise if the table cannot be written, lacks a column of the rows, or would refuse all of
        the examples. `updates`: rows with existing keys are updated."""
        require_place(self.path, self.shown)
        self._refuse_reserved()
        names = dict.fromkeys(name for example in self._examples for name in example)
        require_distinct(names, self.shown)
        if not self.path.exists():
            return
        require_file(self.path, self.shown)
        with translated(self.shown):
            connection = connect(self.path)
            try:
                if self._require_writable(connection):
                    wanted = dict.fromkeys((*self.key, *self._types, *names))
                    if missing := self._missing(connection, wanted):
                        raise self._no_column(missing[0], {})
                    self._try_examples(connection, updates=updates)
            finally:
                connection.close()

    def _try_examples(self, connection: sqlite3.Connection, *, updates: bool) -> None:
        refusals = []
        for example in self._examples:
            try:
                try_example(
                    connection,
                    self.name,
                    example,
                    key=self.key if updates else (),
                    shown=self.shown,
                )
            except UserError as refusal:
                refusals.append(refusal)
        if refusals and len(refusals) == len(self._examples):
            raise refusals[0]

    def refusal(self, connection: sqlite3.Connection | None, row: JsonObject) -> str:
        """Why the table cannot hold the row as it is; empty where it can, or is not there yet.

        `connection` may be None once the columns are known.
        """
        if self._affinities is None:
            assert connection is not None
            self._affinities = column_affinities(connection, self.name)
            self._strict = is_strict(connection, self.name)
        for name, value in row.items():
            if "\0" in name:
                return f"the name of a column has a NUL character: '{name}'"
            column = self._affinities.get(fold_case(name))
            if column is None:
                if self._affinities and not self._made:
                    return f"table '{self.name}' has no column '{name}'"
                continue
            if changes(value, column) or (self._strict and is_mismatch(value, column)):
                return unfit(name, column, value)
        return ""

    def refusal_at_rest(self, row: JsonObject) -> str:
        """As `refusal`, where nobody has the database open; it is opened once."""
        if self._affinities is None:
            if not self.path.exists():
                return ""
            with translated(self.shown), closing(connect(self.path)) as connection:
                return self.refusal(connection, row)
        return self.refusal(None, row)

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
        self._affinities = None  # they are about to change
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
        present = {fold_case(name) for name in columns(connection, self.name)}
        return [name for name in wanted if fold_case(name) not in present]

    def _no_column(self, name: str, found: Mapping[str, set[str]]) -> UserError:
        return UserError(
            f"{self.shown}: table '{self.name}' has no column '{name}'",
            hint=f"ALTER TABLE {quote(self.name)} ADD COLUMN {self._column(name, found)}",
        )

    def _refuse_reserved(self) -> None:
        if self.name.lower() == LEDGER or self.name.lower().startswith("sqlite_"):
            raise UserError(f"{self.shown}: the table name '{self.name}' is reserved")
