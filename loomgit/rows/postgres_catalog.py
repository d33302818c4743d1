"""Reads the system catalog of PostgreSQL: tables, their columns and unique keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.rows.postgres_columns import Column
from loomgit.rows.postgres_connection import quote

if TYPE_CHECKING:
    from loomgit.rows.postgres_connection import Connection

_COLUMNS = """
    SELECT a.attname, a.attnotnull, a.atthasdef OR a.attidentity <> '',
        a.attgenerated <> '' OR a.attidentity = 'a', a.atttypid, a.atttypmod,
        format_type(a.atttypid, a.atttypmod)
    FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
_TYPE = """
    SELECT typname, typtype = 'd', typbasetype, typtypmod, typnotnull, typdefault IS NOT NULL,
        CASE WHEN typcategory = 'A' AND typlen = -1 THEN typelem ELSE 0 END
    FROM pg_type WHERE oid = %s
"""


class _Type(Struct, frozen=True):
    """A type after its domains are resolved. `element` is the id of the element type, or 0."""

    name: str
    modifier: int
    not_null: bool
    has_default: bool
    element: int


def load_columns(connection: Connection, table: int) -> dict[str, Column]:
    """Return the columns of the table with the object id `table`, by name and in order."""
    columns = {}
    for row in connection.execute(_COLUMNS, (table,)).fetchall():
        name, not_null, has_default, generated, oid, modifier, shown = row
        kind = _resolve(connection, int(str(oid)), int(str(modifier)))
        element = None
        modifier = kind.modifier
        if kind.element:
            of_elements = _resolve(connection, kind.element, kind.modifier)
            element, modifier = of_elements.name, of_elements.modifier
        columns[str(name)] = Column(
            name=str(name),
            not_null=bool(not_null) or kind.not_null,
            has_default=bool(has_default) or kind.has_default,
            generated=bool(generated),
            modifier=modifier,
            type=kind.name,
            element=element,
            shown=str(shown),
        )
    return columns


def _resolve(connection: Connection, oid: int, modifier: int) -> _Type:
    """Return the type behind all domains, with the modifier that applies."""
    not_null = has_default = False
    while True:
        row = connection.execute(_TYPE, (oid,)).fetchone()
        assert row is not None  # the columns of a table have a type
        name, is_domain, base, domain_modifier, is_not_null, is_default, element = row
        not_null, has_default = not_null or bool(is_not_null), has_default or bool(is_default)
        if not is_domain:
            return _Type(str(name), modifier, not_null, has_default, int(str(element)))
        oid, modifier = int(str(base)), int(str(domain_modifier))


def find_table(connection: Connection, schema: str | None, table: str) -> tuple[int, str] | None:
    """Return the object id and the kind of a table or view, or None if there is no such table.

    The kind is one of PostgreSQL's `relkind` letters, such as `r` for a table and `v` for a view.
    """
    row = connection.execute(
        "SELECT c.oid, c.relkind::text FROM pg_class c WHERE c.relname = %s "
        "AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND CASE WHEN %s::text IS NULL "
        "THEN pg_table_is_visible(c.oid) ELSE c.relnamespace = to_regnamespace(%s) END",
        (table, schema, None if schema is None else quote(schema)),
    ).fetchone()
    return None if row is None else (int(str(row[0])), str(row[1]))


def unique_keys(connection: Connection, table: int) -> list[frozenset[str]]:
    """Return the column sets of the unique indexes that `ON CONFLICT` can use."""
    rows = connection.execute(
        "SELECT array_agg(a.attname::text) FROM pg_index i "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) "  # without INCLUDE
        "WHERE i.indrelid = %s AND i.indisunique AND i.indimmediate AND i.indisvalid "
        "AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid",
        (table,),
    ).fetchall()
    return [frozenset(map(str, row[0])) for row in rows]  # type: ignore[arg-type]
