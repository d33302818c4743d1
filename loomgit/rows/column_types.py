"""Chooses the DuckDB types for columns of JSON values, so that no value changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from loomgit.errors import UserError
from loomgit.rows.sqlite import fold_case, quote, require_distinct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.values import Json, JsonObject

ColumnType: TypeAlias = "str | ListType | StructType | None"  # None if all values are null


class ListType(Struct, frozen=True):
    """The type of a list whose items all have the type `item`."""

    item: ColumnType


class StructType(Struct, frozen=True):
    """The type of an object. `fields` are pairs of a key and its type, in the order of the keys."""

    fields: tuple[tuple[str, ColumnType], ...]


_SIMPLE = {bool: "BOOLEAN", str: "VARCHAR", float: "DOUBLE"}
_INTEGERS = frozenset({"BIGINT", "UBIGINT", "HUGEINT"})


class ColumnTypes:
    """Determines the type of each column from all values of the column. Null fits every type.

    The type of a column is:
    - VARCHAR if all values are text, or all are null
    - BOOLEAN if all values are booleans
    - DOUBLE if all values are floats
    - BIGINT, UBIGINT or HUGEINT if all values are integers
    - a LIST if all values are lists, and all their items have the same type
    - a STRUCT if all values are objects that have the same keys in the same order
    - JSON in all other cases, for example for a column of integers and floats, because DOUBLE would
      change large integers
    """

    def __init__(self) -> None:
        self._types: dict[str, ColumnType] = {}

    def add(self, row: JsonObject) -> None:
        """Update the column types with the values of one row."""
        types = self._types
        for name, value in row.items():
            if value is None:
                types.setdefault(name, None)
                continue
            value_type = _SIMPLE.get(value.__class__) or type_of(value)
            column_type = types.get(name)
            if column_type != value_type:
                types[name] = _merge(column_type, value_type)

    def sql(self, shown: str) -> Mapping[str, str]:
        """Return the SQL type of each column, by name, in order of first appearance.

        Raises UserError if a name is empty or contains a NUL character, or if two names differ only
        in upper and lower case.
        """
        if any(not name or "\0" in name for name in self._types):
            raise UserError(
                f"{shown}: a query cannot use a field with an empty name or with NUL in its name"
            )
        require_distinct(self._types, shown)
        return {name: _sql(column_type) for name, column_type in self._types.items()}


def type_of(value: Json) -> ColumnType:
    """Return the narrowest type that represents `value` exactly."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "BIGINT" if -(2**63) <= value < 2**63 else "UBIGINT"
    if isinstance(value, list):
        item: ColumnType = None
        for inner in value:
            if inner is not None:
                item = _merge(item, type_of(inner))
        return "JSON" if item == "JSON" else ListType(item)
    if isinstance(value, dict):
        return _object_type(tuple((name, type_of(inner)) for name, inner in value.items()))
    return _SIMPLE[value.__class__]


def _object_type(fields: tuple[tuple[str, ColumnType], ...]) -> ColumnType:
    names = [name for name, _ in fields]
    distinct = {fold_case(name) for name in names}
    is_unsuitable = (
        not names or "" in distinct or "\0" in "".join(names) or len(distinct) < len(names)
    )
    if is_unsuitable or any(field_type == "JSON" for _, field_type in fields):
        return "JSON"
    return StructType(fields)


def _merge(first: ColumnType, second: ColumnType) -> ColumnType:
    """Return a type that represents all values of the types `first` and `second` exactly."""
    if first is None or second is None:
        return first or second
    if first == second:
        return first
    if first in _INTEGERS and second in _INTEGERS:
        return "HUGEINT"
    if isinstance(first, ListType) and isinstance(second, ListType):
        item = _merge(first.item, second.item)
        return "JSON" if item == "JSON" else ListType(item)
    if isinstance(first, StructType) and isinstance(second, StructType):
        first_fields, second_fields = dict(first.fields), dict(second.fields)
        if list(first_fields) == list(second_fields):
            return _object_type(
                tuple(
                    (name, _merge(first_fields[name], second_fields[name])) for name in first_fields
                )
            )
    return "JSON"


def _sql(column_type: ColumnType) -> str:
    if isinstance(column_type, ListType):
        return f"{_sql(column_type.item)}[]"
    if isinstance(column_type, StructType):
        fields = ", ".join(f"{quote(name)} {_sql(inner)}" for name, inner in column_type.fields)
        return f"STRUCT({fields})"
    return column_type or "VARCHAR"
