"""Opens the quarantine that `load.quarantine` of a pipeline names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.address import FileAddress, PostgresAddress, parse_destination
from loomgit.rows.quarantine import QuarantineFile
from loomgit.rows.sqlite_quarantine import SqliteQuarantine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from loomgit.domain.quarantine import QuarantineStore
    from loomgit.domain.settings import Connection
    from loomgit.rows.address import WritableAddress

_FORMS = "use a .jsonl file, sqlite://PATH/TABLE, or postgres://CONNECTION/TABLE"


def parse_quarantine_address(text: str, connections: Mapping[str, Connection]) -> WritableAddress:
    """Parse the address of a quarantine: a table or a JSON lines file. Raises UserError."""
    address = parse_destination(text, connections)
    if isinstance(address, FileAddress):
        if address.format != "jsonl":
            raise UserError(
                f"'{text}': a quarantine cannot be a {address.format} file", hint=_FORMS
            )
    elif address.table is None:
        raise UserError(f"'{text}': does not name a table", hint=_FORMS)
    elif address.table == "_loom_loads":
        raise UserError(f"'{text}': the table name '_loom_loads' is reserved", hint=_FORMS)
    return address


def open_quarantine_store(
    text: str, root: Path, connections: Mapping[str, Connection]
) -> QuarantineStore:
    """Return the quarantine at an address. It opens nothing before its methods are called.

    `root` is the project folder, to which relative paths refer. Raises UserError if the address is
    invalid.
    """
    address = parse_quarantine_address(text, connections)
    if isinstance(address, PostgresAddress):
        from loomgit.rows.postgres_quarantine import (  # noqa: PLC0415 - psycopg takes 200 ms
            PostgresQuarantine,
        )

        return PostgresQuarantine(address)
    if isinstance(address, FileAddress):
        return QuarantineFile(root / address.path, str(address))
    assert address.table is not None
    return SqliteQuarantine(root / address.path, str(address), address.table)
