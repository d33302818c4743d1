"""SQL queries over one file: Loom reads the rows of the file, and DuckDB runs the query."""

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

# Maximum number of rows that `check` reads from a JSON file. From a CSV file, `check` reads only
# the header.
_CHECKED = 20000
_ANY_ROWS = BoundQuery("SELECT * FROM data")


class SourceFile(Struct, frozen=True):
    """A CSV, JSON or JSON lines file as a source.

    A pipeline reads its source file through this class, whether the pipeline has a query or not.
    Therefore, a query gets the same rows as a pipeline that has no query.
    """

    path: Path
    shown: str
    form: Format

    def header(self) -> tuple[str, ...]:
        """Return the columns of a CSV file.

        The result is empty for a JSON file, because each row of JSON has its own fields.
        """
        return CsvFile(self.path, self.shown).header() if self.form == "csv" else ()

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the rows. All values of a CSV file are text. A JSON array is read into memory."""
        require_file(self.path, self.shown)
        if self.form == "csv":
            yield from CsvFile(self.path, self.shown).rows()
        elif self.form == "jsonl":
            for line in read_lines(self.path, self.shown):
                yield line.row
        else:
            yield from read_array(self.path, self.shown)


class FileQuery:
    """An SQL query over one file as a source.

    In SQL, the file is a table with two names: `data`, and the file name in lower case without the
    extension. Loom reads a CSV or JSON file itself. Therefore, `SELECT * FROM data` returns the
    same records as a pipeline that has no query, except that missing fields of JSON rows are null.
    The columns of a CSV file are text. The values of a JSON column determine its type (see
    `ColumnTypes`). A row that Loom cannot represent exactly is not in the table. `rows` yields such
    rows before the results, as RefusedRows. DuckDB reads Parquet files, and all other files that
    the SQL names.
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
        """Create the source. `needed` are the columns that the result of the query must have.

        If `query` is None, all rows are returned. If `confined` is true, the query can read only
        this file and the files under `root`.
        """
        self._file = SourceFile(path, shown, form)
        self._root = root
        self._confined = confined
        self._query = query or _ANY_ROWS
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise UserError or WorldError if the query cannot run.

        Examples are a missing file, an unknown table or column in the query, and a result that
        lacks a required column.
        """
        shown = self._file.shown
        with self._table() as table:
            for _ in table.fill(whole=False):
                pass  # refused rows are not an error of the source
            with self._connect(table) as connection:
                if not table.attach(connection):
                    return
                self._require_select()
                description = connection.execute(
                    f"DESCRIBE {self._query.text}", list(self._query.parameters)
                ).fetchall()
                require_columns(self._needed, unique_names(description, shown), shown)

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the refused rows of the file, and then the rows of the query result in order."""
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
    """A DuckDB table that contains the rows of a file.

    Loom copies the rows of a CSV or JSON file to a JSON lines file in `folder`, and determines the
    type of each column. DuckDB reads this copy, because its own rules for headers, line ends and
    types differ from Loom's. DuckDB reads a Parquet file directly.
    """

    def __init__(self, file: SourceFile, folder: Path) -> None:
        self.folder = folder
        self._file = file
        self._copy = folder / "rows.jsonl"
        self._types = ColumnTypes()
        self._count = 0

    def fill(self, *, whole: bool) -> Iterator[RefusedRow]:
        """Copy the rows of the file, except refused rows. Yield the refused rows.

        If `whole` is false, copy only the first rows of a JSON file, and no rows of a CSV file.
        """
        if self._file.form == "parquet":
            return
        # The header is added first, because it defines the columns if the file has no rows.
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
        """Create the table in `connection`. Return False if the file has no rows and no columns.

        Raises UserError if the file has rows, but no row has a field.
        """
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
