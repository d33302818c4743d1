"""Parquet as a destination: rows pass through JSON lines, DuckDB writes the file."""

from __future__ import annotations

import re
import struct
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

import orjson

from loomgit.errors import UserError
from loomgit.rows.csv_files import require_names
from loomgit.rows.duck import (
    LONGEST_OBJECT,
    connect,
    file_literal,
    literal,
    parquet_reader,
    select,
)
from loomgit.rows.json_files import require_exact
from loomgit.rows.layouts import Held, merged_json
from loomgit.rows.query import BoundQuery
from loomgit.rows.sqlite import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from loomgit.domain.values import Json, JsonMapping, JsonObject
    from loomgit.rows.layouts import RowWriter

_OF_SCHEMA = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "object": "JSON",
    "array": "JSON",
}
_WHOLE = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
    | {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
)
_LONG = "LONG"  # a kind of values, no type: integers that a DOUBLE cannot hold
_ANY_INTEGER = "DECIMAL(20,0)"  # Parquet has no integers of 128 bits
_INTEGERS = ("BIGINT", _LONG, "UBIGINT")
_DECIMAL = re.compile(r"DECIMAL\(\d+,(\d+)\)")
_TEXT_TOO = ("DATE", "TIME", "DECIMAL", "UUID", "ENUM", "INTERVAL")


class ParquetLayout:
    """A Parquet file. Column types are those of the file as it is, else of `load.schema`, else as
    all of the rows need: BOOLEAN, BIGINT, DOUBLE, VARCHAR, lists of these, JSON for the rest.

    A value is never fitted to its column in silence: 1.5 in a BIGINT column is a UserError.
    """

    def __init__(self, path: Path, shown: str, *, root: Path, schema: JsonMapping | None) -> None:
        self._path = path
        self._shown = shown
        self._root = root
        self._schema = schema

    def columns(self) -> tuple[str, ...]:
        """The file's columns."""
        return tuple(self._types())

    def _types(self) -> dict[str, str]:
        with connect(self._root, self._shown) as connection:
            found = connection.execute(
                f"DESCRIBE SELECT * FROM {parquet_reader(self._path)}"  # noqa: S608
            ).fetchall()
            return {str(row[0]): str(row[1]) for row in found}

    def held(self) -> Iterator[Held]:
        """Stream the rows as JSON values."""
        with connect(self._root, self._shown) as connection:
            query = BoundQuery(f"FROM {parquet_reader(self._path)}")
            for row in select(connection, query, self._shown):
                yield Held(require_exact(row), b"")

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Compare as data."""
        require_names(new, tuple(old), self._shown)
        return merged_json(old, new)

    @contextmanager
    def writer(self, aside: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Write the rows beside `aside` as JSON lines and then, as a whole, as Parquet."""
        types = _schema_types(self._schema) if fresh else self._types()
        lines = aside.with_suffix(".jsonl")
        try:
            with lines.open("xb") as file:
                rows = _Typed(file, types, fields if fresh else tuple(types), self._shown)
                yield rows
            self._convert(lines, aside, rows.types())
        finally:
            lines.unlink(missing_ok=True)

    def _convert(self, lines: Path, aside: Path, types: Mapping[str, str]) -> None:
        columns = ", ".join(f"{quote(name)}: {literal(kind)}" for name, kind in types.items())
        with connect(self._root, self._shown) as connection:
            connection.execute(
                f"COPY (SELECT * FROM read_json({file_literal(lines)}, "  # noqa: S608 - quoted
                f"format = 'newline_delimited', columns = {{{columns}}}, "
                f"maximum_object_size = {LONGEST_OBJECT})) "
                f"TO {literal(str(aside))} (FORMAT parquet)"
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
        named = [name for name in kind if name != "null"]
        kind = named[0] if len(named) == 1 else None
    if not isinstance(kind, str):
        return None
    if kind == "array":
        item = _schema_type(schema.get("items"))
        return f"{item}[]" if item and item != "JSON" else "JSON"
    return _OF_SCHEMA.get(kind)


class _Typed:
    """Writes the lines and watches what the values are."""

    def __init__(
        self, file: BinaryIO, types: Mapping[str, str], fields: Sequence[str], shown: str
    ) -> None:
        self._file = file
        self._given = types
        self._found: dict[str, set[str]] = {name: set() for name in fields}
        self._shown = shown

    def keep(self, held: Held) -> None:
        self._file.write(orjson.dumps(held.row, option=orjson.OPT_APPEND_NEWLINE))

    def add(self, row: JsonObject) -> None:
        for name, value in row.items():
            if value is None:
                continue
            kind = _kind(value)
            given = self._given.get(name)
            if given is not None and not (_fits(kind, given) and _exact(value, given)):
                raise UserError(
                    f"{self._shown}: column '{name}' is {given} and cannot hold "
                    f"{orjson.dumps(value).decode()[:60]}"
                )
            if name not in self._found:
                raise UserError(f"{self._shown}: has no column '{name}'")
            self._found[name].add(kind)
        self.keep(Held(row, b""))

    def types(self) -> dict[str, str]:
        """The type of each column."""
        return {
            name: self._given.get(name) or _common(kinds) for name, kinds in self._found.items()
        }


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        if -(2**53) <= value <= 2**53:
            return "BIGINT"
        return _LONG if -(2**63) <= value < 2**63 else "UBIGINT"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, str):
        return "VARCHAR"
    if isinstance(value, list):
        kinds = {_kind(item) for item in value if item is not None}
        item = _common(kinds) if kinds else "*"
        return "JSON" if item == "JSON" or item.endswith("[]") else f"{item}[]"
    return "JSON"


