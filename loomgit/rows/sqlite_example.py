"""Inserts example rows into an empty copy of a SQLite table to find errors before a load."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from loomgit.errors import UserError
from loomgit.rows.sqlite import fold_case, quote
from loomgit.rows.sqlite_values import column_affinities, loss_reason, to_sqlite, would_change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.values import Json, JsonMapping
    from loomgit.rows.sqlite_values import Affinity

Stored: TypeAlias = "bool | int | float | str | bytes | None"
_VALID_VALUES: Mapping[Affinity, Stored] = {
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
    additions: Sequence[str] = (),
) -> None:
    """Raise UserError if the table would refuse or change a row like `example`.

    `additions` are the statements that add columns before the row is loaded. UserError is also
    raised if one of them fails.

    Null in the example stands for an unknown value. If the table already contains the key of the
    example, the load would update an existing row. An update cannot fail because of columns that
    the example does not set, so these columns are not tested. CHECK constraints and triggers are
    not tested either, because the values are only examples.
    """
    definition = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (table,)
    ).fetchone()
    if definition is None:
        return
    columns = column_affinities(connection, table)
    row = {
        name: _value(name, value, columns.get(fold_case(name), "BLOB"), shown)
        for name, value in example.items()
    }
    if _has_key(connection, table, key, row):
        defaults = {
            name: _VALID_VALUES[column]
            for name, column in columns.items()
            if name not in {fold_case(field) for field in row}
        }
        row = {**row, **defaults}
    with closing(sqlite3.connect(":memory:")) as copy:
        try:
            copy.execute(str(definition[0]))
            copy.execute("PRAGMA ignore_check_constraints = ON")
        except sqlite3.Error:
            return  # no copy is possible if the table is virtual or needs an extension
        _add_columns(copy, additions, shown)
        try:
            names = ", ".join(map(quote, row))
            values = ", ".join("?" * len(row))
            copy.execute(f"INSERT INTO {quote(table)} ({names}) VALUES ({values})", [*row.values()])  # noqa: S608
        except sqlite3.IntegrityError as error:
            _raise_refusal(str(error), table, shown)
        except sqlite3.Error:
            return  # not caused by the example's values; the load will report the error


def _add_columns(copy: sqlite3.Connection, additions: Sequence[str], shown: str) -> None:
    for statement in additions:
        try:
            copy.execute(statement)
        except sqlite3.Error as error:
            raise UserError(f"{shown}: {statement}: {error}") from error


def _value(name: str, value: Json, column: Affinity, shown: str) -> Stored:
    if value is None:
        return _VALID_VALUES[column]
    if would_change(value, column):
        raise UserError(
            f"{shown}: {loss_reason(name, column, value)}",
            hint="change the type of the column to TEXT",
        )
    return to_sqlite(value, column)


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


def _raise_refusal(fault: str, table: str, shown: str) -> None:
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
