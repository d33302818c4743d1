"""SQLite tables as destinations: creates and checks tables, and finds rows that do not fit."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.paths import make_folder, require_file, require_place
from loomgit.rows.sqlite import (
    columns,
    connect,
    fold_case,
    object_kind,
    quote,
    require_distinct,
    translate_errors,
)
from loomgit.rows.sqlite_example import try_example
from loomgit.rows.sqlite_values import (
    column_affinities,
    common_type,
    is_refused_by_strict,
    is_strict,
    loss_reason,
    schema_types,
    value_type,
    would_change,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.rows.sqlite_values import Affinity

LOADED_PARTS_TABLE = "_loom_loads"  # the table in the user's database that lists the loaded batches


class DestinationTable:
    """A table of a SQLite database as a destination.

    The object opens the database only in `check`, `refusal_at_rest` and `open`.
    """

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
        self._was_created = False
        self._affinities: dict[str, Affinity] | None = None  # None until they are read
        self._strict = False

    def check(self, *, updates: bool) -> None:
        """Raise UserError or WorldError if a load into the table would fail.

        A load fails if the table cannot be written, lacks a required column, or refuses all
        example rows. The required columns are the columns of the key, of the schema and of the
        example rows. `updates` is true if the load updates existing rows with the same key.
        """
        require_place(self.path, self.shown)
        self._reject_reserved_name()
        names = dict.fromkeys(name for example in self._examples for name in example)
        require_distinct(names, self.shown)
        if not self.path.exists():
            return
        require_file(self.path, self.shown)
        with translate_errors(self.shown):
            connection = connect(self.path)
            try:
                if self._require_writable(connection):
                    required = dict.fromkeys((*self.key, *self._types, *names))
                    if missing := self._missing_columns(connection, required):
                        raise self._missing_column_error(missing[0], {})
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
        """Return the reason why the table cannot store the row exactly.

        The reason is empty if the table can store the row, or does not exist yet. The first call
        reads the columns of the table. For later calls, `connection` may be None.
        """
        if self._affinities is None:
            assert connection is not None
            self._affinities = column_affinities(connection, self.name)
            self._strict = is_strict(connection, self.name)
        for name, value in row.items():
            if "\0" in name:
                return f"the column name '{name}' contains a NUL character"
            column = self._affinities.get(fold_case(name))
            if column is None:
                if self._affinities and not self._was_created:
                    return f"table '{self.name}' has no column '{name}'"
                continue
            if would_change(value, column) or (
                self._strict and is_refused_by_strict(value, column)
            ):
                return loss_reason(name, column, value)
        return ""

    def refusal_at_rest(self, row: JsonObject) -> str:
        """Return the reason that `refusal` would return. The caller needs no open connection.

        If the columns of the table are not known yet, this method opens the database, reads the
        columns and closes the database.
        """
        if self._affinities is None:
            if not self.path.exists():
                return ""
            with translate_errors(self.shown), closing(connect(self.path)) as connection:
                return self.refusal(connection, row)
        return self.refusal(None, row)

    def open(self) -> sqlite3.Connection:
        """Open the database for writing, and create the database and its folder if necessary.

        Raises UserError if the table name is reserved or belongs to a view.
        """
        self._reject_reserved_name()
        require_place(self.path, self.shown)
        make_folder(self.path.parent, self.shown)
        with translate_errors(self.shown):
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
        """Create the table for `rows`, or ensure that the existing table has all their columns.

        If `unique` is true, a new table gets the key as its primary key. If this object has created
        the table, missing columns are added. Any other table is never altered: if it lacks a
        column, UserError is raised.
        """
        names = dict.fromkeys(name for row in rows for name in row)
        exists = self._require_writable(connection)
        missing = self._missing_columns(connection, names) if exists else list(names)
        if not missing:
            return
        kinds = {name: {value_type(row.get(name)) for row in rows} for name in missing}
        self._affinities = None  # the columns change now, so `refusal` must read them again
        if not exists:
            self._create(connection, kinds, unique=unique)
            return
        if not self._was_created:
            raise self._missing_column_error(missing[0], kinds)
        for name in missing:
            connection.execute(self._add_column_statement(name, kinds))

    def _create(
        self, connection: sqlite3.Connection, kinds: Mapping[str, set[str]], *, unique: bool
    ) -> None:
        names = dict.fromkeys((*kinds, *self._types))
        definitions = [self._column_definition(name, kinds) for name in names]
        if unique and self.key:
            definitions = [
                f"{definition} NOT NULL" if name in self.key else definition
                for name, definition in zip(names, definitions, strict=True)
            ]
            definitions.append(f"PRIMARY KEY ({', '.join(map(quote, self.key))})")
        connection.execute(f"CREATE TABLE {quote(self.name)} ({', '.join(definitions)})")
        self._was_created = True

    def _column_definition(self, name: str, kinds: Mapping[str, set[str]]) -> str:
        column_kinds = kinds.get(name, set()) - {""}
        declared = self._types.get(name)
        if declared is None:
            declared = common_type(column_kinds)
        return f"{quote(name)} {declared}".rstrip()

    def _add_column_statement(self, name: str, kinds: Mapping[str, set[str]]) -> str:
        return f"ALTER TABLE {quote(self.name)} ADD COLUMN {self._column_definition(name, kinds)}"

    def _require_writable(self, connection: sqlite3.Connection) -> bool:
        """Return whether the table exists. Raises UserError if the name belongs to a view."""
        kind = object_kind(connection, self.name)
        if kind == "view":
            raise UserError(
                f"{self.shown}: '{self.name}' is a view", hint="use the name of a table"
            )
        return kind is not None

    def _missing_columns(self, connection: sqlite3.Connection, names: Iterable[str]) -> list[str]:
        present = {fold_case(name) for name in columns(connection, self.name)}
        return [name for name in names if fold_case(name) not in present]

    def _missing_column_error(self, name: str, kinds: Mapping[str, set[str]]) -> UserError:
        return UserError(
            f"{self.shown}: table '{self.name}' has no column '{name}'",
            hint=self._add_column_statement(name, kinds),
        )

    def _reject_reserved_name(self) -> None:
        if self.name.lower() == LOADED_PARTS_TABLE or self.name.lower().startswith("sqlite_"):
            raise UserError(f"{self.shown}: the table name '{self.name}' is reserved")
