"""Finds and opens the quarantines of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.place import Problem
from loomgit.errors import UserError
from loomgit.rows.address import FileAddress, parse_address
from loomgit.rows.quarantine import QuarantineFile
from loomgit.rows.quarantine_address import open_quarantine_store, parse_quarantine_address
from loomgit.wiring.placed_errors import placed
from loomgit.wiring.unsupported import same_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.quarantine import QuarantineStore
    from loomgit.domain.settings import Connection
    from loomgit.wiring.project import Wiring

FOLDER = "state/quarantine"


def quarantine_address(pipeline: Pipeline) -> str:
    """Return the address of a pipeline's quarantine, as users write it."""
    return pipeline.load.quarantine or f".loom/{FOLDER}/{pipeline.name}.jsonl"


def default_quarantine(wiring: Wiring, name: str) -> QuarantineFile:
    """Return the quarantine of a pipeline without `load.quarantine`."""
    path = wiring.store.folder / FOLDER / f"{name}.jsonl"
    return QuarantineFile(path, f".loom/{FOLDER}/{name}.jsonl")


def default_quarantine_names(wiring: Wiring) -> list[str]:
    """Return the names of the pipelines whose quarantine file exists in `.loom`, sorted."""
    folder: Path = wiring.store.folder / FOLDER
    return sorted(path.stem for path in folder.glob("*.jsonl"))


def open_quarantine(wiring: Wiring, pipeline: Pipeline) -> QuarantineStore:
    """Return the quarantine of a pipeline. Raises ProblemsFound if its address is invalid."""
    url = pipeline.load.quarantine
    if url is None:
        return default_quarantine(wiring, pipeline.name)
    with placed(pipeline, "load.quarantine"):
        return open_quarantine_store(url, wiring.root, wiring.connections)


def open_checked_quarantine(wiring: Wiring, pipeline: Pipeline) -> QuarantineStore:
    """Return the quarantine of a pipeline. Raises LoomError if it is not writable.

    The default file is not checked, because a run checks the folder `.loom` anyway.
    """
    store = open_quarantine(wiring, pipeline)
    if pipeline.load.quarantine is not None:
        with placed(pipeline, "load.quarantine"):
            store.check()
    return store


def invalid_quarantine(
    pipeline: Pipeline, connections: Mapping[str, Connection]
) -> Iterator[Problem]:
    """Yield a problem if `load.quarantine` cannot be the quarantine. Nothing is opened."""
    url = pipeline.load.quarantine
    if url is None:
        return
    place = pipeline.place("load.quarantine")
    try:
        parse_quarantine_address(url, connections)
    except UserError as error:
        yield Problem(place, f"load.quarantine: {error.message}", error.hint)
    if same_place(url, pipeline.load.destination, connections):
        message = "load.quarantine: this is also load.destination"
        yield Problem(place, message, "use another table or file")


def loads_at_once(pipeline: Pipeline, connections: Mapping[str, Connection]) -> bool:
    """Whether the rows of a batch are visible in the destination before the end of the run.

    This is the case for tables, except in the mode `replace`.
    """
    address = parse_address(pipeline.load.destination, connections)
    return pipeline.load.mode != "replace" and not isinstance(address, FileAddress)
