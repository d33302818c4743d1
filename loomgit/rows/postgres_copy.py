"""Writes rows to PostgreSQL with COPY."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

import orjson

from loomgit.rows.postgres_connection import quote
from loomgit.rows.postgres_evolution import POSITION_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.postgres_columns import Column
    from loomgit.rows.postgres_connection import Connection

NULL = r"\N"  # how COPY writes NULL
_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


def copy_texts(columns: Sequence[Column], rows: Sequence[Sequence[Json]]) -> list[list[str]] | None:
    """Return the values of each column in the text format of COPY.

    The result is None if a column cannot store one of its values exactly.
    """
    copied: list[list[str]] = []
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        if column.generated:
            return None
        kinds = set(map(type, values))
        has_null = NoneType in kinds
        kinds.discard(NoneType)
        if column.accepts_unchanged(kinds, values):
            write = _escape if kinds <= {str} else _numbers
            copied.append(write(values, has_null))
        elif any(column.refusal(value) for value in values):
            return None
        else:
            copied.append(_escape([column.to_text(value) for value in values], has_null))
    return copied


def _escape(values: Sequence[Any], has_null: bool) -> list[str]:
    """Return texts and None in the text format of COPY. The texts do not contain NUL characters.

    PostgreSQL documentation, "COPY", "Text Format"
    """
    known = [value or "" for value in values] if has_null else values
    joined = "\0".join(known)
    for character, escape in _ESCAPES:
        if character in joined:
            joined = joined.replace(character, escape)
    texts = joined.split("\0")
    if has_null:
        return [NULL if v is None else text for v, text in zip(values, texts, strict=True)]
    return texts


def _numbers(values: Sequence[Json], has_null: bool) -> list[str]:
    """Return numbers or booleans in the text format of COPY."""
    texts = orjson.dumps(values)[1:-1].decode().split(",")
    return [NULL if text == "null" else text for text in texts] if has_null else texts


def copy_columns(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    *,
    numbered: bool = False,
) -> int:
    """Write columns with COPY; return the number of rows that the table accepted.

    `columns` are the names of the columns, and `texts` their values from `copy_texts`. If
    `numbered` is true, the column POSITION_COLUMN receives the position of each row.
    """
    names = [quote(name) for name in columns] + [POSITION_COLUMN] * numbered
    numbers = [map(str, range(len(texts[0])))] if numbered else []
    lines = "\n".join(map("\t".join, zip(*texts, *numbers, strict=True)))
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as writer:
            writer.write(f"{lines}\n".encode())
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
