"""SQL over one file: Loom reads the file, and DuckDB queries what was read."""

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
from loomgit.rows.paths import disk, require_file
from loomgit.rows.query import BoundQuery
from loomgit.rows.sqlite import quote, require_columns
from loomgit.rows.sqlite_source import unique_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duckdb import DuckDBPyConnection

    from loomgit.domain.values import JsonObject

_CHECKED = 20000  # JSON rows that `check` reads; for a CSV file it reads the header alone
_ANY_ROWS = BoundQuery("SELECT * FROM data")


class RowFile(Struct, frozen=True):
    """A CSV, JSON or JSON lines file as Loom reads it, with a query or without."""

    path: Path
    shown: str
    form: Format

    def header(self) -> tuple[str, ...]:
        """The columns of a CSV file; empty for JSON, where each row has its own fields."""
        return CsvFile(self.path, self.shown).header() if self.form == "csv" else ()

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows. The values of a CSV file are text; a JSON array is read whole."""
        require_file(self.path, self.shown)
        if self.form == "csv":
            yield from CsvFile(self.path, self.shown).rows()
        elif self.form == "jsonl":
            for line in read_lines(self.path, self.shown):
                yield line.row
        else:
            yield from read_array(self.path, self.shown)


class FileQuery:
    """A query over one file, which SQL sees as the table `data` and as a table named as the file.

    Loom reads CSV and JSON files in the same way with a query and without one, so `SELECT * FROM
    data` gives the same records; only a field that a JSON row lacks is null. A column of a CSV file
    is text. A column of a JSON file has the type of its values (`ColumnTypes`), or is JSON. Rows
    that cannot be kept exactly are not in the table; they come before the rows of the query. DuckDB
    reads Parquet files, and the files that the SQL itself names. `select` converts the values.
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
        self._file = RowFile(path, shown, form)
        self._root = root
        self._confined = confined
        self._query = query or _ANY_ROWS
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise where the file, a table or column of the query, or a needed column is missing."""
        shown = self._file.shown
        with self._table() as table:
            for _ in table.fill(whole=False):
                pass  # a refused row costs only its record
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
    def _table(self) -> Iterator[_Table]:
        require_file(self._file.path, self._file.shown)
        with tempfile.TemporaryDirectory(prefix="loom-query-") as folder:
            yield _Table(self._file, Path(folder))

    @contextmanager
    def _connect(self, table: _Table) -> Iterator[DuckDBPyConnection]:
        readable = [table.folder, self._file.path, self._root] if self._confined else None
        with connect(self._root, self._file.shown, readable) as connection:
            yield connection

    def _require_select(self) -> None:
        import duckdb  # noqa: PLC0415 - a third of a second, for those who need it

        kinds = [statement.type for statement in duckdb.extract_statements(self._query.text)]
        if kinds != [duckdb.StatementType.SELECT]:
            raise UserError(f"{self._file.shown}: the query is not one SELECT")


class _Table:
    """The rows of a file as a table of DuckDB: a copy in JSON lines, with a type for each column.

    DuckDB does not read CSV and JSON files itself, because it has other rules for header, line ends
    and types. A Parquet file needs no copy.
    """

    def __init__(self, file: RowFile, folder: Path) -> None:
        self.folder = folder
        self._file = file
        self._copy = folder / "rows.jsonl"
        self._types = ColumnTypes()
        self._count = 0

    def fill(self, *, whole: bool) -> Iterator[RefusedRow]:
        """Copy the rows, or the first of them; stream those that are refused."""
        if self._file.form == "parquet":
            return
        # The columns of a file without rows, and their order, are those of the header.
        self._types.add(dict.fromkeys(self._file.header()))
        rows: Iterable[JsonObject | RefusedRow] = self._file.rows()
        if not whole:
            rows = islice(rows, 0 if self._file.form == "csv" else _CHECKED)
        with disk(str(self.folder)), self._copy.open("xb") as copy:
            for row in rows:
                if isinstance(row, RefusedRow):
                    yield row
                    continue
                self._types.add(row)
                copy.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                self._count += 1

    def attach(self, connection: DuckDBPyConnection) -> bool:
        """Make the table known to `connection`. False: the file has neither rows nor columns."""
        reading = f"FROM {parquet_reader(self._file.path)}"
        if self._file.form != "parquet":
            types = self._types.sql(self._file.shown)
            if not types:
                if self._count:
                    raise UserError(f"{self._file.shown}: no record has a field to query")
                return False
            reading = f"FROM {json_lines_reader(self._copy, types)}"
        for name in dict.fromkeys(("data", self._file.path.stem.lower())):
            connection.execute(f"CREATE VIEW {quote(name)} AS {reading}")
        return True
