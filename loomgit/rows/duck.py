"""DuckDB in process: connections, and the rows of a SELECT as JSON values."""

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

BATCH = 1000  # rows fetched at a time
_LONGEST_OBJECT = 256 * 1024 * 1024  # bytes of one JSON object; DuckDB's own limit is 16 MiB
_AS_THEY_ARE = frozenset(
    {"BOOLEAN", "VARCHAR", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
    | {"UTINYINT", "USMALLINT", "UINTEGER"}
)
# Types that come out as SQL's own text: Python has no nanoseconds, infinite dates and months.
# A name in quotes, or one in front of its type (`STRUCT(DATE DATE)`), is not a type.
_AS_TEXT = re.compile(
    r"\"(?:[^\"]|\"\")*\"|\b(?P<type>DATE|INTERVAL|TIME(?:_NS|STAMP(?:_S|_MS|_NS)?)?"
    r"(?: WITH TIME ZONE)?)(?=[\[\](),]|$)"
)
_GLOB = re.compile(r"([*?\[])")


@contextmanager
def connect(
    root: Path, shown: str, readable: Sequence[Path] | None = None
) -> Iterator[DuckDBPyConnection]:
    """A database in memory, in UTC, that downloads nothing and translates its errors.

    Relative paths inside SQL are looked for under `root`. With `readable`, SQL reads only these
    folders and files. One thread and no cache of files: memory
    stays flat over any number of rows, and extraction is never what a run waits for. What a sort
    cannot hold spills into the system's temporary folder.
    """
    import duckdb  # noqa: PLC0415 - a third of a second, for those who need it

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
    if "explicit" in str(fault):  # a cast is missing
        return (
            "the columns of a CSV file are text, and those with mixed JSON values are JSON: "
            "CAST(rating AS INTEGER)"
        )
    return None


def literal(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def file_literal(path: Path) -> str:
    """The path as a literal that DuckDB takes letter for letter, `*`, `?` and `[` included."""
    return literal(_GLOB.sub(r"[\1]", str(path)))


def parquet_reader(path: Path) -> str:
    """A table function that reads the file alone: folders such as `year=2026` are no columns."""
    return f"read_parquet({file_literal(path)}, hive_partitioning = false)"


def json_lines_reader(path: Path, types: Mapping[str, str]) -> str:
    """A table function that reads JSON lines with these columns, and takes nothing else from them
    or from the names of folders."""
    columns = ", ".join(f"{quote(name)}: {literal(kind)}" for name, kind in types.items())
    return (
        f"read_json({file_literal(path)}, format = 'newline_delimited', columns = {{{columns}}}, "
        f"maximum_object_size = {_LONGEST_OBJECT}, hive_partitioning = false)"
    )


def select(
    connection: DuckDBPyConnection, query: BoundQuery, shown: str
) -> Iterator[JsonObject | RefusedRow]:
    """Stream the rows of a SELECT as JSON values.

    Dates, times and timestamps become text in SQL's spelling (`2026-03-04 05:06:07`, in UTC with
    `+00` where the column has a zone). A decimal becomes a number where a float is equal to it, and
    text otherwise; an integer of more than 64 bits becomes text. A row with bytes, NaN or an
    infinity is refused.
    """
    parameters = list(query.parameters)
    connection.execute(query.text, parameters)
    columns = [(str(column[0]), str(column[1])) for column in connection.description or []]
    names = unique_names(columns, shown)
    shown_as = {name: _with_text(kind) for name, kind in columns}
    if any(shown_as[name] != kind for name, kind in columns):
        chosen = ", ".join(
            quote(name)
            if shown_as[name] == kind
            else f"CAST({quote(name)} AS {shown_as[name]}) AS {quote(name)}"
            for name, kind in columns
        )
        connection.execute(f"SELECT {chosen} FROM ({query.text})", parameters)  # noqa: S608
    converters: list[tuple[str, Callable[[object], Json]]] = [
        (name, _json if kind == "JSON" else plain)
        for name, kind in columns
        if kind not in _AS_THEY_ARE
    ]
    number = 0
    while batch := connection.fetchmany(BATCH):
        for values in batch:
            number += 1
            row = dict(zip(names, values, strict=True))
            yield _converted(row, converters, f"{shown}: row {number}")


def _with_text(kind: str) -> str:
    """The type with VARCHAR in place of each type of dates and times."""
    return _AS_TEXT.sub(lambda match: "VARCHAR" if match["type"] else match[0], kind)


def _converted(
    row: JsonObject, converters: Sequence[tuple[str, Callable[[object], Json]]], place: str
) -> JsonObject | RefusedRow:
    """The row with the values of the given columns as JSON."""
    for name, convert in converters:
        if row[name] is not None:
            try:
                row[name] = convert(row[name])
            except ValueError as fault:
                return RefusedRow(place, f"column '{name}': {fault}", show_row(row))
    return row


def _json(text: object) -> Json:
    return parse_exact(str(text).encode())


def plain(value: object) -> Json:
    """A value of DuckDB as JSON. Raises ValueError with the reason where JSON has no such value."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value}, which JSON cannot hold")
        return value
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, date | time | timedelta | UUID):
        return str(value)
    if isinstance(value, dict):
        return {
            name if isinstance(name, str) else str(plain(name)): plain(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    kind = "bytes" if isinstance(value, bytes | bytearray) else type(value).__name__
    raise ValueError(f"{kind}, which JSON cannot hold")


def _decimal(value: Decimal) -> Json:
    if value.as_tuple().exponent == 0:
        return plain(int(value))
    near = float(value)
    return near if Decimal(repr(near)) == value else str(value)
