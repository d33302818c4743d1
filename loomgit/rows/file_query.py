"""SQL queries over one file: Loom reads the file, and DuckDB queries the rows."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct

from loomgit.domain.records import RefusedRow
from loomgit.errors import UserError
from loomgit.rows.address import Format
from loomgit.rows.column_types import ColumnTypes
from loomgit.rows.csv_files import CsvFile
from loomgit.rows.duck import connect, json_lines_reader, parquet_reader, select
from loomgit.rows.json_files import read_array, read_lines
from loomgit.rows.paths import require_file, translate_os_errors
from loomgit.rows.query import BoundQuery
from loomgit.rows.sqlite import quote, require_columns
from loomgit.rows.sqlite_source import unique_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from loomgit.domain.values import JsonObject

_CHECKED = 20000  # number of JSON rows that `check` reads; in a CSV file, it reads the header
_ANY_ROWS = BoundQuery("SELECT * FROM data")


class SourceFile(Struct, frozen=True):
    """A CSV, JSON or JSON lines file.

    Loom reads the file in the same way, whether or not the pipeline has a query.
    """

    path: Path
    shown: str
    form: Format

    def header(self) -> tuple[str, ...]:
        """Return the columns of a CSV file.

        The result is empty for JSON, because each JSON row has its own fields.
        """
        return CsvFile(self.path, self.shown).header() if self.form == "csv" else ()

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows. The values of a CSV file are text. A JSON array is read into memory."""
        require_file(self.path, self.shown)
        if self.form == "csv":
            yield from CsvFile(self.path, self.shown).rows()
        elif self.form == "jsonl":
            for line in read_lines(self.path, self.shown):
                yield line.row
        else:
            yield from read_array(self.path, self.shown)


class FileQuery:
    """A query over one file, which is available in SQL as the table `data` and by its file name.

    Loom reads CSV and JSON files in the same way, whether or not there is a query. Therefore,
    `SELECT * FROM data` returns the same records, except that a missing field of a JSON row is
    null. A column of a CSV file is text. A column of a JSON file has the type of its values (see
    `ColumnTypes`) or is JSON. Rows with values that Loom cannot represent exactly are not in the
    table; `rows` yields them first, as refused rows. Parquet files, and other files that are named
    in the SQL, are read by DuckDB, and `select` converts their values.
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
        """If `confined`, the query reads only this file and the files under `root`."""
        self._file = SourceFile(path, shown, form)
        self._root = root
        self._confined = confined
        self._query = query or _ANY_ROWS
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise UserError or WorldError if the query cannot run.

        This is the case if the file, a table or column of the query, or a required column is
        missing.
        """
        shown = self._file.shown
        with self._table() as table:
            for _ in table.fill(whole=False):
                pass  # a refused row does not stop the run
            with self._connect(table) as connection:
                if not table.attach(connection):
                    return
                self._require_select()
                description = connection.execute(
                    f"DESCRIBE {self._query.text}", list(self._query.parameters)
                ).fetchall()
                require_columns(self._needed, unique_names(description, shown), shown)

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the refused rows of the file, then the rows of the query in its order."""
        with self._table() as table:
            yield from table.fill(whole=True)
            with self._connect(table) as connection:
                if table.attach(connection):
                    self._require_select()
                    yield from select(connection, self._query, self._file.shown)

    @contextmanager
    def _table(self) -> Iterator[_QueryTable]:
        require_file(self._file.path, self._file.shown)
        with tempfile.TemporaryDirectory(prefix="loom-query-") as folder:
            yield _QueryTable(self._file, Path(folder))

    @contextmanager
    def _connect(self, table: _QueryTable) -> Iterator[DuckDBPyConnection]:
        readable = [table.folder, self._file.path, self._root] if self._confined else None
        with connect(self._root, self._file.shown, readable) as connection:
            yield connection

    def _require_select(self) -> None:
        import duckdb  # noqa: PLC0415 - the import takes 0.3 s, and few runs need it

        kinds = [statement.type for statement in duckdb.extract_statements(self._query.text)]
        if kinds != [duckdb.StatementType.SELECT]:
            raise UserError(f"{self._file.shown}: the query must be one SELECT statement")


class _QueryTable:
    """A table in DuckDB with the rows of a file: a copy as JSON lines, with a type for each column.

    DuckDB does not read CSV and JSON files directly, because its rules for headers, line ends and
    types differ from Loom's. A Parquet file needs no copy.
    """

    def __init__(self, file: SourceFile, folder: Path) -> None:
        self.folder = folder
        self._file = file
        self._copy = folder / "rows.jsonl"
        self._types = ColumnTypes()
        self._count = 0

    def fill(self, *, whole: bool) -> Iterator[RefusedRow]:
        """Copy all rows if `whole`, else only the first rows. Yield the refused rows."""
        if self._file.form == "parquet":
            return
        # The header defines the order of the columns. A file without rows has columns too.
        self._types.add(dict.fromkeys(self._file.header()))
        rows: Iterable[JsonObject | RefusedRow] = self._file.rows()
        if not whole:
            rows = islice(rows, 0 if self._file.form == "csv" else _CHECKED)
        with translate_os_errors(str(self.folder)), self._copy.open("xb") as copy:
            for row in rows:
                if isinstance(row, RefusedRow):
                    yield row
                    continue
                self._types.add(row)
                copy.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                self._count += 1

    def attach(self, connection: DuckDBPyConnection) -> bool:
        """Create the table in `connection`. Return False if the file has no rows and no columns."""
        from_clause = f"FROM {parquet_reader(self._file.path)}"
        if self._file.form != "parquet":
            types = self._types.sql(self._file.shown)
            if not types:
                if self._count:
                    raise UserError(f"{self._file.shown}: the records have no fields to query")
                return False
            from_clause = f"FROM {json_lines_reader(self._copy, types)}"
        for name in dict.fromkeys(("data", self._file.path.stem.lower())):
            connection.execute(f"CREATE VIEW {quote(name)} AS {from_clause}")
        return True
