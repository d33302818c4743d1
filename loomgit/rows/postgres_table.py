"""PostgreSQL tables as destinations: creates and checks tables, and finds rows that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError, WorldError
from loomgit.rows.added_columns import common_fields, with_evolve_hint
from loomgit.rows.postgres_catalog import find_table, load_columns, unique_keys
from loomgit.rows.postgres_columns import schema_types, type_of_values
from loomgit.rows.postgres_connection import (
    connect,
    current_role,
    qualified,
    quote,
    translate_errors,
)
from loomgit.rows.postgres_evolution import (
    add_columns,
    addition_fault,
    alteration_fault,
    name_fault,
)
from loomgit.rows.postgres_ledger import LEDGER, create_ledger, upgrade_statement
from loomgit.rows.postgres_privileges import require_creatable, require_privileges
from loomgit.rows.postgres_progress import PostgresProgressTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.values import Json, JsonMapping, JsonObject
    from loomgit.rows.address import PostgresAddress
    from loomgit.rows.postgres_columns import Column
    from loomgit.rows.postgres_connection import Connection

_TABLES = ("r", "p")  # PostgreSQL's relkind of a table, and of a partitioned table
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_PRIVILEGES = {
    "upsert": ("SELECT", "INSERT", "UPDATE"),
    "append": ("INSERT",),
    "replace": ("SELECT", "INSERT", "DELETE"),
}


class PostgresTable:
    """A table of a PostgreSQL database as a destination.

    `key` are the fields that identify a row. `examples` are rows such as those to load. The types
    in `schema` (a JSON Schema) determine the columns of a new table. If `adds_columns` is true,
    columns that an existing table lacks are added (`load.evolve: add`). If `deletes_rejected` is
    true, the rows of rejected records are deleted (`load.on_rejected: delete`).
    """

    def __init__(
        self,
        address: PostgresAddress,
        *,
        mode: LoadMode,
        key: tuple[str, ...],
        schema: JsonMapping | None,
        examples: Sequence[JsonObject],
        adds_columns: bool = False,
        deletes_rejected: bool = False,
    ) -> None:
        assert address.table is not None  # `open_sink` reports an address without a table
        self.shown = str(address)
        self.name = address.table
        self.schema = address.schema
        self.key = key
        self.deletes_rejected = deletes_rejected
        self.sql = qualified(address.schema, address.table)
        self.ledger = qualified(address.loom_schema or address.schema, LEDGER)
        self._address = address
        self._mode = mode
        self._types = schema_types(schema)
        self._examples = examples
        self._adds_columns = adds_columns
        self.is_altered = False  # whether `shape` has created the table or added columns
        self._was_created = False
        self._columns: dict[str, Column] | None = None  # None until they are read
        self._alteration_fault = ""  # why the existing table cannot get more columns

    def open(self) -> Connection:
        """Open a connection for writing."""
        return connect(self._address)

    def check(self) -> None:
        """Raise UserError or WorldError if a load into the table would fail. Writes nothing.

        A load fails if the server is read-only, if the role lacks a privilege, if an upsert finds
        no unique key, or if the table cannot store the example rows. If the load must add a column,
        the role must own the table.
        """
        if self.name.startswith("_loom_"):
            raise UserError(f"{self.shown}: the table name '{self.name}' is reserved")
        fields = common_fields(self._examples)
        for name in fields:
            if fault := name_fault(name):
                raise UserError(f"{self.shown}: {fault}", hint="rename the field")
        with self.open() as connection, translate_errors(self.shown, connection):
            (read_only,) = connection.execute("SHOW transaction_read_only").fetchone() or ("",)
            if read_only == "on":
                raise WorldError(
                    f"{self.shown}: the server accepts no changes",
                    hint="it is a standby, or default_transaction_read_only is on",
                )
            table = self._find(connection)
            self._require_privileges(connection, table)
            if table is not None:
                columns = self.columns(connection)
                names = dict.fromkeys((*self.key, *self._types, *fields))
                self._require_columns(columns, names)
                self._require_key(connection, table)
                self._require_no_cascade(connection, table)
                self._try_examples(columns)

    def may_change_rows(self, connection: Connection) -> bool:
        """Whether the table has a trigger or a rule, which can change or drop a row."""
        row = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass(%s) "
            "AND NOT tgisinternal) OR EXISTS (SELECT 1 FROM pg_rewrite "
            "WHERE ev_class = to_regclass(%s))",
            (self.sql, self.sql),
        ).fetchone()
        return row == (True,)

    def is_partitioned(self, connection: Connection) -> bool:
        """Whether the rows of the table are in partitions."""
        found = find_table(connection, self._address.schema, self.name)
        return found is not None and found[1] == "p"

    def is_plain(self, connection: Connection) -> bool:
        """Whether the table has no partitions and no active row level security."""
        row = connection.execute(
            "SELECT relkind = 'r' AND NOT row_security_active(oid) FROM pg_class "
            "WHERE oid = to_regclass(%s)",
            (self.sql,),
        ).fetchone()
        return row == (True,)

    def columns(self, connection: Connection) -> Mapping[str, Column]:
        """Return the columns of the table by name; empty if there is no table. Cached."""
        if self._columns is None:
            table = self._find(connection)
            self._columns = {} if table is None else load_columns(connection, table)
            if table is not None and self._adds_columns:
                self._alteration_fault = alteration_fault(connection, table)
        return self._columns

    def refusal(self, connection: Connection, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly.

        The reason is empty if the table can store the row, or does not exist yet. Constraints and
        triggers are not checked.
        """
        self.columns(connection)
        return self._refusal(row)

    def _refusal(self, row: JsonObject) -> str:
        columns = self._columns
        assert columns is not None  # `columns` has read them
        for name, value in row.items():
            column = columns.get(name)
            reason = self._missing_column_fault(name) if column is None else column.refusal(value)
            if reason:
                return reason
        return ""

    def _missing_column_fault(self, name: str) -> str:
        """Return the reason why a row with a value for a missing column is refused, or ""."""
        if not self._columns or self._was_created:
            return name_fault(name)
        if not self._adds_columns:
            return f"table '{self.name}' has no column '{name}'"
        if self._alteration_fault:
            return f"table '{self.name}' has no column '{name}', and {self._alteration_fault}"
        return addition_fault(name, self._columns)

    def refusal_at_rest(self, row: JsonObject) -> str:
        """Return the same reason as `refusal`. The caller needs no open connection.

        To read the columns of the table, the first call opens and closes a connection.
        """
        if self._columns is None:
            with self.open() as connection, translate_errors(self.shown):
                self.columns(connection)
        return self._refusal(row)

    def shape(self, connection: Connection, rows: Sequence[JsonObject]) -> Mapping[str, Column]:
        """Create the table for `rows`, or ensure that it has all their columns. Return the columns.

        Missing columns are added if this object has created the table, or if `adds_columns` is
        true. Otherwise, the table is never altered: if it lacks a column, UserError is raised.
        `adds_columns` also adds the columns of the schema.
        """
        columns = self.columns(connection)
        names = self._names(rows)
        if self._adds_columns:
            names = [*dict.fromkeys((*names, *self._types))]
        missing = [name for name in names if name not in columns]
        if not missing:
            return columns
        if columns and not self._was_created:
            self._require_columns(columns, names)
        definitions = self._definitions(rows, names if not columns else missing)
        if columns:
            add_columns(connection, self.sql, definitions)
        else:
            if self.key and self._mode != "append":
                definitions.append(f"PRIMARY KEY ({', '.join(map(quote, self.key))})")
            connection.execute(f"CREATE TABLE {self.sql} ({', '.join(definitions)})")
            self._was_created = True
        self._columns = None
        self.is_altered = True
        return self.columns(connection)

    def forget_changes(self) -> None:
        """Forget what `shape` has changed, because the changes were rolled back."""
        self._columns = None
        self.is_altered = self._was_created = False

    def create_ledger(self, connection: Connection) -> None:
        """Create the table that lists the loaded batches, if it does not exist."""
        schema = self._address.loom_schema or self._address.schema
        create_ledger(connection, schema, self.ledger)

    def progress_table(self) -> PostgresProgressTable:
        """Return the table with the progress of incremental pipelines."""
        return PostgresProgressTable(self._address)

    @staticmethod
    def _names(rows: Iterable[JsonObject]) -> list[str]:
        return list(dict.fromkeys(name for row in rows for name in row))

    def _definitions(self, rows: Sequence[JsonObject], names: Sequence[str]) -> list[str]:
        """Return the definitions of new columns. Types come from the schema, else from `rows`."""
        definitions = []
        for name in dict.fromkeys((*names, *(() if self._columns else self._types))):
            values: list[Json] = [row.get(name) for row in rows]
            definitions.append(f"{quote(name)} {self._types.get(name) or type_of_values(values)}")
        return definitions

    def _find(self, connection: Connection) -> int | None:
        """Return the object id of the table, or None. Raises UserError for a view."""
        found = find_table(connection, self._address.schema, self.name)
        if found is not None and found[1] not in _TABLES:
            raise UserError(
                f"{self.shown}: '{self.name}' is {_KINDS[found[1]]}", hint="use the name of a table"
            )
        return None if found is None else found[0]

    def _require_columns(self, columns: Mapping[str, Column], names: Iterable[str]) -> None:
        """Raise UserError if the table lacks a column that the load cannot add."""
        present = [*columns]
        for name in names:
            if name in columns:
                continue
            (definition,) = self._definitions(self._examples, [name])[:1]
            statement = f"ALTER TABLE {self.sql} ADD COLUMN {definition}"
            missing = f"{self.shown}: table '{self.name}' has no column '{name}'"
            if not self._adds_columns:
                raise UserError(missing, hint=with_evolve_hint(statement))
            if fault := self._alteration_fault:
                hint = f"the owner of the table can run {statement}"
                raise UserError(f"{missing}, and {fault}", hint=hint)
            if fault := addition_fault(name, present):
                raise UserError(f"{self.shown}: {fault}", hint="rename the field or the column")
            present.append(name)

    def _require_key(self, connection: Connection, table: int) -> None:
        if self._mode != "upsert" or not self.key:
            return
        if frozenset(self.key) not in unique_keys(connection, table):
            names = ", ".join(map(quote, self.key))
            missing = [name for name in self.key if name not in self.columns(connection)]
            definitions = self._definitions(self._examples, missing)[: len(missing)]
            additions = [f"ADD COLUMN {definition}" for definition in definitions]
            raise UserError(
                f"{self.shown}: an upsert needs a unique key on {names} in table '{self.name}'",
                hint=f"ALTER TABLE {self.sql} {', '.join([*additions, f'ADD UNIQUE ({names})'])}",
            )

    def _require_no_cascade(self, connection: Connection, table: int) -> None:
        """Raise UserError if a load that deletes rows would change rows of other tables."""
        if self._mode != "replace" and not self.deletes_rejected:
            return
        row = connection.execute(
            "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' "
            "AND confrelid = %s AND confdeltype IN ('c', 'n', 'd') LIMIT 1",
            (table,),
        ).fetchone()
        if row is not None:
            setting, hint = "mode: replace", "use mode: upsert"
            if self._mode != "replace":
                setting, hint = "on_rejected: delete", "use on_rejected: keep"
            raise UserError(
                f"{self.shown}: {setting} deletes rows of '{self.name}', which "
                f"changes rows of table {row[0]} (a foreign key with ON DELETE)",
                hint=hint,
            )

    def _require_privileges(self, connection: Connection, table: int | None) -> None:
        if table is None:
            require_creatable(connection, self._address.schema, f"table '{self.name}'", self.shown)
        else:
            privileges = (*_PRIVILEGES[self._mode], *(["DELETE"] if self.deletes_rejected else []))
            require_privileges(connection, table, self.sql, privileges, self.shown)
        schema = self._address.loom_schema or self._address.schema
        ledger = find_table(connection, schema, LEDGER)
        if ledger is None:
            require_creatable(connection, schema, f"table '{LEDGER}'", self.shown)
        else:
            needed = ("SELECT", "INSERT")
            require_privileges(connection, ledger[0], self.ledger, needed, self.shown)
            self._require_upgradable(connection, ledger[0])
        temporary = "SELECT has_database_privilege(current_database(), 'TEMP')"
        if self._mode == "upsert" and connection.execute(temporary).fetchone() != (True,):
            database = quote(connection.info.dbname)
            raise UserError(
                f"{self.shown}: the role lacks the privilege TEMPORARY on the database",
                hint=f"GRANT TEMPORARY ON DATABASE {database} TO {current_role(connection)}",
            )

    def _require_upgradable(self, connection: Connection, ledger: int) -> None:
        """Raise UserError if the ledger lacks columns that the role cannot add."""
        statement = upgrade_statement(connection, ledger, self.ledger)
        if not statement:
            return
        owner = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s"
        if connection.execute(owner, (ledger,)).fetchone() != (True,):
            raise UserError(
                f"{self.shown}: table {self.ledger} is of an older version of Loom, and the role "
                "does not own it",
                hint=f"the owner of the table can run {statement}",
            )

    def _try_examples(self, columns: Mapping[str, Column]) -> None:
        """Raise UserError if the table refuses all example rows, or requires a missing column.

        A column is missing if no example contains it, and the table sets no value either.
        Null in an example stands for an unknown value.
        """
        reasons = []
        for example in self._examples:
            known = [(columns[name], value) for name, value in example.items() if name in columns]
            reasons.append(next(filter(None, (column.refusal(v) for column, v in known)), ""))
        if reasons and all(reasons):
            raise UserError(
                f"{self.shown}: {reasons[0]}", hint="change the type of the column or of the field"
            )
        names = self._names(self._examples)
        for name, column in columns.items() if names else ():
            needed = column.not_null and not column.has_default and not column.generated
            if needed and name not in names:
                raise UserError(
                    f"{self.shown}: table '{self.name}' needs a value in column '{name}' (NOT "
                    "NULL), and the pipeline does not set it",
                    hint="add the field to load.include or transform.output, or give the column a "
                    "default",
                )
