"""Where rows come from and go to: the URL or path of a pipeline file as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote

from loomgit.domain.words import did_you_mean
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
DATABASE_ENDINGS = (".db", ".sqlite", ".sqlite3", ".db3")
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip")
AVAILABLE = ("sqlite", "file")
LATER = ("postgres", "postgresql", "s3", "http", "https", "pipeline")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_FORMS = "sqlite://PATH/TABLE, file://PATH, or the path of a .csv, .json, .jsonl or .parquet file"


@dataclass(frozen=True, slots=True)
class FileAddress:
    """A file of rows; `path` is absolute or relative to the project."""

    path: Path
    format: Format

    def __str__(self) -> str:
        return self.path.as_posix()


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """A SQLite database, with its table; None where the URL names only the database.

    `alias` is the connection that it came from: it is shown in place of the path, which may hold a
    secret.
    """

    path: Path
    table: str | None
    alias: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.path.as_posix() if self.alias is None else f"connection '{self.alias}'"


Address: TypeAlias = FileAddress | SqliteAddress
"""Addresses are equal where they name the same place, however it was spelt (`./a.csv`, `a.csv`)."""


def no_connections(_alias: str) -> str | None:
    """Know no alias: what a project without `connections:` has."""
    return None


def local_files(source: str) -> tuple[str, ...]:
    """The relative paths of the files that a source may mean; of a database URL each part that may
    be the file."""
    matched = _SCHEME.fullmatch(source)
    scheme, rest = (
        ("file", source) if matched is None else (matched[1].lower(), unquote(matched[2]))
    )
    if scheme not in AVAILABLE or PurePosixPath(rest).is_absolute():
        return ()
    if scheme == "file":
        return (rest,)
    return tuple(str(path) for path in PurePosixPath(rest).parents if path.name)


def parse_address(text: str, connections: Callable[[str], str | None] = no_connections) -> Address:
    """Read `text` as an address.

    A bare path is taken letter for letter; in `file://` and `sqlite://` URLs percent escapes are
    decoded. `connections` gives the URL behind an alias and None for other names: it is asked for
    the first word of `sqlite://ALIAS/TABLE` where that word has no database's ending.
    Raises UserError, without a place: that is the caller's.
    """
    if not text.strip():
        raise UserError("an empty source or destination", hint=_FORMS)
    if "\0" in text:
        raise UserError("a source or destination with a NUL character", hint=_FORMS)
    matched = _SCHEME.fullmatch(text)
    if matched is None:
        return _file(text, text)
    scheme, rest = matched[1].lower(), matched[2]
    if scheme == "file":
        return _file(unquote(rest), text)
    if scheme == "sqlite":
        return _sqlite(unquote(rest), text, connections)
    available = " and ".join(f"{name}://" for name in AVAILABLE)
    if scheme in LATER:
        raise UserError(
            f"'{text}': {scheme}:// is not available in this version",
            hint=f"{available} are, and paths of .csv, .json, .jsonl and .parquet files",
        )
    raise UserError(
        f"'{text}': unknown scheme '{scheme}://'",
        hint=did_you_mean(scheme, AVAILABLE + LATER) or _FORMS,
    )


def _path(text: str) -> Path:
    return Path(normpath(text))


def _file(path: str, text: str) -> FileAddress:
    if not path:
        raise UserError(f"'{text}': names no file", hint=_FORMS)
    place = _path(path)
    ending = place.suffix.lower()
    if ending in COMPRESSED:
        raise UserError(
            f"'{text}': compressed files are not available in this version", hint="unpack it first"
        )
    if ending in DATABASE_ENDINGS:
        raise UserError(
            f"'{text}': a database is not read as a file", hint=f"write sqlite://{path}/TABLE"
        )
    if ending not in FORMATS:
        what = f"unknown file format '{place.suffix}'" if ending else "no file format"
        raise UserError(f"'{text}': {what}", hint=did_you_mean(ending, FORMATS) or _FORMS)
    return FileAddress(place, FORMATS[ending])


def _sqlite(rest: str, text: str, connections: Callable[[str], str | None]) -> SqliteAddress:
    place, slash, table = rest.rstrip("/").rpartition("/")
    if table.lower().endswith(DATABASE_ENDINGS):  # the database alone, for `extract.query`
        return SqliteAddress(_path(rest.rstrip("/")), None)
    if not slash or not place or not table:
        alias = connections(table or place)
        if alias is not None:
            return _behind(alias, table or place, None)
        raise UserError(f"'{text}': names no table", hint=f"sqlite://{rest.strip('/')}/TABLE")
    if "/" not in place and not place.lower().endswith(DATABASE_ENDINGS):
        alias = connections(place)
        if alias is not None:
            return _behind(alias, place, table)
    return SqliteAddress(_path(place), table)


def _behind(url: str, alias: str, table: str | None) -> SqliteAddress:
    """The database a connection stands for, with `table` where one is asked for."""
    matched = _SCHEME.fullmatch(url)
    if matched is None or matched[1].lower() != "sqlite" or not matched[2]:
        # The URL may hold a secret: it is not shown.
        raise UserError(
            f"connection '{alias}' is not a sqlite:// URL", hint="sqlite://PATH or sqlite:///PATH"
        )
    address = SqliteAddress(_path(unquote(matched[2].rstrip("/"))), None)
    return SqliteAddress(address.path, table, alias)
