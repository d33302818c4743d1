"""Opens the store of a pipeline's watermark: the destination's database, or a file in `.loom`."""
# ruff: noqa: PLC0415 - psycopg takes 200 ms to import

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from loomgit.domain.watermarks import SourceProgress
from loomgit.errors import UserError
from loomgit.rows.address import FileAddress, PostgresAddress, parse_destination
from loomgit.rows.paths import make_folder, translate_os_errors
from loomgit.rows.sqlite_progress import SqliteWatermarks
from loomgit.rows.stage import Stage, destination_id
from loomgit.rows.stored_watermark import decode_watermark, other_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.settings import Connection
    from loomgit.domain.watermarks import Watermark, WatermarkStore


def open_watermarks(
    pipeline: Pipeline,
    target: str,
    *,
    root: Path,
    folder: Path,
    connections: Mapping[str, Connection],
) -> WatermarkStore:
    """Return the store of the watermark for a pipeline and a target.

    `root` is the project folder, and `folder` is the folder for watermarks of file destinations.
    Nothing is opened. Raises UserError if the address of the destination is not valid.
    """
    address = parse_destination(pipeline.load.destination, connections)
    if isinstance(address, FileAddress):
        name = f"{pipeline.name}-{destination_id(address.path, target)}.json"
        return WatermarkFile(folder / name, root / address.path)
    if address.table is None:
        raise UserError(f"'{pipeline.load.destination}': does not name a table")
    if isinstance(address, PostgresAddress):
        from loomgit.rows.postgres_progress import PostgresWatermarks

        return PostgresWatermarks(address, pipeline.name, target)
    path = root / address.path
    return SqliteWatermarks(path, str(address), address.table, pipeline.name, target)


class WatermarkFile:
    """The watermark of a pipeline whose destination is the file at `destination`."""

    stores_parts = False

    def __init__(self, path: Path, destination: Path) -> None:
        self._path = path
        self._destination = destination
        self._shown = path.relative_to(path.parents[3]).as_posix()

    def check(self) -> None:
        """Do nothing: a run checks the folder `.loom` anyway."""

    def load(self) -> SourceProgress:
        """Return what is stored. Raises UserError or WorldError."""
        exists = self._destination.exists()
        others = other_sources(self._others(), ("", ""))
        with translate_os_errors(self._shown):
            try:
                content = self._path.read_bytes()
            except FileNotFoundError:
                return SourceProgress(has_destination=exists, other_sources=others)
        return SourceProgress(decode_watermark(content, self._shown), {}, exists, others)

    def _others(self) -> Iterator[tuple[str, str, str]]:
        """Yield the name and the text of the watermarks of other pipelines with this target."""
        _, _, place = self._path.name.rpartition("-")
        for path in self._path.parent.glob(f"*-{place}"):
            if path != self._path:
                with suppress(OSError, ValueError):
                    yield path.name.removesuffix(f"-{place}"), "", path.read_text("utf-8")

    def has_published(self, state: Path) -> bool:
        """Whether the run with the folder `state` may have published rows in the destination.

        No process works on the run.
        """
        stage = Stage(state, destination_id(self._destination.resolve()))
        if not stage.exists:
            return False
        try:
            return stage.receipt() is not None or stage.intended() is not None
        finally:
            stage.close()

    def save(self, watermark: Watermark, runs: Iterable[str]) -> None:
        """Replace the file. `runs` have no parts that are stored."""
        del runs
        make_folder(self._path.parent, self._shown)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        with translate_os_errors(self._shown):
            try:
                with temporary.open("wb") as file:
                    file.write(msgspec.json.encode(watermark))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self._path)
            finally:
                temporary.unlink(missing_ok=True)