def _common(kinds: set[str]) -> str:
    """The one type for all these kinds of values; `*[]` is a list without any."""
    lists = {kind.removesuffix("[]") for kind in kinds if kind.endswith("[]")}
    if lists:
        if len(lists) < len(kinds):
            return "JSON"
        item = _common(lists - {"*"})
        return "JSON" if item == "JSON" else f"{item}[]"
    if not kinds:
        return "VARCHAR"
    if kinds <= {"BIGINT", _LONG}:
        return "BIGINT"
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds <= {"BIGINT", _LONG, "UBIGINT"}:
        return _ANY_INTEGER
    return "DOUBLE" if kinds == {"BIGINT", "DOUBLE"} else "JSON"


def _fits(kind: str, given: str) -> bool:
    if given == "JSON":
        return True
    if given.startswith("VARCHAR") and not given.endswith("]"):
        return kind == "VARCHAR"
    if given in _WHOLE:
        return kind in _INTEGERS
    if given in ("DOUBLE", "FLOAT"):
        return kind in ("BIGINT", "DOUBLE")
    if given.endswith("[]"):
        return kind == "*[]" or (kind.endswith("[]") and _fits(kind[:-2], given[:-2]))
    if given.startswith(_TEXT_TOO):
        return kind == "VARCHAR" or (given.startswith("DECIMAL") and kind in (*_INTEGERS, "DOUBLE"))
    if given == "BOOLEAN":
        return kind == "BOOLEAN"
    return kind == "JSON" and given.startswith(("STRUCT", "MAP"))


def _exact(value: Json, given: str) -> bool:
    """Whether a column of the type keeps a number, or the numbers of a list, as they are."""
    if isinstance(value, list) and given.endswith("[]"):
        return all(_exact(item, given[:-2]) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if given == "DOUBLE":
        return isinstance(value, float) or int(float(value)) == value
    if given == "FLOAT":  # 32 bits
        return abs(value) < 3.4e38 and _as_float(value) == value
    if scale := _DECIMAL.fullmatch(given):
        number = Decimal(repr(value))
        return number == round(number, int(scale[1]))
    return True


def _as_float(value: float) -> float:
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return float(rounded)
