"""Opens what `load` names as a destination of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.rows.address import FileAddress, no_connections, parse_address
from loomgit.rows.file_sink import FileSink
from loomgit.rows.sqlite_replace import SqliteReplaceSink
from loomgit.rows.sqlite_sink import SqliteSink
from loomgit.rows.sqlite_table import Table

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
    """The destination that `load` names.

    `key` is empty if the source has no records. `examples` are
    rows like those to load; a null in them stands for a value that is not known. `stage` is a
    folder for this run's rows on their way, kept until the run is over; it and `run` must be one
    pipeline's. Every sink may be offered a part again, after a crash for instance, and takes it
    once. Nothing is opened before `check` or `load`. Raises UserError for a URL that is no
    destination.
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
        raise UserError(f"'{load.destination}': names no table", hint=f"sqlite://{address}/TABLE")
    table = Table(
        root / address.path, str(address), address.table, key, load.schema, examples=examples
    )
    if load.mode == "replace":
        return SqliteReplaceSink(table, stage=stage)
    return SqliteSink(table, mode=load.mode, run=run)
