"""Opens the destination that is configured in the `load` section of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.address import FileAddress, no_connections, parse_address
from loomgit.rows.file_sink import FileSink
from loomgit.rows.sqlite_replace import SqliteReplaceSink
from loomgit.rows.sqlite_sink import SqliteSink
from loomgit.rows.sqlite_table import DestinationTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from loomgit.domain.definitions import Load
    from loomgit.domain.ports import Sink
    from loomgit.domain.values import JsonObject


def open_sink(
    load: Load,
    *,
    key: tuple[str, ...],
    root: Path,
    stage: Path,
    run: str,
    examples: Sequence[JsonObject] = (),
    connections: Callable[[str], str | None] = no_connections,
) -> Sink:
    """Return the sink for the destination that `load` configures.

    `key` lists the fields that identify a row; it may be empty if there are no rows. `examples` are
    rows that resemble the rows to load; null in an example stands for an unknown value. `root` is
    the project folder, to which relative paths refer. `stage` is a folder for temporary files.
    `run` is the id of the run. Two pipelines must not use the same `stage` or `run`. If a caller
    loads a batch of rows again, for example after a crash, the sink writes the batch only once.

    The returned sink opens no file before its methods are called. Raises UserError if the address
    is not a valid destination.
    """
    address = parse_address(load.destination, connections)
    if isinstance(address, FileAddress):
        return FileSink(
            address,
            mode=load.mode,
            key=key,
            examples=examples,
            schema=load.schema,
            root=root,
            stage=stage,
        )
    if address.table is None:
        raise UserError(
            f"'{load.destination}': does not name a table", hint=f"sqlite://{address}/TABLE"
        )
    table = DestinationTable(
        root / address.path, str(address), address.table, key, load.schema, examples=examples
    )
    if load.mode == "replace":
        return SqliteReplaceSink(table, stage=stage)
    return SqliteSink(table, mode=load.mode, run=run)
