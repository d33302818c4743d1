"""Parses addresses: the URLs and paths of sources and destinations in pipeline files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from loomgit.domain.settings import Connection
from loomgit.domain.suggestions import did_you_mean, suggest_or_list
from loomgit.errors import UserError
from loomgit.rows.sql_address import (
    DIALECTS,
    SqlAddress,
    names_dialect,
    parse_sql_address,
    refuse_destination,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

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
POSTGRES_SCHEMES = ("postgres", "postgresql")
SCHEMES = ("postgres", "sqlite", "file")
LOCAL_SCHEMES = ("sqlite", "file")
PLANNED_SCHEMES = ("s3", "http", "https", "pipeline")
NO_CONNECTIONS: Final[Mapping[str, Connection]] = MappingProxyType({})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*)://(.*)", re.DOTALL)
_FORMS = (
    "postgres://CONNECTION/TABLE, sqlite://PATH/TABLE, file://PATH, or the path of a .csv, .json, "
    ".jsonl or .parquet file"
)
_PASSWORDS = {"password", "sslpassword"}
_MAX_NAME_BYTES = 63  # PostgreSQL cuts off longer names
_POSTGRES_FORMS = "postgres://CONNECTION/TABLE, or postgres://USER@HOST/DATABASE/TABLE"


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


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """The address of a PostgreSQL database and a table.

    `url` is the URL for libpq (the client library of PostgreSQL). It may contain a password, so
    messages show `alias`, the name of the connection, or `database`, the URL without user, password
    and parameters.
    `schema` is None if the URL names no schema; PostgreSQL then searches its `search_path`. `table`
    is None if the URL names only the database. `loom_schema` is the schema of Loom's own tables.
    """

    url: str = field(repr=False, compare=False)
    database: str
    schema: str | None
    table: str | None
    alias: str | None = field(default=None, compare=False)
    loom_schema: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.database if self.alias is None else f"connection '{self.alias}'"


WritableAddress: TypeAlias = FileAddress | SqliteAddress | PostgresAddress
Address: TypeAlias = WritableAddress | SqlAddress
"""Two addresses are equal if they name the same target, even with different spellings, such as
`./a.csv` and `a.csv`."""


def local_files(source: str) -> tuple[str, ...]:
    """Return the relative paths that may be the location of a source's file.

    The result is empty for an absolute path or an unknown scheme. For `sqlite://a/b/c`, it contains
    `a/b/c`, `a/b` and `a`, because the URL does not show where the path of the database ends.
    """
    matched = _SCHEME.fullmatch(source)
    scheme, location = (
        ("file", source) if matched is None else (matched[1].lower(), unquote(matched[2]))
    )
    if scheme not in ("file", "sqlite") or PurePosixPath(location).is_absolute():
        return ()
    if scheme == "file":
        return (location,)
    path = PurePosixPath(location)
    return tuple(str(each) for each in (path, *path.parents) if each.name)


def parse_address(text: str, connections: Mapping[str, Connection] = NO_CONNECTIONS) -> Address:
    """Parse a `postgres://`, `sqlite://` or `file://` URL, a path, or `DIALECT://CONNECTION/TABLE`.

    Percent escapes such as `%20` are decoded in URLs, but not in paths. `connections` maps names to
    connections. In `postgres://NAME/TABLE` and `postgres://NAME`, NAME is always the name of a
    connection. In `sqlite://NAME/TABLE` and `sqlite://NAME`, NAME is the name of a connection if
    `connections` contains it and if it does not end with the extension of a database file.

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
    if scheme in POSTGRES_SCHEMES:
        return _postgres(text, connections)
    if names_dialect(text, connections):
        return parse_sql_address(text, connections)
    if scheme in PLANNED_SCHEMES:
        available = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(
            f"'{text}': {scheme}:// is not available in this version",
            hint=f"use {available} URLs, or paths of .csv, .json, .jsonl and .parquet files",
        )
    raise UserError(
        f"'{text}': unknown scheme '{scheme}://'",
        hint=did_you_mean(scheme, (*SCHEMES, *POSTGRES_SCHEMES, *PLANNED_SCHEMES, *DIALECTS))
        or _FORMS,
    )


def parse_destination(
    text: str, connections: Mapping[str, Connection] = NO_CONNECTIONS
) -> WritableAddress:
    """Parse the address of a destination, as `parse_address` does.

    Raises UserError if the address is invalid, or if Loom can only read from it.
    """
    if names_dialect(text, NO_CONNECTIONS):
        refuse_destination(text)  # even if the connection is not configured
    address = parse_address(text, connections)
    if isinstance(address, SqlAddress):
        refuse_destination(text)
    return address


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


