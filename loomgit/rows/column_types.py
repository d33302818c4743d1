"""The SQL types that keep every value of a column exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from loomgit.errors import UserError
from loomgit.rows.sqlite import fold_case, quote, require_distinct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.values import Json, JsonObject

ColumnType: TypeAlias = "str | ListType | StructType | None"  # None: only nulls


class ListType(Struct, frozen=True):
    """Lists whose items have one type."""

    item: ColumnType


class StructType(Struct, frozen=True):
    """Objects that all have these names, in this order."""

    fields: tuple[tuple[str, ColumnType], ...]


_SIMPLE = {bool: "BOOLEAN", str: "VARCHAR", float: "DOUBLE"}
_INTEGERS = frozenset({"BIGINT", "UBIGINT", "HUGEINT"})


class ColumnTypes:
    """Finds the type of each column from all of its values.

    A column of one kind of value has that kind's type: VARCHAR, BOOLEAN, an integer type, DOUBLE,
    a LIST of one type, or a STRUCT where all objects have the same keys in the same order. All
    other columns are JSON: whole numbers beside fractions too, because DOUBLE would change them.
    """

    def __init__(self) -> None:
        self._types: dict[str, ColumnType] = {}

    def add(self, row: JsonObject) -> None:
        """Take the values of one row into account."""
        types = self._types
        for name, value in row.items():
            if value is None:
                types.setdefault(name, None)
                continue
            found = _SIMPLE.get(value.__class__) or type_of(value)
            known = types.get(name)
            if known != found:
                types[name] = _merge(known, found)

    def sql(self, shown: str) -> Mapping[str, str]:
        """The type of each column, by name, in order of first appearance.

        Raises UserError where SQL cannot tell two names apart, or a name is empty.
        """
        if any(not name or "\0" in name for name in self._types):
            raise UserError(
                f"{shown}: a field has a name that a query cannot use: empty, or with NUL"
            )
        require_distinct(self._types, shown)
        return {name: _sql(found) for name, found in self._types.items()}


def type_of(value: Json) -> ColumnType:
    """The narrowest type that keeps `value`."""
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
    unfit = not names or "" in distinct or "\0" in "".join(names) or len(distinct) < len(names)
    if unfit or any(found == "JSON" for _, found in fields):
        return "JSON"
    return StructType(fields)


def _merge(one: ColumnType, two: ColumnType) -> ColumnType:
    """The type that keeps the values of both."""
    if one is None or two is None:
        return one or two
    if one == two:
        return one
    if one in _INTEGERS and two in _INTEGERS:
        return "HUGEINT"
    if isinstance(one, ListType) and isinstance(two, ListType):
        item = _merge(one.item, two.item)
        return "JSON" if item == "JSON" else ListType(item)
    if isinstance(one, StructType) and isinstance(two, StructType):
        ours, theirs = dict(one.fields), dict(two.fields)
        if list(ours) == list(theirs):
            return _object_type(tuple((name, _merge(ours[name], theirs[name])) for name in ours))
    return "JSON"


def _sql(found: ColumnType) -> str:
    if isinstance(found, ListType):
        return f"{_sql(found.item)}[]"
    if isinstance(found, StructType):
        return (
            f"STRUCT({', '.join(f'{quote(name)} {_sql(inner)}' for name, inner in found.fields)})"
        )
    return found or "VARCHAR"
