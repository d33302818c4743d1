"""The index of run files: a TinyDB table of summaries, which can be rebuilt from the run files.

TinyDB's own storage is damaged if two processes write it, or if a process is killed while it
writes. Also, each insert rewrites the whole file. Therefore, a writer only appends a line to a
journal. A reader adds two kinds of runs to the table with one insert: the runs in the journal, and
the run files that are in neither the table nor the journal. If necessary, it then replaces the
index file atomically.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import fields
from tinydb import TinyDB, where
from tinydb.storages import Storage

from loomgit.domain.runs import RunSummary
from loomgit.domain.values import to_json, to_plain
from loomgit.errors import WorldError
from loomgit.history.atomic_files import remove_stale_files, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tinydb.queries import QueryInstance
    from tinydb.table import Table

    from loomgit.domain.values import JsonObject

TABLE = "runs"
# An index of an older format is rebuilt from the run files. Format 1 does not contain blobs and
# scores. Format 2 does not contain the fields `limit` and `question_from`. Format 3 does not
# contain the field `target`.
FORMAT = 4
JOURNAL_LINES = 200  # if the journal is longer, a reader merges it into the index file
_FIELDS = frozenset(field.name for field in fields(RunSummary))


class _MemoryStorage(Storage):
    """A TinyDB storage in memory, so that the index file is read once and written once."""

    def __init__(self, tables: dict[str, dict[str, JsonObject]]) -> None:
        self._tables = tables

    def read(self) -> dict[str, dict[str, JsonObject]]:
        return self._tables

    def write(self, data: dict[str, dict[str, JsonObject]]) -> None:
        self._tables = data


class Index:
    """The summaries of the runs in a folder, synchronized with the run files at each read.

    `path` is the index file. `journal` is the file to which writers append summaries; it is ignored
    if the index file does not exist. `files` returns the paths of the existing run files, in the
    same form as `RunSummary.path`. `summarize` reads the run files at the given paths and returns
    their summaries. It skips invalid run files.
    """

    def __init__(
        self,
        path: Path,
        journal: Path,
        *,
        files: Callable[[], Iterable[str]],
        summarize: Callable[[Iterable[str]], Sequence[RunSummary]],
    ) -> None:
        self._path = path
        self._journal = journal
        self._files = files
        self._summarize = summarize

    def add(self, summary: RunSummary) -> None:
        """Append the summary of a new run file to the journal, without a lock.

        Failures are ignored: the next reader creates a missing summary from the run file.
        """
        line = to_json(summary, option=orjson.OPT_APPEND_NEWLINE)
        with contextlib.suppress(OSError):
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = os.open(self._journal, flags, 0o666)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)

    def find(self, condition: QueryInstance | None = None) -> list[RunSummary]:
        """Update the index, and return the summaries that meet `condition`, oldest first.

        If `condition` is None, all summaries are returned.
        """
        table = self._table()
        rows = table.all() if condition is None else table.search(condition)
        summaries = [RunSummary(**row) for row in rows]
        return sorted(summaries, key=lambda row: (row.started, row.uid))

    def _table(self) -> Table:
        files = set(self._files())
        tables = self._read()
        table = TinyDB(
            storage=_MemoryStorage, tables=tables or {"format": {"1": {"format": FORMAT}}}
        ).table(TABLE)
        known = {row["path"] for row in table}
        journal = self._read_journal() if tables is not None else {}
        added = [row for path, row in journal.items() if path in files and path not in known]
        removed = known - files
        unlisted = self._summarize(sorted(files - known - journal.keys()))
        if removed:
            table.remove(where("path").one_of(removed))  # type: ignore[arg-type]  # a set supports `in`
        # Call `insert_multiple` only once, because each insert rewrites the table.
        if added or unlisted:
            table.insert_multiple([*added, *to_plain(unlisted)])
        if tables is None or removed or unlisted or len(journal) > JOURNAL_LINES:
            self._save(table)
        return table

    def _read(self) -> dict[str, dict[str, JsonObject]] | None:
        """Return the tables in the index file, or None if the file is missing or invalid.

        Raises WorldError if the file exists, but cannot be read.
        """
        try:
            tables = orjson.loads(self._path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        except OSError as error:
            raise WorldError(f"{self._path} cannot be read: {error.strerror or error}") from error
        return tables if _is_sound(tables) else None

    def _read_journal(self) -> dict[str, JsonObject]:
        """Return the summaries in the journal, by path of the run file. Skip incomplete lines."""
        summaries: dict[str, JsonObject] = {}
        try:
            lines = self._journal.read_bytes().splitlines()
        except OSError:
            return summaries
        for line in lines:
            with contextlib.suppress(orjson.JSONDecodeError):
                row = orjson.loads(line)
                if _is_summary(row):
                    summaries[str(row["path"])] = row
        return summaries

    def _save(self, table: Table) -> None:
        """Write the index, then remove the journal.

        If a writer adds a line to the journal between the two steps, the line is lost. This does no
        harm, because the next reader then reads the file of the run. If another process is saving
        the index, or if the folder is read-only, nothing is saved. A later reader then saves the
        index.
        """
        from filelock import FileLock  # noqa: PLC0415 - slow (imports asyncio), and most readers save nothing

        document = {
            "format": {"1": {"format": FORMAT}},
            TABLE: {str(row.doc_id): row for row in table},
        }
        content = orjson.dumps(document)
        with contextlib.suppress(TimeoutError, OSError, WorldError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock"), timeout=0):
                write_atomic(self._path, content)
                self._journal.unlink(missing_ok=True)
                remove_stale_files(self._path.parent)


def _is_sound(tables: object) -> bool:
    if not isinstance(tables, dict) or tables.get("format") != {"1": {"format": FORMAT}}:
        return False
    rows = tables.get(TABLE, {})
    return isinstance(rows, dict) and all(
        key.isdecimal() and _is_summary(row) for key, row in rows.items()
    )


def _is_summary(row: object) -> bool:
    return isinstance(row, dict) and row.keys() == _FIELDS and isinstance(row["path"], str)


def query(
    equal: Mapping[str, str],
    *,
    commit: str | None = None,
    since: str | None = None,
) -> QueryInstance:
    """Return a condition for `Index.find`.

    A run meets the condition if its fields have the values in `equal`, if its commit id starts with
    `commit`, and if it started at `since` or later. `since` is a UTC time in the ISO 8601 format of
    run files, or the start of such a time. `commit` and `since` are ignored if they are None.
    """
    condition = where("uid").exists()
    for name, value in equal.items():
        condition &= where(name) == value
    if commit is not None:
        condition &= where("commit").matches(re.escape(commit))
    if since is not None:
        condition &= where("started") >= since
    return condition
