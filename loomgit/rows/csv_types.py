"""The types of a CSV file's columns, found in all of its rows, for SQL over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.rows.sqlite import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

_ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)"
_MOMENT = r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"

# Stricter than casts are: `007` and `1_000` are no numbers, `t` is no truth.
_TYPES = (
    ("BOOLEAN", "true|false|True|False|TRUE|FALSE"),
    ("BIGINT", r"-?(0|[1-9]\d{0,18})"),
    ("DOUBLE", r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?"),
    ("DATE", r"\d{4}-\d{2}-\d{2}"),
    ("TIMESTAMP", _MOMENT),
    ("TIMESTAMP WITH TIME ZONE", _MOMENT + _ZONE),
)
_SAMPLE = 20000  # rows looked at where the types need not be right


def typed(connection: DuckDBPyConnection, file: str, names: Sequence[str], *, whole: bool) -> str:
    """A SELECT over the CSV file (an SQL literal) with the narrowest type that all values fit.

    DuckDB's own sniffer is not used: it takes a row of another length for a header and passes over
    all before it. Without `whole` only the beginning is looked at.
    """
    columns = ", ".join(f"{quote(name)}: 'VARCHAR'" for name in names)
    text = (
        f"SELECT * FROM read_csv({file}, auto_detect = false, header = true, delim = ',', "  # noqa: S608
        f"quote = '\"', escape = '\"', columns = {{{columns}}}, max_line_size = {64 << 20})"
    )
    if len(names) == 1:  # a blank line, which is no row
        text += f" WHERE {quote(names[0])} IS NOT NULL"
    tests = ", ".join(
        f"coalesce(bool_and(regexp_full_match({column}, '{form}') "
        f"AND TRY_CAST({column} AS {kind}) IS NOT NULL) FILTER ({column} IS NOT NULL), false)"
        for column in map(quote, names)
        for kind, form in _TYPES
    )
    limited = text if whole else f"{text} LIMIT {_SAMPLE}"
    found = connection.execute(f"SELECT {tests} FROM ({limited})").fetchone() or ()  # noqa: S608
    chosen = []
    for index, column in enumerate(map(quote, names)):
        fits = found[index * len(_TYPES) : (index + 1) * len(_TYPES)]
        kinds = [kind for (kind, _), fit in zip(_TYPES, fits, strict=True) if fit]
        chosen.append(f"CAST({column} AS {kinds[0]}) AS {column}" if kinds else column)
    return f"SELECT {', '.join(chosen)} FROM ({text})"  # noqa: S608 - names are quoted
