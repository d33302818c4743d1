"""Checks the privileges of a role in PostgreSQL. The hints are the statements that grant them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.postgres_connection import current_role, quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loomgit.rows.postgres_connection import Connection


def require_privileges(
    connection: Connection, table: int, name: str, privileges: Iterable[str], shown: str
) -> None:
    """Raise UserError if the role lacks a privilege on a table.

    `table` is the object id of the table and `name` its quoted name. `shown` is the database in
    messages.
    """
    for privilege in privileges:
        row = connection.execute("SELECT has_table_privilege(%s, %s)", (table, privilege))
        if row.fetchone() != (True,):
            raise UserError(
                f"{shown}: the role lacks the privilege {privilege} on table {name}",
                hint=f"GRANT {privilege} ON {name} TO {current_role(connection)}",
            )


def require_creatable(connection: Connection, schema: str | None, what: str, shown: str) -> None:
    """Raise UserError if the role cannot create a table in the schema.

    `what` is the table and `shown` the database in messages.
    """
    row = connection.execute(
        "SELECT nspname, has_schema_privilege(oid, 'CREATE') FROM pg_namespace "
        "WHERE nspname = coalesce(%s, current_schema())",
        (schema,),
    ).fetchone()
    if row is None:
        name = schema or "the search path"
        raise UserError(
            f"{shown}: there is no schema for {what} ({name})",
            hint=None if schema is None else f"CREATE SCHEMA {quote(schema)}",
        )
    if row[1] is not True:
        raise UserError(
            f"{shown}: the role cannot create the {what} in schema '{row[0]}'",
            hint=f"GRANT CREATE ON SCHEMA {quote(str(row[0]))} TO {current_role(connection)}; "
            "loom_schema of the connection is the schema of Loom's own tables",
        )
