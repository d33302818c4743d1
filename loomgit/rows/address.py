"""Parses addresses: the URLs and paths of sources and destinations in pipeline files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote

from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

Format = Literal["csv", "json", "jsonl", "parquet"]

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
DATABASE_EXTENSIONS = (".db", ".sqlite", ".sqlite3", ".db3")
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip")
SCHEMES = ("sqlite", "file")
PLANNED_SCHEMES = ("postgres", "postgresql", "s3", "http", "https", "pipeline")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_FORMS = "sqlite://PATH/TABLE, file://PATH, or the path of a .csv, .json, .jsonl or .parquet file"


@dataclass(frozen=True, slots=True)
class FileAddress:
    """The address of a data file. `path` is absolute, or relative to the project folder."""

    path: Path
    format: Format

    def __str__(self) -> str:
        return self.path.as_posix()


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """The address of a SQLite database and a table.

    `table` is None if the URL names only the database. If a connection of the project defines the
    database, `alias` is the name of this connection. Messages then show the alias instead of the
    path, because the path may contain a secret.
    """

    path: Path
    table: str | None
    alias: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.path.as_posix() if self.alias is None else f"connection '{self.alias}'"


Address: TypeAlias = FileAddress | SqliteAddress
"""Two addresses are equal if they name the same target, even with different spellings, such as
`./a.csv` and `a.csv`."""


def no_connections(_alias: str) -> str | None:
    """Return None for every connection name, as in a project that defines no `connections:`."""
    return None


def local_files(source: str) -> tuple[str, ...]:
    """Return the relative paths that may be the location of a source's file.

    The result is empty for an absolute path or an unknown scheme. For `sqlite://a/b/c`, it contains
    `a/b/c`, `a/b` and `a`, because the URL does not show where the path of the database ends.
    """
    matched = _SCHEME.fullmatch(source)
    scheme, location = (
        ("file", source) if matched is None else (matched[1].lower(), unquote(matched[2]))
    )
    if scheme not in SCHEMES or PurePosixPath(location).is_absolute():
        return ()
    if scheme == "file":
        return (location,)
    path = PurePosixPath(location)
    return tuple(str(each) for each in (path, *path.parents) if each.name)


def parse_address(text: str, connections: Callable[[str], str | None] = no_connections) -> Address:
    """Parse a `file://` or `sqlite://` URL, or a path.

    Percent escapes such as `%20` are decoded in URLs, but not in paths. `connections` is a function
    that returns the URL of a connection name, or None for an unknown name. For
    `sqlite://NAME/TABLE` and `sqlite://NAME`, it is called with NAME, except if NAME has the
    extension of a database file.

    Raises UserError if the address is invalid. The caller adds the position in the pipeline file to
    the message.
    """
    if not text.strip():
        raise UserError("the source or destination is empty", hint=_FORMS)
    if "\0" in text:
        raise UserError("the source or destination contains a NUL character", hint=_FORMS)
    matched = _SCHEME.fullmatch(text)
    if matched is None:
        return _file(text, text)
    scheme, location = matched[1].lower(), matched[2]
    if scheme == "file":
        return _file(unquote(location), text)
    if scheme == "sqlite":
        return _sqlite(unquote(location), text, connections)
    available = " and ".join(f"{name}://" for name in SCHEMES)
    if scheme in PLANNED_SCHEMES:
        raise UserError(
            f"'{text}': {scheme}:// is not available in this version",
            hint=f"use {available} URLs, or paths of .csv, .json, .jsonl and .parquet files",
        )
    raise UserError(
        f"'{text}': unknown scheme '{scheme}://'",
        hint=did_you_mean(scheme, SCHEMES + PLANNED_SCHEMES) or _FORMS,
    )


def _path(text: str) -> Path:
    return Path(normpath(text))


def _file(path: str, text: str) -> FileAddress:
    if not path:
        raise UserError(f"'{text}': does not name a file", hint=_FORMS)
    normalized = _path(path)
    extension = normalized.suffix.lower()
    if extension in COMPRESSED:
        raise UserError(
            f"'{text}': compressed files are not available in this version",
            hint="decompress the file",
        )
    if extension in DATABASE_EXTENSIONS:
        raise UserError(
            f"'{text}': a database cannot be read as a file", hint=f"write sqlite://{path}/TABLE"
        )
    if extension not in FORMATS:
        problem = f"unknown file format '{normalized.suffix}'" if extension else "no file extension"
        raise UserError(f"'{text}': {problem}", hint=did_you_mean(extension, FORMATS) or _FORMS)
    return FileAddress(normalized, FORMATS[extension])


def _sqlite(location: str, text: str, connections: Callable[[str], str | None]) -> SqliteAddress:
    database, slash, table = location.rstrip("/").rpartition("/")
    if table.lower().endswith(DATABASE_EXTENSIONS):  # the URL of a database without a table
        return SqliteAddress(_path(location.rstrip("/")), None)
    if not slash or not database or not table:
        url = connections(table or database)
        if url is not None:
            return _connection_address(url, table or database, None)
        raise UserError(
            f"'{text}': does not name a table", hint=f"sqlite://{location.strip('/')}/TABLE"
        )
    if "/" not in database and not database.lower().endswith(DATABASE_EXTENSIONS):
        url = connections(database)
        if url is not None:
            return _connection_address(url, database, table)
    return SqliteAddress(_path(database), table)


def _connection_address(url: str, alias: str, table: str | None) -> SqliteAddress:
    """Return the address of `table` in the database of the connection `alias`.

    `url` is the URL of this connection.
    """
    matched = _SCHEME.fullmatch(url)
    if matched is None or matched[1].lower() != "sqlite" or not matched[2]:
        # The message does not show the URL, because the URL may contain a secret.
        raise UserError(
            f"connection '{alias}' is not a sqlite:// URL",
            hint="write the URL as sqlite://PATH or sqlite:///PATH",
        )
    address = SqliteAddress(_path(unquote(matched[2].rstrip("/"))), None)
    return SqliteAddress(address.path, table, alias)
