"""Parquet destinations: writes rows as JSON lines, which DuckDB then converts to Parquet."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson

from loomgit.errors import UserError
from loomgit.rows.csv_files import require_names
from loomgit.rows.duck import (
    connect,
    file_literal,
    json_lines_reader,
    literal,
    parquet_reader,
    select,
)
from loomgit.rows.json_files import is_same_data, require_exact
from loomgit.rows.layouts import StoredRow
from loomgit.rows.parquet_types import (
    LONG,
    VERIFIED_TYPES,
    common_type,
    holds_exactly,
    kind_of,
    normalize_moment,
)
from loomgit.rows.query import BoundQuery

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from duckdb import DuckDBPyConnection

    from loomgit.domain.values import Json, JsonMapping, JsonObject
    from loomgit.rows.layouts import RowWriter

_UNTYPED = "loom_untyped"  # the key of the metadata that lists columns without a known type
_OF_SCHEMA = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "object": "JSON",
    "array": "JSON",
}


class ParquetLayout:
    """A Parquet file as a destination.

    The column types of an existing file do not change. In a new file, a column has the type that
    `load.schema` defines. If the schema does not define a type, the values of all rows determine
    it: BOOLEAN, BIGINT, UBIGINT, DECIMAL(20,0), DOUBLE, VARCHAR, a list of one of these types, or
    JSON for all other values. A value is refused if its column cannot store it exactly.

    If a column has no value (or only empty lists), its type is not known. The file then has a text
    column, and its metadata say that a later load may change the type.
    """

    def __init__(self, path: Path, shown: str, *, root: Path, schema: JsonMapping | None) -> None:
        self._path = path
        self._shown = shown
        self._root = root
        self._schema = schema
        self._column_types: dict[str, str] | None = None  # None until the first use

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the existing file."""
        with connect(self._root, self._shown) as connection:
            return tuple(self._described(connection))

    def _described(self, connection: DuckDBPyConnection) -> dict[str, str]:
        description = connection.execute(
            f"DESCRIBE SELECT * FROM {parquet_reader(self._path)}"  # noqa: S608
        ).fetchall()
        return {str(row[0]): str(row[1]) for row in description}

    def _existing_types(self) -> dict[str, str]:
        """Return the types of the columns of the existing file that a load must not change."""
        with connect(self._root, self._shown) as connection:
            types = self._described(connection)
            entries = connection.execute(
                f"SELECT value FROM parquet_kv_metadata({file_literal(self._path)}) "  # noqa: S608
                f"WHERE key = {literal(_UNTYPED)}"
            ).fetchall()
        untyped = {name for (names,) in entries for name in orjson.loads(names)}
        return {name: kind for name, kind in types.items() if name not in untyped}

    def held(self, added: Sequence[str] = ()) -> Iterator[StoredRow]:
        """Yield the rows as JSON values, extended with null in the columns `added`.

        `raw` is empty, because a Parquet file does not store each row in its own bytes.
        """
        with connect(self._root, self._shown) as connection:
            query = BoundQuery(f"FROM {parquet_reader(self._path)}")
            for row in select(connection, query, self._shown):
                yield StoredRow(require_exact(row) | dict.fromkeys(added), b"")

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Return a copy of `old` with the values from `new`, or None if no value changes.

        Equal values can have different notations: 1 and 1.0 are equal, and so are two texts for the
        same time in a date or time column. Raises UserError if the file has no column for a field.
        """
        require_names(new, tuple(old), self._shown)
        types = self._types(fresh=False)
        if all(_same_data(old[name], value, types.get(name, "")) for name, value in new.items()):
            return None
        return old | new

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """Return the reason why the file cannot store the row exactly, or "" if no reason is known.

        If `fresh` is true, the column types come from `load.schema`. Otherwise, they come from the
        existing file, and from `load.schema` for other columns. A column whose type is not known
        yet is not checked.
        """
        types = self._types(fresh=fresh)
        for name, value in row.items():
            column_type = types.get(name)
            if (
                value is not None
                and column_type is not None
                and not holds_exactly(value, column_type)
            ):
                return f"column '{name}' is {column_type} and cannot hold {_render(value)}"
        return ""

    def _types(self, *, fresh: bool) -> dict[str, str]:
        """Return the known column types by name, from a cache that the first call fills."""
        if self._column_types is None:
            existing_types = {} if fresh else self._existing_types()
            self._column_types = _schema_types(self._schema) | existing_types
        return self._column_types

    def key_value(self, value: Json) -> Json:
        """Return the value, unchanged."""
        return value

    @contextmanager
    def writer(self, temporary: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Yield a writer for a JSON lines file, and then convert this file to Parquet.

        The JSON lines file is in the folder of `temporary`, and is deleted at the end. Raises
        UserError if the Parquet file would not store a value exactly.
        """
        types = _schema_types(self._schema) | ({} if fresh else self._existing_types())
        lines = temporary.with_suffix(".jsonl")
        try:
            with lines.open("xb") as file:
                writer = _TypedWriter(file, types, fields, self._shown)
                yield writer
            column_types = writer.types()
            self._convert(lines, temporary, column_types, writer.untyped())
            self._compare(
                lines, temporary, [n for n, kind in column_types.items() if _is_compared(kind)]
            )
        finally:
            lines.unlink(missing_ok=True)

    def _convert(
        self, lines: Path, temporary: Path, types: Mapping[str, str], untyped: Sequence[str]
    ) -> None:
        metadata = ""
        if untyped:
            metadata = f", KV_METADATA {{{_UNTYPED}: {literal(orjson.dumps(untyped).decode())}}}"
        with connect(self._root, self._shown) as connection:
            connection.execute(
                f"COPY (FROM {json_lines_reader(lines, types)}) "
                f"TO {literal(str(temporary))} (FORMAT parquet{metadata})"
            )

    def _compare(self, lines: Path, temporary: Path, names: Sequence[str]) -> None:
        """Raise UserError if the Parquet file and the JSON lines differ in a column in `names`."""
        if not names:
            return
        with connect(self._root, self._shown) as connection, lines.open("rb") as expected_lines:
            query = BoundQuery(f"FROM {parquet_reader(temporary)}")
            for line, row in zip(
                expected_lines, select(connection, query, self._shown), strict=True
            ):
                expected_row = orjson.loads(line)
                for name in names:
                    expected, actual = expected_row.get(name), require_exact(row).get(name)
                    if not _same_data(expected, actual):
                        raise UserError(
                            f"{self._shown}: column '{name}' cannot hold "
                            f"{_render(expected)}: the value would become {_render(actual)}"
                        )


