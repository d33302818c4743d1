"""Values in SQLite: column types, the stored form of values, and conversions that lose data.

The conversions follow the rules of column affinity (SQLite, "Datatypes In SQLite", section 3).
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
# The order is that in which SQLite searches a declared type for these words.
_AFFINITIES: tuple[tuple[tuple[str, ...], Affinity], ...] = (
    (("INT",), "INTEGER"),
    (("CHAR", "CLOB", "TEXT"), "TEXT"),
    (("BLOB",), "BLOB"),
    (("REAL", "FLOA", "DOUB"), "REAL"),
)
_NUMERIC: tuple[Affinity, ...] = ("INTEGER", "REAL", "NUMERIC")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_PLAIN_NUMBER = re.compile(r"(?!-0(\.0*)?$)-?(0|[1-9]\d*)(\.\d+)?")
_LONGEST_SHOWN = 60  # maximum number of characters of a value in a message
_LONGEST_INTEGER = 20  # maximum number of characters of a 64-bit integer


def schema_types(schema: JsonMapping | None) -> dict[str, str]:
    """Return the column type of each property.

    The type is empty if the schema does not define exactly one type for the property.
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
    """Return the storage class of a value; empty for null.

    Integers beyond 64 bits are stored as text.
    """
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return "INTEGER" if _fits_64_bits(value) else "TEXT"
    return "REAL" if isinstance(value, float) else "TEXT"


def common_type(kinds: set[str]) -> str:
    """Return the declared type for a column with values of all these kinds.

    The type is TEXT if all values are text, and empty otherwise. A column without a type stores
    every value unchanged, including the values of later rows. A numeric column would change some
    values, such as `"1.50"`.
    """
    return "TEXT" if kinds == {"TEXT"} else ""


def affinity(declared: str) -> Affinity:
    """Return the affinity of a column with this declared type."""
    upper = declared.upper()
    for words, column_affinity in _AFFINITIES:
        if any(word in upper for word in words):
            return column_affinity
    return "NUMERIC" if declared else "BLOB"


def to_sqlite(value: Json, column: Affinity = "BLOB") -> Scalar:
    """Convert the value to the form in which SQLite stores the value.

    Lists and objects become JSON text, and integers beyond 64 bits become text. In a TEXT column, a
    float becomes its shortest exact text, because SQLite writes only 15 digits, and true becomes
    `true`. In other columns, true becomes 1, because SQLite has no boolean type.
    """
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    if isinstance(value, int) and not _fits_64_bits(value):
        return str(value)
    if isinstance(value, float | bool) and column == "TEXT":
        return as_text(value)
    return value


def would_change(value: Json, column: Affinity) -> bool:
    """Whether a column of this affinity would store a different number, or a code as a number.

    Equal numbers are not a change: 1, 1.0, "1" and "1.0". In a numeric column, codes such as the
    texts "007" and "1e5" would change.
    """
    if column not in _NUMERIC or value is None or isinstance(value, bool):
        return False
    if isinstance(value, int):
        if not _fits_64_bits(value):
            return True
        return column == "REAL" and int(float(value)) != value
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return False  # text that is not a number stays text
    if not _PLAIN_NUMBER.fullmatch(value):
        return True
    if column != "REAL" and "." not in value:
        return len(value) > _LONGEST_INTEGER or not _fits_64_bits(int(value))
    return Decimal(repr(float(value))) != Decimal(value)


def _fits_64_bits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def loss_reason(name: str, column: Affinity, value: Json) -> str:
    """Return the reason for refusing a value that its column would change."""
    shown = as_text(value)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
    return f"column '{name}' is {column} and cannot hold {shown} without a change"


def column_affinities(connection: sqlite3.Connection, table: str) -> dict[str, Affinity]:
    """Return the affinity of each column, by the column's name in lower case.

    The result is empty if the table does not exist.
    """
    strict = is_strict(connection, table)
    return {
        fold_case(str(row[1])): "BLOB" if strict and row[2].upper() == "ANY" else affinity(row[2])
        for row in connection.execute(f"PRAGMA table_info({quote(table)})")
    }


def is_strict(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table is a STRICT table, which refuses values of other types."""
    cursor = connection.execute(
        "SELECT 1 FROM pragma_table_list WHERE name = ? COLLATE NOCASE AND strict", (table,)
    )
    return cursor.fetchone() is not None


def is_refused_by_strict(value: Json, column: Affinity) -> bool:
    """Whether a STRICT table refuses the value in a column of this type."""
    if column not in ("INTEGER", "REAL") or value is None:
        return False
    if isinstance(value, float):
        return column == "INTEGER" and not value.is_integer()
    if isinstance(value, str):
        number = _NUMBER.fullmatch(value)
        return number is None or (column == "INTEGER" and not float(value).is_integer())
    return isinstance(value, list | dict)
