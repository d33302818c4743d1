"""The index over run files: a TinyDB table of summaries, derived and therefore deletable.

TinyDB's own storage is damaged by two writers and by a kill while it writes, so the storage here
moves whole files into place, every change happens under a file lock, and an index that cannot be
read, or that disagrees with the folder, is built again from the run files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from tinydb import TinyDB
from tinydb.storages import Storage

from loomgit.domain.runs import RunSummary
from loomgit.errors import WorldError
from loomgit.history.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from filelock import FileLock

    from loomgit.domain.values import JsonObject

TABLE = "runs"
FORMAT = 1
LOCK_SECONDS = 30.0


class _WholeFile(Storage):
    """A TinyDB storage whose file is complete at every moment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, dict[str, JsonObject]] | None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        document: dict[str, dict[str, JsonObject]] = orjson.loads(content)
        return document

    def write(self, data: dict[str, dict[str, JsonObject]]) -> None:
        write_whole(self._path, orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS))


class Index:
    """Summaries of the runs in a folder, kept in step with it.

    `files` lists the run files that exist (paths as the summaries have them); `summarize` reads
    some of them into summaries, leaving out those that hold no run.
    """

    def __init__(
        self,
        path: Path,
        *,
        files: Callable[[], Iterable[str]],
        summarize: Callable[[Iterable[str]], Sequence[RunSummary]],
    ) -> None:
        self._path = path
        self._files = files
        self._summarize = summarize

    def _lock(self) -> FileLock:
        from filelock import FileLock  # noqa: PLC0415 - asyncio comes with it; readers need none

        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._path.with_suffix(".lock"), timeout=LOCK_SECONDS)

    def add(self, summary: RunSummary) -> None:
        """Take in the summary of a run file that was just written."""
        try:
            with self._lock():
                rows = self._rows()
                if rows is None:
                    self._write(self._summarize(self._files()))
                else:
                    self._write([*rows, summary])
        except TimeoutError as error:
            raise WorldError(f"{self._path} is locked by another process") from error

    def all(self) -> list[RunSummary]:
        """The summaries of all runs, oldest first; the index is mended where it is out of step."""
        files = set(self._files())
        rows = self._rows()
        if rows is None or {row.path for row in rows} != files:
            rows = self._rebuild(rows or [], files)
        return sorted(rows, key=lambda row: (row.started, row.uid))

    def _rebuild(self, rows: Sequence[RunSummary], files: set[str]) -> list[RunSummary]:
        kept = [row for row in rows if row.path in files]
        missing = files - {row.path for row in kept}
        fresh = [*kept, *self._summarize(sorted(missing))]
        try:
            with self._lock():
                self._write(fresh)
        except (TimeoutError, WorldError):
            pass  # a read-only or busy folder costs the next reader a rebuild, and this one nothing
        return fresh

    def _rows(self) -> list[RunSummary] | None:
        """What the index holds; None where there is none or it cannot be read."""
        try:
            with TinyDB(storage=_WholeFile, path=self._path) as database:
                head = database.table("format").all()
                if [row.get("format") for row in head] != [FORMAT]:
                    return None
                return [RunSummary(**row) for row in database.table(TABLE).all()]
        except (orjson.JSONDecodeError, TypeError, ValueError, AttributeError):
            return None
        except OSError as error:
            raise WorldError(f"{self._path} cannot be read: {error.strerror or error}") from error

    def _write(self, rows: Sequence[RunSummary]) -> None:
        # One insert_multiple: single inserts rewrite the file each time.
        with TinyDB(storage=_Memory) as database:
            database.table("format").insert({"format": FORMAT})
            database.table(TABLE).insert_multiple(orjson.loads(orjson.dumps(list(rows))))
            content = database.storage.read()
        assert content is not None
        _WholeFile(self._path).write(content)


class _Memory(Storage):
    """Holds the tables while they are filled, so that the file is written once."""

    def __init__(self) -> None:
        self._data: dict[str, dict[str, JsonObject]] | None = None

    def read(self) -> dict[str, dict[str, JsonObject]] | None:
        return self._data

    def write(self, data: dict[str, dict[str, JsonObject]]) -> None:
        self._data = data
