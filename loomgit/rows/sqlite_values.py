"""Converts JSON values for SQLite, chooses column types, and detects conversions that lose data.

The affinity of a column is the type to which SQLite converts its values. It follows from the
declared type of the column (SQLite documentation, "Datatypes In SQLite", section 3).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

import orjson

from loomgit.domain.values import as_text
from loomgit.rows.sqlite import fold_case, quote

if TYPE_CHECKING:
    import sqlite3

    from loomgit.domain.values import Json, JsonMapping
    from loomgit.rows.query import Scalar

Affinity: TypeAlias = Literal["INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB"]

_OF_SCHEMA = {
    "string": "TEXT",
    "integer": "INTEGER",
    "number": "REAL",
    "boolean": "INTEGER",
    "object": "TEXT",
    "array": "TEXT",
}
# SQLite searches a declared type for these words in this order. The first match decides.
_AFFINITIES: tuple[tuple[tuple[str, ...], Affinity], ...] = (
    (("INT",), "INTEGER"),
    (("CHAR", "CLOB", "TEXT"), "TEXT"),
    (("BLOB",), "BLOB"),
    (("REAL", "FLOA", "DOUB"), "REAL"),
)
NUMERIC_AFFINITIES: tuple[Affinity, ...] = ("INTEGER", "REAL", "NUMERIC")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_PLAIN_NUMBER = re.compile(r"(?!-0(\.0*)?$)-?(0|[1-9]\d*)(\.\d+)?")
_LONGEST_SHOWN = 60  # a message shows at most this many characters of a value
_LONGEST_INTEGER = 20  # no 64-bit integer has more characters, including the sign


def schema_types(schema: JsonMapping | None) -> dict[str, str]:
    """Return the SQLite column type for each property of a JSON Schema, by property name.

    The column type is empty text if a property allows no known JSON type. It is also empty text if
    its JSON types need different column types. The JSON type null is ignored.
    """
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _schema_type(property_schema) for name, property_schema in properties.items()}


def _schema_type(schema: Json) -> str:
    declared = schema.get("type") if isinstance(schema, dict) else None
    kinds = declared if isinstance(declared, list) else [declared]
    types = {_OF_SCHEMA.get(kind, "") for kind in kinds if isinstance(kind, str) and kind != "null"}
    return types.pop() if len(types) == 1 else ""


def value_type(value: Json) -> str:
    """Return the type in which SQLite stores the value: INTEGER, REAL, TEXT, or empty for null.

    The type is TEXT for an integer that does not fit into 64 bits, and for lists and objects.
    """
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return "INTEGER" if _fits_64_bits(value) else "TEXT"
    return "REAL" if isinstance(value, float) else "TEXT"


def common_type(kinds: set[str]) -> str:
    """Return the type to declare for a column, given the storage types of its values.

    The type is TEXT if all values are stored as TEXT, and empty otherwise. A column that has no
    declared type stores every value unchanged, including the values of later rows. A numeric column
    would change some values, such as `"1.50"`.
    """
    return "TEXT" if kinds == {"TEXT"} else ""


def affinity(declared: str) -> Affinity:
    """Return the affinity of a column: the type to which SQLite converts its values.

    `declared` is the type in the definition of the table, and may be empty.
    """
    upper = declared.upper()
    for words, column_affinity in _AFFINITIES:
        if any(word in upper for word in words):
            return column_affinity
    return "NUMERIC" if declared else "BLOB"


def to_sqlite(value: Json, column: Affinity = "BLOB") -> Scalar:
    """Convert a JSON value to a parameter for a column with the affinity `column`.

    Lists and objects become JSON text. Integers that do not fit into 64 bits become decimal text.
    For a TEXT column, booleans become `true` or `false`, and a float becomes its shortest exact
    text, because SQLite itself would write only 15 digits. For other columns, Python's sqlite3
    stores booleans as 1 and 0, because SQLite has no boolean type.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    if isinstance(value, int) and not _fits_64_bits(value):
        return str(value)
    if isinstance(value, float | bool) and column == "TEXT":
        return as_text(value)
    return value


def would_change(value: Json, column: Affinity) -> bool:
    """Whether a column with the affinity `column` would store a different value.

    A different notation of the same number is not a change: 1, 1.0, "1" and "1.0" are equal. Text
    such as "007" or "1e5" is treated as a code, which a numeric column would change to a number.
    """
    if column not in NUMERIC_AFFINITIES or value is None or isinstance(value, bool):
        return False
    if isinstance(value, int):
        if not _fits_64_bits(value):
            return True
        return column == "REAL" and int(float(value)) != value
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return False  # not a number: a numeric column stores such text unchanged
    if not _PLAIN_NUMBER.fullmatch(value):
        return True
    if column != "REAL" and "." not in value:
        return len(value) > _LONGEST_INTEGER or not _fits_64_bits(int(value))
    return Decimal(repr(float(value))) != Decimal(value)


def _fits_64_bits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def loss_reason(name: str, column: Affinity, value: Json) -> str:
    """Return a message for a value that the column `name` cannot store unchanged."""
    shown = as_text(value)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
    return f"column '{name}' is {column} and cannot hold {shown} without a change"


def column_affinities(connection: sqlite3.Connection, table: str) -> dict[str, Affinity]:
    """Return the affinity of each column. The keys are the column names, folded by `fold_case`.

    The result is empty if the table does not exist.
    """
    strict = is_strict(connection, table)
    return {
        fold_case(str(row[1])): "BLOB" if strict and row[2].upper() == "ANY" else affinity(row[2])
        for row in connection.execute(f"PRAGMA table_info({quote(table)})")
    }


def is_strict(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table is a STRICT table, which refuses values that do not match a column type."""
    cursor = connection.execute(
        "SELECT 1 FROM pragma_table_list WHERE name = ? COLLATE NOCASE AND strict", (table,)
    )
    return cursor.fetchone() is not None


def is_refused_by_strict(value: Json, column: Affinity) -> bool:
    """Whether a column of a STRICT table refuses the value. `column` is the column's affinity."""
    if column not in ("INTEGER", "REAL") or value is None:
        return False
    if isinstance(value, float):
        return column == "INTEGER" and not value.is_integer()
    if isinstance(value, str):
        number = _NUMBER.fullmatch(value)
        return number is None or (column == "INTEGER" and not float(value).is_integer())
    return isinstance(value, list | dict)