def _schema_types(schema: JsonMapping | None) -> dict[str, str]:
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return {}
    kinds = {name: _schema_type(kind) for name, kind in properties.items()}
    return {name: kind for name, kind in kinds.items() if kind}


def _schema_type(schema: Json) -> str | None:
    if not isinstance(schema, dict):
        return None
    kind = schema.get("type")
    if isinstance(kind, list):
        value_types = [name for name in kind if name != "null"]
        kind = value_types[0] if len(value_types) == 1 else None
    if not isinstance(kind, str):
        return None
    if kind == "array":
        item = _schema_type(schema.get("items"))
        return f"{item}[]" if item and item != "JSON" else "JSON"
    return _OF_SCHEMA.get(kind)


class _TypedWriter:
    """Writes rows as JSON lines, and collects for each column the types of its values."""

    def __init__(
        self, file: BinaryIO, types: Mapping[str, str], fields: Sequence[str], shown: str
    ) -> None:
        self._file = file
        self._declared_types = types
        self._kinds: dict[str, set[str]] = {name: set() for name in fields}
        self._undeclared = [name for name in fields if name not in types]
        self._shown = shown

    def keep(self, stored: StoredRow) -> None:
        for name in self._undeclared:
            if (value := stored.row.get(name)) is not None:
                self._kinds[name].add(kind_of(value))
        self._append(stored.row)

    def _append(self, row: JsonObject) -> None:
        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def add(self, row: JsonObject) -> None:
        for name, value in row.items():
            if value is None:
                continue
            kind = kind_of(value)
            declared = self._declared_types.get(name)
            if declared is not None and not holds_exactly(value, declared):
                raise UserError(
                    f"{self._shown}: column '{name}' is {declared} and cannot hold {_render(value)}"
                )
            if name not in self._kinds:
                raise UserError(f"{self._shown}: has no column '{name}'")
            self._kinds[name].add(kind)
        self._append(row)

    def untyped(self) -> list[str]:
        """Return the columns whose type is not declared and follows from no value."""
        return [name for name in self._undeclared if self._kinds[name] <= {"*[]"}]

    def types(self) -> dict[str, str]:
        """Return the type of each column, by name.

        It is the declared type if there is one, otherwise a type that fits all values of the
        column.
        """
        return {
            name: self._declared_types.get(name) or common_type(kinds).replace(LONG, "BIGINT")
            for name, kinds in self._kinds.items()
        }


def _render(value: Json) -> str:
    return orjson.dumps(value).decode()[:60]


def _is_compared(kind: str) -> bool:
    return kind.startswith(VERIFIED_TYPES)


def _same_data(old: Json, new: Json, kind: str = "") -> bool:
    """Whether two values of a column with the type `kind` are equal as data.

    1 equals 1.0. In objects, a missing field equals null. In a date or time column, two texts are
    equal if they mean the same time.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return all(_same_data(old.get(name), new.get(name)) for name in old | new)
    if isinstance(old, list) and isinstance(new, list):
        inner = kind.removesuffix("[]")
        return len(old) == len(new) and all(
            _same_data(old_item, new_item, inner)
            for old_item, new_item in zip(old, new, strict=True)
        )
    if isinstance(old, str) and isinstance(new, str) and old != new:
        return normalize_moment(old, kind) == normalize_moment(new, kind) != ""
    return is_same_data(old, new)
