"""DuckDB in process, the one door to it: SQL over files, and Parquet in and out."""

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

import orjson

from loomgit.errors import UserError, WorldError
from loomgit.rows.csv_files import CsvFile
from loomgit.rows.csv_types import typed
from loomgit.rows.paths import require_file
from loomgit.rows.query import BoundQuery
from loomgit.rows.sqlite import quote, require_columns
from loomgit.rows.sqlite_source import unique_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from loomgit.domain.values import Json, JsonObject
    from loomgit.rows.address import Format

BATCH = 1000  # rows fetched at a time
LONGEST_OBJECT = 256 * 1024 * 1024  # bytes of one JSON object; DuckDB's own limit is 16 MiB
_AS_THEY_ARE = frozenset(
    {"BOOLEAN", "VARCHAR", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
    | {"UTINYINT", "USMALLINT", "UINTEGER"}
)
_SAMPLE = 20000  # JSON rows looked at where the types need not be right
_ZONED = re.compile(r"TIME(?:STAMP)? WITH TIME ZONE")
_CSV_LINE = re.compile(r"CSV Error on Line: (\d+)")
_CSV_WIDTH = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
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
        if (line := _CSV_LINE.search(str(fault))) is not None:
            raise _csv_fault(f"{shown}:{line[1]}", str(fault)) from fault
        raise UserError(f"{shown}: {_first_line(fault)}", hint=_hint(fault)) from fault


def _csv_fault(place: str, text: str) -> UserError:
    if width := _CSV_WIDTH.search(text):
        fields = "1 field" if width[2] == "1" else f"{width[2]} fields"
        return UserError(f"{place}: {fields} where the first line has {width[1]}")
    what = "a quote is never closed" if "unterminated quote" in text else "not CSV"
    return UserError(f"{place}: {what}", hint='a quote inside a field is doubled: "say ""hi"""')


def _first_line(fault: Exception) -> str:
    first, *rest = str(fault).splitlines()
    line = next((match[1] for text in rest if (match := re.match(r"LINE (\d+):", text))), None)
    return f"{first} (line {line} of the query)" if line else first


def _hint(fault: Exception) -> str | None:
    for line in str(fault).splitlines()[1:]:
        if line.startswith(("Did you mean", "Candidate bindings")):
            return line[0].lower() + line[1:]
    return None


def literal(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def file_literal(path: Path) -> str:
    """The path as a literal that DuckDB takes letter for letter, `*`, `?` and `[` included."""
    return literal(_GLOB.sub(r"[\1]", str(path)))


class FileQuery:
    """A query over one file, which it sees as a table named `data` and, too, after its stem.

    A column of a CSV file whose values are all numbers, dates or timestamps is no text here, an
    empty field is null, and a JSON field that some rows lack is null there. Dates, times and
    timestamps come out as text in SQL's spelling (`2026-03-04 05:06:07`, in UTC with `+00` where
    the column has a zone), a decimal as a number where a float says it exactly and as text else,
    NaN as null; bytes and infinities are errors.
    """

    def __init__(
        self,
        path: Path,
        shown: str,
        form: Format,
        *,
        root: Path,
        query: BoundQuery | None,
        needed: Sequence[str],
        confined: bool = False,
    ) -> None:
        """`confined`: the query reads the file and those under `root`, and no others."""
        self._path = path
        self._shown = shown
        self._form: Format = form
        self._root = root
        self._readable = [path, root] if confined else None
        self._query = query or BoundQuery("SELECT * FROM data")
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise where the file, a table or column of the query, or a needed column is missing."""
        self._require_readable()
        with connect(self._root, self._shown, self._readable) as connection:
            self._prepare(connection, whole=False)
            found = connection.execute(
                f"DESCRIBE {self._query.text}", list(self._query.parameters)
            ).fetchall()
            require_columns(self._needed, unique_names(found, self._shown), self._shown)

    def rows(self) -> Iterator[JsonObject]:
        """Stream the rows in the file's or the query's order."""
        self._require_readable()
        with connect(self._root, self._shown, self._readable) as connection:
            self._prepare(connection, whole=True)
            yield from select(connection, self._query, self._shown)

    def _require_readable(self) -> None:
        require_file(self._path, self._shown)

    def _reading(self, connection: DuckDBPyConnection, *, whole: bool) -> str:
        file = file_literal(self._path)
        if self._form == "csv":
            return typed(connection, file, CsvFile(self._path, self._shown).header(), whole=whole)
        if self._form == "parquet":
            return f"FROM read_parquet({file})"
        layout = "newline_delimited" if self._form == "jsonl" else "auto"
        return (
            f"FROM read_json({file}, format = '{layout}', "
            f"sample_size = {-1 if whole else _SAMPLE}, maximum_object_size = {LONGEST_OBJECT})"
        )

    def _prepare(self, connection: DuckDBPyConnection, *, whole: bool) -> None:
        import duckdb  # noqa: PLC0415 - as above

        source = self._reading(connection, whole=whole)
        for name in dict.fromkeys(("data", self._path.stem.lower())):
            connection.execute(f"CREATE VIEW {quote(name)} AS {source}")
        kinds = [statement.type for statement in duckdb.extract_statements(self._query.text)]
        if kinds != [duckdb.StatementType.SELECT]:
            raise UserError(f"{self._shown}: the query is not one SELECT")


def select(connection: DuckDBPyConnection, query: BoundQuery, shown: str) -> Iterator[JsonObject]:
    """Stream the rows of a SELECT as JSON values."""
    parameters = list(query.parameters)
    connection.execute(query.text, parameters)
    columns = [(str(column[0]), str(column[1])) for column in connection.description or []]
    names = unique_names(columns, shown)
    if any(_ZONED.search(kind) for _, kind in columns):  # as such they need the package pytz
        chosen = ", ".join(
            f"CAST({quote(name)} AS {_ZONED.sub('VARCHAR', kind)}) AS {quote(name)}"
            if _ZONED.search(kind)
            else quote(name)
            for name, kind in columns
        )
        connection.execute(f"SELECT {chosen} FROM ({query.text})", parameters)  # noqa: S608
    odd: list[tuple[str, Callable[[object], Json]]] = [
        (name, orjson.loads if kind == "JSON" else plain)  # type: ignore[misc]  # JSON is text
        for name, kind in columns
        if kind not in _AS_THEY_ARE
    ]
    while batch := connection.fetchmany(BATCH):
        for values in batch:
            row = dict(zip(names, values, strict=True))
            for name, convert in odd:
                if row[name] is not None:
                    try:
                        row[name] = convert(row[name])
                    except ValueError as fault:
                        raise UserError(
                            f"{shown}: column '{name}' holds {fault}, which JSON cannot",
                            hint="choose or convert the columns with a query",
                        ) from fault
            yield row


def plain(value: object) -> Json:
    """A value of DuckDB's as JSON; raises ValueError, with what it is, where there is none."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise ValueError(value)
        return None if math.isnan(value) else value
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
    raise ValueError("bytes" if isinstance(value, bytes | bytearray) else type(value).__name__)


def _decimal(value: Decimal) -> Json:
    if value.as_tuple().exponent == 0:
        return plain(int(value))
    near = float(value)
    return near if Decimal(repr(near)) == value else str(value)
