"""Opens the source that is configured in the `extract` section of a pipeline."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from loomgit.domain.ports import BatchSource
from loomgit.errors import UserError
from loomgit.rows.address import (
    NO_CONNECTIONS,
    PostgresAddress,
    SqliteAddress,
    parse_address,
)
from loomgit.rows.file_query import FileQuery, SourceFile
from loomgit.rows.incremental_source import IncrementalBatchSource, IncrementalSource
from loomgit.rows.paths import require_file
from loomgit.rows.sql_address import SqlAddress
from loomgit.rows.sqlite import require_columns
from loomgit.rows.sqlite_source import SqliteSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.cursor_window import CursorReading, CursorWindow
    from loomgit.domain.definitions import Extract
    from loomgit.domain.ports import QueryValues, Source
    from loomgit.domain.records import RefusedRow
    from loomgit.domain.settings import Connection
    from loomgit.domain.values import JsonObject
    from loomgit.rows.address import Address
    from loomgit.rows.query import BoundQuery


def open_source(
    extract: Extract,
    *,
    root: Path,
    values: QueryValues,
    connections: Mapping[str, Connection] = NO_CONNECTIONS,
    confined: bool = False,
    window: CursorWindow | None = None,
    reading: CursorReading | None = None,
) -> Source:
    """Return the source that `extract` configures, with its query and its row limit.

    `root` is the project folder, to which relative paths refer. `values` are the values that the
    query can use as parameters. `connections` are the connections by name. If `confined` is true, a
    query over a file can read only this file and the files under `root`. The returned source reads
    no data until `check` or `rows` is called. If `window` is given, the source has only the rows in
    the window, and `reading` records the progress.

    Raises UserError if the address is not a valid source, and QueryError if the query is invalid.
    """
    address = parse_address(extract.source, connections)
    query = _bind(extract.query, values, address)
    needed = list(extract.key)
    if extract.incremental is not None:
        needed.append(extract.incremental.cursor)
    source = _open(address, root=root, query=query, needed=needed, confined=confined, window=window)
    if window is None or reading is None:
        return source if extract.limit is None else _LimitedSource(source, extract.limit)
    if isinstance(source, BatchSource) and extract.limit is None:
        return IncrementalBatchSource(source, window, reading, shown=str(address), limit=None)
    return IncrementalSource(source, window, reading, shown=str(address), limit=extract.limit)


def _bind(query: str | None, values: QueryValues, address: Address) -> BoundQuery | None:
    if query is None:
        return None
    from loomgit.rows.sql import bind  # noqa: PLC0415 - imports Jinja (200 ms)

    if isinstance(address, SqlAddress):
        return bind(query, values, ":n", address.dialect)
    return bind(query, values, "$n" if isinstance(address, PostgresAddress) else "?")


def _open(
    address: Address,
    *,
    root: Path,
    query: BoundQuery | None,
    needed: Sequence[str],
    confined: bool,
    window: CursorWindow | None,
) -> Source:
    if isinstance(address, PostgresAddress):
        from loomgit.rows.postgres_source import (  # noqa: PLC0415 - psycopg takes 200 ms
            PostgresSource,
        )

        return PostgresSource(address, query=query, needed=needed, window=window)
    if isinstance(address, SqlAddress):
        return _open_sql(address, root=root, query=query, needed=needed, window=window)
    path, shown = root / address.path, str(address)
    if isinstance(address, SqliteAddress):
        if address.table is None and query is None:
            raise UserError(
                f"{shown}: does not name a table, and the pipeline has no query",
                hint=f"sqlite://{shown}/TABLE",
            )
        return SqliteSource(
            path, shown, table=address.table, query=query, needed=needed, window=window
        )
    if query is not None or address.format == "parquet":
        return FileQuery(
            path, shown, address.format, root=root, query=query, needed=needed, confined=confined
        )
    return FileSource(SourceFile(path, shown, address.format), needed=needed)


def _open_sql(
    address: SqlAddress,
    *,
    root: Path,
    query: BoundQuery | None,
    needed: Sequence[str],
    window: CursorWindow | None,
) -> Source:
    """Return a source that is read through SQLAlchemy, which is an extra of Loom."""
    try:
        from loomgit.rows.sql_source import (  # noqa: PLC0415 - SQLAlchemy takes 300 ms
            SqlSource,
        )
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise
        raise UserError(
            f"{address}: {address.dialect} databases need SQLAlchemy: pip install 'loom-aietl[sql]'"
        ) from error
    return SqlSource(address, root=root, query=query, needed=needed, window=window)


class FileSource:
    """A CSV, JSON or JSON lines file as a source. `needed` are the required columns."""

    def __init__(self, file: SourceFile, *, needed: Sequence[str]) -> None:
        self._file = file
        self._needed = tuple(needed)

    def check(self) -> None:
        """Raise UserError or WorldError if the file cannot be read.

        In a CSV file, a missing required column is also a UserError.
        """
        require_file(self._file.path, self._file.shown)
        if header := self._file.header():
            require_columns(self._needed, header, f"{self._file.shown}:1")

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the rows of the file."""
        return self._file.rows()


class _LimitedSource:
    def __init__(self, source: Source, limit: int) -> None:
        self._source = source
        self._limit = limit

    def check(self) -> None:
        self._source.check()

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        return islice(self._source.rows(), self._limit)
