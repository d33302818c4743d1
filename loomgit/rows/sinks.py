"""Opens the destination that is configured in the `load` section of a pipeline."""
# ruff: noqa: PLC0415 - psycopg takes 200 ms to import

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.address import (
    NO_CONNECTIONS,
    FileAddress,
    PostgresAddress,
    parse_destination,
)
from loomgit.rows.file_sink import FileSink
from loomgit.rows.replace_sink import ReplaceSink
from loomgit.rows.sqlite_replace import ReplaceableSqliteTable
from loomgit.rows.sqlite_sink import SqliteSink
from loomgit.rows.sqlite_table import DestinationTable
from loomgit.rows.stage import Stage, destination_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.definitions import Load
    from loomgit.domain.ports import Sink
    from loomgit.domain.settings import Connection
    from loomgit.domain.values import JsonObject
    from loomgit.domain.watermarks import LoadedParts


def open_sink(
    load: Load,
    *,
    key: tuple[str, ...],
    root: Path,
    stage: Path,
    run: str,
    examples: Sequence[JsonObject] = (),
    connections: Mapping[str, Connection] = NO_CONNECTIONS,
    loaded: LoadedParts | None = None,
) -> Sink:
    """Return the sink for the destination that `load` configures.

    `key` lists the fields that identify a row; it may be empty if there are no rows. `examples` are
    rows that resemble the rows to load; null in an example stands for an unknown value. `root` is
    the project folder, to which relative paths refer. `stage` is a folder for temporary files.
    `run` is the id of the run. Two pipelines must not use the same `stage` or `run`. If a caller
    loads a batch of rows again, for example after a crash, the sink writes the batch only once. A
    table also stores the records in `loaded`, each part in the transaction of its rows.

    The returned sink opens no file before its methods are called. Raises UserError if the address
    is not a valid destination.
    """
    address = parse_destination(load.destination, connections)
    if isinstance(address, FileAddress):
        return FileSink(
            address,
            mode=load.mode,
            key=key,
            examples=examples,
            schema=load.schema,
            root=root,
            stage=stage,
            run=run,
            adds_columns=load.evolve == "add",
            deletes_rejected=load.on_rejected == "delete",
        )
    if address.table is None:
        scheme = "postgres" if isinstance(address, PostgresAddress) else "sqlite"
        raise UserError(f"'{load.destination}': does not name a table", hint=f"{scheme}://…/TABLE")
    if isinstance(address, PostgresAddress):
        return _open_postgres(address, load, key, examples, stage=stage, run=run, loaded=loaded)
    table = DestinationTable(
        root / address.path,
        str(address),
        address.table,
        key,
        load.schema,
        examples=examples,
        adds_columns=load.evolve == "add",
    )
    if load.mode == "replace":
        name = destination_id(table.path, table.name)
        return ReplaceSink(ReplaceableSqliteTable(table), Stage(stage, name, keeps_rows=True))
    deletes_rejected = load.on_rejected == "delete"
    return SqliteSink(
        table, mode=load.mode, run=run, deletes_rejected=deletes_rejected, loaded=loaded
    )


def _open_postgres(
    address: PostgresAddress,
    load: Load,
    key: tuple[str, ...],
    examples: Sequence[JsonObject],
    *,
    stage: Path,
    run: str,
    loaded: LoadedParts | None,
) -> Sink:
    from loomgit.rows.postgres_replace import ReplaceablePostgresTable
    from loomgit.rows.postgres_sink import PostgresSink
    from loomgit.rows.postgres_table import PostgresTable

    table = PostgresTable(
        address,
        mode=load.mode,
        key=key,
        schema=load.schema,
        examples=examples,
        adds_columns=load.evolve == "add",
        deletes_rejected=load.on_rejected == "delete",
    )
    if load.mode == "replace":
        name = destination_id(Path(address.database), table.sql)
        return ReplaceSink(ReplaceablePostgresTable(table), Stage(stage, name, keeps_rows=True))
    return PostgresSink(table, mode=load.mode, run=run, loaded=loaded)