def _sqlite(location: str, text: str, connections: Mapping[str, Connection]) -> SqliteAddress:
    database, slash, table = location.rstrip("/").rpartition("/")
    if table.lower().endswith(DATABASE_EXTENSIONS):  # the URL of a database without a table
        return SqliteAddress(_path(location.rstrip("/")), None)
    if not slash or not database or not table:
        connection = connections.get(table or database)
        if connection is not None:
            return _sqlite_connection(connection, table or database, None)
        raise UserError(
            f"'{text}': does not name a table", hint=f"sqlite://{location.strip('/')}/TABLE"
        )
    if "/" not in database and not database.lower().endswith(DATABASE_EXTENSIONS):
        connection = connections.get(database)
        if connection is not None:
            return _sqlite_connection(connection, database, table)
    return SqliteAddress(_path(database), table)


def _sqlite_connection(connection: Connection, alias: str, table: str | None) -> SqliteAddress:
    """Return the address of `table` in the database of the connection `alias`."""
    matched = _SCHEME.fullmatch(connection.url)
    if matched is None or matched[1].lower() != "sqlite" or not matched[2]:
        # The message does not show the URL, because the URL may contain a secret.
        raise UserError(
            f"connection '{alias}' is not a sqlite:// URL",
            hint="write the URL as sqlite://PATH or sqlite:///PATH",
        )
    address = SqliteAddress(_path(unquote(matched[2].rstrip("/"))), None)
    return SqliteAddress(address.path, table, alias)


def _postgres(text: str, connections: Mapping[str, Connection]) -> PostgresAddress:
    """Parse `postgres://CONNECTION/TABLE`, or a full URL with a user, a port or a database.

    A dot in TABLE separates the schema from the table.
    """
    parts = _split_url(text, "the address")
    segments = [part for part in parts.path.split("/") if part]
    parameters = {name.lower() for name, _ in parse_qsl(parts.query)}
    if parts.password is not None or parameters & _PASSWORDS:
        # The message does not show the address, because it contains the password.
        raise UserError(
            "the address contains a password, which would be committed",
            hint="add the URL to connections in .loom/config.yaml, with ${NAME} for the password",
        )
    has_user_or_port = "@" in parts.netloc or ":" in parts.netloc
    is_url = not parts.netloc or has_user_or_port or bool(parts.query) or len(segments) > 1
    if is_url and unquote(parts.netloc) in connections:
        raise UserError(
            f"'{text}': after a connection, only the name of a table can follow",
            hint=f"write postgres://{parts.netloc}/TABLE or postgres://{parts.netloc}/SCHEMA.TABLE",
        )
    if is_url:
        if not 1 <= len(segments) <= 2:
            raise UserError(f"'{text}': does not name a database and a table", hint=_POSTGRES_FORMS)
        table = segments[1] if len(segments) == 2 else None
        return _postgres_table(Connection(_libpq_url(parts, segments[0])), None, table)
    alias = unquote(parts.netloc)
    connection = connections.get(alias)
    if connection is None:
        raise UserError(
            f"'{text}': the connection '{alias}' is not configured",
            hint=suggest_or_list(alias, list(connections), "there are")
            or "add it to connections in .loom/config.yaml: a URL such as postgresql://HOST/DATABASE",
        )
    return _postgres_table(connection, alias, segments[0] if segments else alias)


def _postgres_table(
    connection: Connection, alias: str | None, table: str | None
) -> PostgresAddress:
    shown = f"connection '{alias}'" if alias else "the address"
    parts = _split_url(connection.url, shown)
    segments = [part for part in parts.path.split("/") if part]
    if parts.scheme not in POSTGRES_SCHEMES or len(segments) > 1:
        raise UserError(
            f"{shown} is not a URL of a PostgreSQL database",
            hint="write the URL as postgresql://USER:${PASSWORD}@HOST/DATABASE",
        )
    schema, dot, name = (table or "").rpartition(".")
    longest = max(len(unquote(part).encode("utf-8", "surrogateescape")) for part in (schema, name))
    if (dot and not (schema and name)) or longest > _MAX_NAME_BYTES:
        raise UserError(f"'{table}' is not a table name", hint="write TABLE or SCHEMA.TABLE")
    return PostgresAddress(
        connection.url,
        f"postgres://{parts.netloc.rpartition('@')[2]}/{unquote(segments[0]) if segments else ''}",
        unquote(schema) or None,
        unquote(name) or None,
        alias,
        connection.loom_schema,
    )


def _split_url(url: str, shown: str) -> SplitResult:
    """Return the parts of a URL. The message of an error does not show them: they may be secret."""
    try:
        parts = urlsplit(url)
        if "," not in parts.netloc:  # libpq also accepts several hosts, each with a port
            parts.port  # noqa: B018 - raises ValueError for a port that is not a number
    except ValueError as fault:
        raise UserError(f"{shown} is not a valid URL", hint=_POSTGRES_FORMS) from fault
    if parts.netloc.count("@") > 1:
        raise UserError(
            f"{shown}: the user or the password contains '@'",
            hint="write special characters of a user or password as percent escapes, such as %40",
        )
    if parts.fragment:
        raise UserError(f"{shown} contains '#'", hint="write # as %23")
    return parts


def _libpq_url(parts: SplitResult, database: str) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return f"postgresql://{parts.netloc}/{database}{query}"
