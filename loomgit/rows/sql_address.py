"""Parses the addresses of databases that Loom reads through SQLAlchemy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote

from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.settings import Connection

# The dialects of SQLAlchemy itself, and well-known dialects of other packages. Any other dialect is
# found through the URL of the connection.
DIALECTS: Final = ("mysql", "mariadb", "mssql", "oracle", "duckdb", "snowflake", "bigquery")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)(\+[A-Za-z0-9_.-]+)?://", re.ASCII)
_DESTINATIONS = (
    "use sqlite://PATH/TABLE, postgres://CONNECTION/TABLE, or the path of a .csv, .json, .jsonl or "
    ".parquet file"
)


@dataclass(frozen=True, slots=True)
class SqlAddress:
    """The address of a table in a database that Loom reads through SQLAlchemy.

    `alias` is the name of the connection. `url` is the URL for SQLAlchemy. It may contain a
    password, so messages show the alias. `dialect` is SQLAlchemy's name of the kind of database,
    such as `mysql`. `schema` is None if the address names no schema.
    """

    alias: str
    schema: str | None
    table: str
    dialect: str = field(compare=False)
    url: str = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"connection '{self.alias}'"


def names_dialect(text: str, connections: Mapping[str, Connection]) -> bool:
    """Whether the scheme of an address is a dialect of SQLAlchemy, such as `mysql`.

    This is also true for a dialect that Loom does not know, if the address names a connection whose
    URL has this dialect. A scheme with a driver, such as `mysql+pymysql`, is always a dialect.
    """
    matched = _SCHEME.match(text)
    if matched is None:
        return False
    dialect = matched[1].lower()
    if matched[2] or dialect in DIALECTS:
        return True
    alias = unquote(re.split(r"[/?#]", text[matched.end() :], maxsplit=1)[0])
    if alias not in connections:
        return False
    configured = _SCHEME.match(connections[alias].url)
    return configured is not None and configured[1].lower() == dialect


def parse_sql_address(text: str, connections: Mapping[str, Connection]) -> SqlAddress:
    """Parse `DIALECT://CONNECTION/TABLE`, for which `names_dialect` is true.

    A dot in TABLE separates the schema from the table. Without a table, the table has the name of
    the connection. Raises UserError if the address is invalid. The message shows the address only
    if it cannot contain a password.
    """
    matched = _SCHEME.match(text)
    assert matched is not None
    scheme = matched[0].lower()
    form = f"{scheme}CONNECTION/TABLE"
    host, _, path = text[matched.end() :].partition("/")
    alias, table = unquote(host), path.rstrip("/")
    if not alias or re.search(r"[@:?#]", host) or re.search(r"[/@?#]", table):
        raise UserError(
            f"the address of a {matched[1].lower()} database is not {form}",
            hint="add the URL to connections in .loom/config.yaml, with ${NAME} for the password",
        )
    if alias not in connections:
        raise UserError(
            f"'{text}': the connection '{alias}' is not configured",
            hint=suggest_or_list(alias, list(connections), "there are")
            or f"add it to connections in .loom/config.yaml: a URL such as {scheme}HOST/DATABASE",
        )
    url = connections[alias].url
    configured = _SCHEME.match(url)
    dialect, driver = matched[1].lower(), (matched[2] or "").lower()
    if configured is None:
        raise UserError(f"connection '{alias}' is not a URL of a database")
    url_driver = (configured[2] or "").lower()
    if configured[1].lower() != dialect or driver not in ("", url_driver):
        raise UserError(
            f"connection '{alias}' is not a {scheme} URL",
            hint=f"write {configured[1]}://{host}/TABLE",
        )
    schema, dot, name = (table or host).rpartition(".") if table else ("", "", host)
    if (dot and not (schema and name)) or "\0" in unquote(table):
        raise UserError(f"'{table}' is not a table name", hint="write TABLE or SCHEMA.TABLE")
    return SqlAddress(alias, unquote(schema) or None, unquote(name), dialect, url)


def refuse_destination(text: str) -> NoReturn:
    """Raise the UserError for a destination that Loom can only read."""
    scheme = text.partition("://")[0].lower()
    raise UserError(
        f"{scheme}:// is only available as a source: Loom writes to files, SQLite and PostgreSQL",
        hint=_DESTINATIONS,
    )
