"""Values in SQLite: the declared type for a column, how a value is stored, and what would change.

The conversions are those of column affinity (SQLite, "Datatypes In SQLite", section 3).
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
# In the order in which SQLite looks for them in a declared type.
_AFFINITIES: tuple[tuple[tuple[str, ...], Affinity], ...] = (
    (("INT",), "INTEGER"),
    (("CHAR", "CLOB", "TEXT"), "TEXT"),
    (("BLOB",), "BLOB"),
    (("REAL", "FLOA", "DOUB"), "REAL"),
)
_NUMERIC: tuple[Affinity, ...] = ("INTEGER", "REAL", "NUMERIC")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_PLAIN_NUMBER = re.compile(r"(?!-0(\.0*)?$)-?(0|[1-9]\d*)(\.\d+)?")
_LONGEST_SHOWN = 60  # characters of a value in a message
_LONGEST_INTEGER = 20  # characters of an integer of 64 bits


def schema_types(schema: JsonMapping | None) -> dict[str, str]:
    """The declared type of each property, empty where the schema does not say one type."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _schema_type(of) for name, of in properties.items()}


def _schema_type(schema: Json) -> str:
    named = schema.get("type") if isinstance(schema, dict) else None
    kinds = named if isinstance(named, list) else [named]
    types = {_OF_SCHEMA.get(kind, "") for kind in kinds if isinstance(kind, str) and kind != "null"}
    return types.pop() if len(types) == 1 else ""


def value_type(value: Json) -> str:
    """The storage class of a value, empty for null; integers beyond 64 bits are kept as text."""
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return "INTEGER" if _fits_64_bits(value) else "TEXT"
    return "REAL" if isinstance(value, float) else "TEXT"


def common_type(kinds: set[str]) -> str:
    """The declared type that keeps values of all these kinds.

    Only text has one: a column without a type keeps every value as it is, also those of later
    rows, which a numeric column would change (`"1.50"`).
    """
    return "TEXT" if kinds == {"TEXT"} else ""


def affinity(declared: str) -> Affinity:
    """The affinity of a column with this declared type."""
    upper = declared.upper()
    for words, found in _AFFINITIES:
        if any(word in upper for word in words):
            return found
    return "NUMERIC" if declared else "BLOB"


def stored(value: Json, column: Affinity = "BLOB") -> Scalar:
    """A value as SQLite keeps it: lists and objects as JSON text, integers beyond 64 bits as text.

    In a TEXT column a float is its shortest text, because SQLite itself writes 15 digits only, and
    true is `true`; in other columns true is 1, because SQLite has no truth.
    """
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    if isinstance(value, int) and not _fits_64_bits(value):
        return str(value)
    if isinstance(value, float | bool) and column == "TEXT":
        return as_text(value)
    return value


def changes(value: Json, column: Affinity) -> bool:
    """Whether a column of this affinity would store another number, or a code as a number.

    Numbers of equal value are no change (1, 1.0, "1" and "1.0"); "007" and "1e5" in a numeric
    column are one.
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


def unfit(name: str, column: Affinity, value: Json) -> str:
    """The reason to refuse a value that its column would change."""
    shown = as_text(value)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
    return f"column '{name}' is {column} and cannot hold {shown} without a change"


def column_affinities(connection: sqlite3.Connection, table: str) -> dict[str, Affinity]:
    """The affinity of each column, by its name without case; empty where there is no such table."""
    strict = is_strict(connection, table)
    return {
        fold_case(str(row[1])): "BLOB" if strict and row[2].upper() == "ANY" else affinity(row[2])
        for row in connection.execute(f"PRAGMA table_info({quote(table)})")
    }


def is_strict(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the table refuses values of other types."""
    found = connection.execute(
        "SELECT 1 FROM pragma_table_list WHERE name = ? COLLATE NOCASE AND strict", (table,)
    )
    return found.fetchone() is not None


def is_mismatch(value: Json, column: Affinity) -> bool:
    """Whether a STRICT table refuses the value in a column of this type."""
    if column not in ("INTEGER", "REAL") or value is None:
        return False
    if isinstance(value, float):
        return column == "INTEGER" and not value.is_integer()
    if isinstance(value, str):
        number = _NUMBER.fullmatch(value)
        return number is None or (column == "INTEGER" and not float(value).is_integer())
    return isinstance(value, list | dict)
