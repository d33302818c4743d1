"""Embedded DuckDB: opens connections, and converts the result of a SELECT to JSON values."""

from __future__ import annotations

import math
import os
import re
import tempfile
from contextlib import closing, contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from loomgit.domain.exact_json import parse_exact
from loomgit.domain.records import RefusedRow
from loomgit.errors import UserError, WorldError
from loomgit.rows.json_rows import show_row
from loomgit.rows.sqlite import quote
from loomgit.rows.sqlite_source import unique_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.query import BoundQuery

BATCH = 1000  # rows per fetch
# Maximum size of a JSON object in bytes. DuckDB's default is 16 MiB.
_LONGEST_OBJECT = 256 * 1024 * 1024
_UNCONVERTED = frozenset(
    {"BOOLEAN", "VARCHAR", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
    | {"UTINYINT", "USMALLINT", "UINTEGER"}
)
# Finds the date and time types in an SQL type. `select` casts these types to text, because Python's
# date and time types cannot represent nanoseconds, infinite dates or intervals of months. A field
# of a STRUCT can have the same name as a type. Therefore, the pattern matches a quoted name as a
# whole, without the group `type`, and never matches a word before a space. For example, only the
# second DATE in `STRUCT(DATE DATE)` matches.
_CAST_TO_TEXT = re.compile(
    r"\"(?:[^\"]|\"\")*\"|\b(?P<type>DATE|INTERVAL|TIME(?:_NS|STAMP(?:_S|_MS|_NS)?)?"
    r"(?: WITH TIME ZONE)?)(?=[\[\](),]|$)"
)
_GLOB = re.compile(r"([*?\[])")


@contextmanager
def connect(
    root: Path, shown: str, readable: Sequence[Path] | None = None
) -> Iterator[DuckDBPyConnection]:
    """Open a database in memory. Its time zone is UTC, and it downloads no extensions.

    Relative paths in SQL refer to `root`. If `readable` is given, SQL can read only these folders
    and files. The connection uses one thread and no file cache, so that the memory use does not
    grow with the number of rows; one thread is fast enough for extraction. Sorts that do not fit
    into memory use the temporary folder of the system.

    Disk errors, lack of memory and internal errors of DuckDB in the `with` block become WorldError.
    All other errors of DuckDB become UserError.
    """
    import duckdb  # noqa: PLC0415 - the import takes 0.3 s, and few runs need it

    spill = Path(tempfile.gettempdir()) / f"loom-duckdb-{os.getpid()}"
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "temp_directory": str(spill),
        "threads": "1",
    }
    try:
        with closing(duckdb.connect(":memory:", config=settings)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET file_search_path = {literal(str(root))}")
            connection.execute("SET enable_external_file_cache = false")
            if readable is not None:
                connection.execute(f"SET allowed_paths = {[str(p) for p in readable]}")
                connection.execute(f"SET allowed_directories = {[str(p) for p in readable]}")
                connection.execute("SET enable_external_access = false")
            yield connection
    except (duckdb.IOException, duckdb.InternalException, duckdb.OutOfMemoryException) as fault:
        raise WorldError(f"{shown}: {_first_line(fault)}") from fault
    except duckdb.Error as fault:
        raise UserError(f"{shown}: {_first_line(fault)}", hint=_hint(fault)) from fault


def _first_line(fault: Exception) -> str:
    first, *rest = str(fault).splitlines()
    line = next((match[1] for text in rest if (match := re.match(r"LINE (\d+):", text))), None)
    return f"{first} (line {line} of the query)" if line else first


def _hint(fault: Exception) -> str | None:
    for line in str(fault).splitlines()[1:]:
        if line.startswith(("Did you mean", "Candidate bindings")):
            return line[0].lower() + line[1:]
    if "explicit" in str(fault):  # DuckDB suggests an explicit cast
        return (
            "columns of CSV files are text, and columns of mixed JSON values are JSON; "
            "write a cast, such as CAST(rating AS INTEGER)"
        )
    return None


def literal(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def file_literal(path: Path) -> str:
    """Return `path` as an SQL string literal that matches only this file.

    DuckDB treats a path as a pattern, so the characters `*`, `?` and `[` are escaped.
    """
    return literal(_GLOB.sub(r"[\1]", str(path)))


def parquet_reader(path: Path) -> str:
    """Return the SQL expression that reads the Parquet file at `path` as a table.

    A folder name such as `year=2026` in the path does not become a column.
    """
    return f"read_parquet({file_literal(path)}, hive_partitioning = false)"


def json_lines_reader(path: Path, types: Mapping[str, str]) -> str:
    """Return the SQL expression that reads the JSON lines file at `path` as a table.

    `types` maps each column name to its SQL type. A folder name such as `year=2026` in the path
    does not become a column.
    """
    columns = ", ".join(f"{quote(name)}: {literal(kind)}" for name, kind in types.items())
    return (
        f"read_json({file_literal(path)}, format = 'newline_delimited', columns = {{{columns}}}, "
        f"maximum_object_size = {_LONGEST_OBJECT}, hive_partitioning = false)"
    )


def select(
    connection: DuckDBPyConnection, query: BoundQuery, shown: str
) -> Iterator[JsonObject | RefusedRow]:
    """Run a SELECT and yield its rows as JSON values.

    Dates, times, timestamps and intervals become text in SQL notation, such as
    `2026-03-04 05:06:07`. Timestamps with a time zone are converted to UTC and end with `+00`. A
    decimal becomes a number if a float represents it exactly, and text otherwise. An integer that
    does not fit into 64 bits becomes text. A row that contains bytes, NaN or an infinite number
    becomes a RefusedRow. Raises UserError if two columns have the same name.
    """
    parameters = list(query.parameters)
    connection.execute(query.text, parameters)
    columns = [(str(column[0]), str(column[1])) for column in connection.description or []]
    names = unique_names(columns, shown)
    select_types = {name: text_type(kind) for name, kind in columns}
    if any(select_types[name] != kind for name, kind in columns):
        chosen = ", ".join(
            quote(name)
            if select_types[name] == kind
            else f"CAST({quote(name)} AS {select_types[name]}) AS {quote(name)}"
            for name, kind in columns
        )
        connection.execute(f"SELECT {chosen} FROM ({query.text})", parameters)  # noqa: S608
    converters: list[tuple[str, Callable[[object], Json]]] = [
        (name, _json if kind == "JSON" else to_json)
        for name, kind in columns
        if kind not in _UNCONVERTED
    ]
    number = 0
    while batch := connection.fetchmany(BATCH):
        for values in batch:
            number += 1
            row = dict(zip(names, values, strict=True))
            yield _converted(row, converters, f"{shown}: row {number}")


def text_type(kind: str) -> str:
    """Replace each date or time type in the SQL type `kind` by VARCHAR, and return the result."""
    return _CAST_TO_TEXT.sub(lambda match: "VARCHAR" if match["type"] else match[0], kind)


def _converted(
    row: JsonObject, converters: Sequence[tuple[str, Callable[[object], Json]]], place: str
) -> JsonObject | RefusedRow:
    """Convert the values of the row in place, and return the row.

    `converters` are pairs of a column and its conversion function. If a conversion fails, return a
    RefusedRow.
    """
    for name, convert in converters:
        if row[name] is not None:
            try:
                row[name] = convert(row[name])
            except ValueError as fault:
                return RefusedRow(place, f"column '{name}': {fault}", show_row(row))
    return row


def _json(text: object) -> Json:
    return parse_exact(str(text).encode())


def to_json(value: object) -> Json:
    """Convert a Python value that DuckDB returned to a JSON value.

    Raises ValueError with the reason if JSON cannot represent the value.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value}, which JSON cannot represent")
        return value
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, date | time | timedelta | UUID):
        return str(value)
    if isinstance(value, dict):
        return {
            name if isinstance(name, str) else str(to_json(name)): to_json(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    kind = "bytes" if isinstance(value, bytes | bytearray) else type(value).__name__
    raise ValueError(f"{kind}, which JSON cannot represent")


def _decimal(value: Decimal) -> Json:
    if value.as_tuple().exponent == 0:
        return to_json(int(value))
    nearest_float = float(value)
    return nearest_float if Decimal(repr(nearest_float)) == value else str(value)
