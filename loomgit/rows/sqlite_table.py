"""SQLite tables as destinations: creates and checks tables, and finds rows that do not fit."""

from __future__ import annotations

from contextlib import closing
from types import MappingProxyType
from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.added_columns import common_fields, with_evolve_hint
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
    NUMERIC_AFFINITIES,
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

_MOST_FIELD_ORDERS = 1000  # limits the memory if the rows have many different fields
LOADED_PARTS_TABLE = "_loom_loads"  # the table in the user's database that lists the loaded batches


class DestinationTable:
    """A table of a SQLite database as a destination.

    If `adds_columns` is true, columns that the table lacks are added (`load.evolve: add`).

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
        adds_columns: bool = False,
    ) -> None:
        self.path = path
        self.shown = shown
        self.name = name
        self.key = key
        self._types = schema_types(schema)
        self._examples = examples
        self._adds_columns = adds_columns
        self.is_altered = False  # whether `shape` has created the table or added columns
        self._was_created = False
        self._affinities: dict[str, Affinity] | None = None  # None until they are read
        # For each order of field names: why the table cannot store them, and the fields whose
        # columns refuse or change some values.
        self._fields: dict[tuple[str, ...], tuple[str, list[tuple[str, Affinity]]]] = {}
        self._strict = False

    def check(self, *, updates: bool) -> None:
        """Raise UserError or WorldError if a load into the table would fail.

        A load fails if the table cannot be written, lacks a required column that the load does not
        add, or refuses all example rows. The required columns are the columns of the key, of the
        schema and of the example rows. `updates` is true if the load updates existing rows with the
        same key.
        """
        require_place(self.path, self.shown)
        self._reject_reserved_name()
        names = common_fields(self._examples)
        require_distinct(names, self.shown)
        if not self.path.exists():
            return
        require_file(self.path, self.shown)
        with translate_errors(self.shown):
            connection = connect(self.path)
            try:
                if self._require_writable(connection):
                    required = dict.fromkeys((*self.key, *self._types, *names))
                    missing = self._missing_columns(connection, required)
                    if missing and not self._adds_columns:
                        raise self._missing_column_error(connection, missing[0])
                    self._try_examples(connection, missing, updates=updates)
            finally:
                connection.close()

    def _try_examples(
        self, connection: sqlite3.Connection, missing: Sequence[str], *, updates: bool
    ) -> None:
        """Raise UserError if the table with the columns `missing` refuses all example rows."""
        for name in missing:
            if "\0" in name:
                raise UserError(f"{self.shown}: the column name '{name}' contains a NUL character")
        kinds = _value_types(missing, self._examples)
        additions = [self._add_column_statement(connection, name, kinds) for name in missing]
        refusals = []
        for example in self._examples:
            try:
                try_example(
                    connection,
                    self.name,
                    example,
                    key=self.key if updates else (),
                    shown=self.shown,
                    additions=additions,
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
            self._fields.clear()
        names = tuple(row)
        if names not in self._fields:
            if len(self._fields) >= _MOST_FIELD_ORDERS:
                self._fields.clear()
            self._fields[names] = self._check_names(names, self._affinities)
        reason, checked = self._fields[names]
        for name, column in checked:
            value = row[name]
            if would_change(value, column) or (
                self._strict and is_refused_by_strict(value, column)
            ):
                return loss_reason(name, column, value)
        return reason

    def _check_names(
        self, names: Sequence[str], affinities: Mapping[str, Affinity]
    ) -> tuple[str, list[tuple[str, Affinity]]]:
        """Return why the table cannot store a row with these fields, and the fields to check.

        The reason is empty if it can. Only numeric columns refuse or change values.
        """
        checked: list[tuple[str, Affinity]] = []
        folded_names: set[str] = set()
        for name in names:
            if "\0" in name:
                return f"the column name '{name}' contains a NUL character", checked
            folded = fold_case(name)
            if folded in folded_names:
                reason = f"the row has two fields '{name}' (SQL ignores upper and lower case)"
                return reason, checked
            folded_names.add(folded)
            column = affinities.get(folded)
            if column is None and affinities and not (self._was_created or self._adds_columns):
                return f"table '{self.name}' has no column '{name}'", checked
            if column in NUMERIC_AFFINITIES:
                checked.append((name, column))
        return "", checked

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

        If `unique` is true, a new table gets the key as its primary key. Missing columns are added
        if this object has created the table, or if `adds_columns` is true. Otherwise, the table is
        never altered: if it lacks a column, UserError is raised. `adds_columns` also adds the
        columns of the schema.
        """
        names = dict.fromkeys(name for row in rows for name in row)
        if self._adds_columns:
            names |= dict.fromkeys(self._types)
        exists = self._require_writable(connection)
        missing = self._missing_columns(connection, names)
        if not missing:
            return
        kinds = _value_types(missing, rows)
        self._affinities = None  # the columns change now, so `refusal` must read them again
        self.is_altered = True
        if not exists:
            self._create(connection, kinds, unique=unique)
            return
        if not self._was_created and not self._adds_columns:
            raise self._missing_column_error(connection, missing[0], kinds)
        for name in missing:
            connection.execute(self._add_column_statement(connection, name, kinds))

    def forget_changes(self) -> None:
        """Forget what `shape` has changed, because the changes were rolled back."""
        self._affinities = None
        self.is_altered = self._was_created = False

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

    def _add_column_statement(
        self, connection: sqlite3.Connection, name: str, kinds: Mapping[str, set[str]]
    ) -> str:
        definition = self._column_definition(name, kinds)
        if definition == quote(name) and is_strict(connection, self.name):
            definition += " ANY"  # a STRICT table needs a type; ANY stores every value unchanged
        return f"ALTER TABLE {quote(self.name)} ADD COLUMN {definition}"

    def _require_writable(self, connection: sqlite3.Connection) -> bool:
        """Return whether the table exists. Raises UserError if the name belongs to a view."""
        kind = object_kind(connection, self.name)
        if kind == "view":
            raise UserError(
                f"{self.shown}: '{self.name}' is a view", hint="use the name of a table"
            )
        return kind is not None

    def _missing_columns(self, connection: sqlite3.Connection, names: Iterable[str]) -> list[str]:
        """Return the names that are not columns of the table, each once. Case is ignored."""
        present = {fold_case(name) for name in columns(connection, self.name)}
        missing = []
        for name in names:
            if fold_case(name) not in present:
                present.add(fold_case(name))
                missing.append(name)
        return missing

    def _missing_column_error(
        self,
        connection: sqlite3.Connection,
        name: str,
        kinds: Mapping[str, set[str]] = MappingProxyType({}),
    ) -> UserError:
        return UserError(
            f"{self.shown}: table '{self.name}' has no column '{name}'",
            hint=with_evolve_hint(self._add_column_statement(connection, name, kinds)),
        )

    def _reject_reserved_name(self) -> None:
        if self.name.lower() == LOADED_PARTS_TABLE or self.name.lower().startswith("sqlite_"):
            raise UserError(f"{self.shown}: the table name '{self.name}' is reserved")


def _value_types(names: Iterable[str], rows: Sequence[JsonObject]) -> dict[str, set[str]]:
    """Return the types of the values that the rows have in each column. Null has an empty type."""
    return {name: {value_type(row.get(name)) for row in rows} for name in names}
