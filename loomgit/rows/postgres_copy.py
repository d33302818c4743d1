"""Writes rows to PostgreSQL with COPY."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING

from loomgit.rows.postgres_connection import quote
from loomgit.rows.postgres_evolution import POSITION_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.postgres_columns import Column
    from loomgit.rows.postgres_connection import Connection


def copy_values(
    columns: Sequence[Column], rows: Sequence[Sequence[Json]]
) -> list[Sequence[Json]] | None:
    """Return the values of each column, as COPY can write them.

    The result is None if a column cannot store one of its values exactly.
    """
    copied: list[Sequence[Json]] = []
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        if column.generated:
            return None
        if column.accepts_unchanged(set(map(type, values)) - {NoneType}, values):
            copied.append(values)
        elif any(column.refusal(value) for value in values):
            return None
        else:
            copied.append([column.to_text(value) for value in values])
    return copied


def copy_columns(
    connection: Connection,
    table: str,
    columns: Sequence[Column],
    values: Sequence[Sequence[Json]],
    *,
    numbered: bool = False,
) -> int:
    """Write the values of columns with COPY; return the number of rows that the table accepted.

    If `numbered` is true, the column POSITION_COLUMN receives the position of each row.
    """
    names = [quote(column.name) for column in columns] + [POSITION_COLUMN] * numbered
    count = len(values[0])
    numbers = [range(count)] if numbered else []
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as writer:
            for row in zip(*values, *numbers, strict=True):
                writer.write_row(row)
        return cursor.rowcount


def copy_rows(
    connection: Connection,
    table: str,
    fields: Sequence[Column],
    rows: Iterable[JsonObject],
    *,
    numbered: bool = False,
) -> int:
    """Write rows with COPY, and return the number of rows that the table accepted.

    If `numbered` is true, the column POSITION_COLUMN receives the position of each row.
    """
    names = [quote(column.name) for column in fields] + [POSITION_COLUMN] * numbered
    statement = f"COPY {table} ({', '.join(names)}) FROM STDIN"
    with connection.cursor() as cursor:
        with cursor.copy(statement) as writer:
            for number, row in enumerate(rows):
                values = [column.to_text(row[column.name]) for column in fields]
                writer.write_row([*values, str(number)] if numbered else values)
        return cursor.rowcount
