"""Tries a row on a copy of a SQLite table's definition, so that its rules show before a load."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from loomgit.errors import UserError
from loomgit.rows.sqlite import fold_case, quote
from loomgit.rows.sqlite_values import changes, column_affinities, stored, unfit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.values import Json, JsonMapping
    from loomgit.rows.sqlite_values import Affinity

Stored: TypeAlias = "bool | int | float | str | bytes | None"
_FITTING: Mapping[Affinity, Stored] = {
    "INTEGER": 1,
    "NUMERIC": 1,
    "REAL": 1.0,
    "TEXT": "text",
    "BLOB": b"",
}
_NOT_NULL = re.compile(r"NOT NULL constraint failed: .*\.(?P<column>[^.]+)")
_WRONG_TYPE = re.compile(r"cannot store (?P<kind>\w+) value in (?P<column>.+)")


def try_example(
    connection: sqlite3.Connection,
    table: str,
    example: JsonMapping,
    *,
    key: Sequence[str],
    shown: str,
) -> None:
    """Raise UserError where the table would refuse or change a row like `example`.

    A null stands for a value that is not known. If the table has the key already, the row is an
    update, and columns that it does not set are ignored. CHECK constraints and triggers are not
    tried, because the values are examples.
    """
    found = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (table,)
    ).fetchone()
    if found is None:
        return
    columns = column_affinities(connection, table)
    row = {
        name: _value(name, value, columns.get(fold_case(name), "BLOB"), shown)
        for name, value in example.items()
    }
    if _has_key(connection, table, key, row):
        fitting = {
            name: _FITTING[column]
            for name, column in columns.items()
            if name not in {fold_case(each) for each in row}
        }
        row = {**row, **fitting}
    with closing(sqlite3.connect(":memory:")) as copy:
        try:
            copy.execute(str(found[0]))
            copy.execute("PRAGMA ignore_check_constraints = ON")
        except sqlite3.Error:
            return  # a virtual table, or one that needs an extension
        try:
            names = ", ".join(map(quote, row))
            values = ", ".join("?" * len(row))
            copy.execute(f"INSERT INTO {quote(table)} ({names}) VALUES ({values})", [*row.values()])  # noqa: S608
        except sqlite3.IntegrityError as fault:
            _refuse(str(fault), table, shown)
        except sqlite3.Error:
            return  # the load reports it


def _value(name: str, value: Json, column: Affinity, shown: str) -> Stored:
    if value is None:
        return _FITTING[column]
    if changes(value, column):
        raise UserError(f"{shown}: {unfit(name, column, value)}", hint="make it a TEXT column")
    return stored(value, column)


def _has_key(
    connection: sqlite3.Connection, table: str, key: Sequence[str], row: Mapping[str, Stored]
) -> bool:
    if not key or not all(name in row for name in key):
        return False
    match = " AND ".join(f"{quote(name)} = ?" for name in key)
    try:
        rows = connection.execute(
            f"SELECT 1 FROM {quote(table)} WHERE {match} LIMIT 1",  # noqa: S608 - quoted
            [row[name] for name in key],
        )
        return rows.fetchone() is not None
    except sqlite3.Error:
        return False


def _refuse(fault: str, table: str, shown: str) -> None:
    if missing := _NOT_NULL.search(fault):
        raise UserError(
            f"{shown}: table '{table}' needs a value in column '{missing['column']}' (NOT NULL), "
            "and the pipeline does not set it",
            hint="add the field to load.include or transform.output, or give the column a default",
        )
    if wrong := _WRONG_TYPE.search(fault):
        raise UserError(
            f"{shown}: table '{table}' cannot store {wrong['kind']} in {wrong['column']}"
        )
    if "datatype mismatch" in fault:
        raise UserError(
            f"{shown}: table '{table}' has an integer key, but the records have text keys"
        )
