"""The index over run files: a TinyDB table of summaries, derived and therefore deletable.

TinyDB's own storage is damaged by two writers and by a kill while it writes, and each insert
rewrites all of it. So a writer only appends a line to a journal; readers take in the journal, and
run files that came another way, in one batch; the index moves into place as a whole file.
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
from loomgit.history.files import sweep, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tinydb.queries import QueryInstance
    from tinydb.table import Table

    from loomgit.domain.values import JsonObject

TABLE = "runs"
# An older index is built again from the run files. 1: without blobs and scores; 2: without limit
# and question_from.
FORMAT = 3
JOURNAL_LINES = 200  # a longer journal is folded into the index by whoever reads it
_FIELDS = frozenset(field.name for field in fields(RunSummary))


class _Held(Storage):
    """Tables in memory: read from the file once, written to it once."""

    def __init__(self, tables: dict[str, dict[str, JsonObject]]) -> None:
        self._tables = tables

    def read(self) -> dict[str, dict[str, JsonObject]]:
        return self._tables

    def write(self, data: dict[str, dict[str, JsonObject]]) -> None:
        self._tables = data


class Index:
    """Summaries of the runs in a folder, kept in step with it.

    `files` lists the run files that exist (paths as the summaries have them); `summarize` reads
    some of them into summaries, leaving out those that hold no run. `journal` is a file that
    counts only beside an index.
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
        """Note the summary of a run file that was just written, without a lock.

        Whatever fails here, or is lost to a kill, the next reader takes from the run file itself.
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
        """The summaries that meet a condition (none: all), oldest first; mends the index."""
        table = self._table()
        rows = table.all() if condition is None else table.search(condition)
        summaries = [RunSummary(**row) for row in rows]
        return sorted(summaries, key=lambda row: (row.started, row.uid))

    def _table(self) -> Table:
        files = set(self._files())
        held = self._read()
        table = TinyDB(storage=_Held, tables=held or {"format": {"1": {"format": FORMAT}}}).table(
            TABLE
        )
        known = {row["path"] for row in table}
        noted = self._noted() if held is not None else {}
        added = [row for path, row in noted.items() if path in files and path not in known]
        gone = known - files
        fresh = self._summarize(sorted(files - known - noted.keys()))
        if gone:
            table.remove(where("path").one_of(gone))  # type: ignore[arg-type]  # a set serves `in`
        # One insert_multiple: single inserts rewrite the table each time.
        if added or fresh:
            table.insert_multiple([*added, *to_plain(fresh)])
        if held is None or gone or fresh or len(noted) > JOURNAL_LINES:
            self._save(table)
        return table

    def _read(self) -> dict[str, dict[str, JsonObject]] | None:
        """The tables in the index file; None where there is none or it cannot be understood."""
        try:
            tables = orjson.loads(self._path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        except OSError as error:
            raise WorldError(f"{self._path} cannot be read: {error.strerror or error}") from error
        return tables if _is_sound(tables) else None

    def _noted(self) -> dict[str, JsonObject]:
        """The journal's summaries by path; a line that was cut off is left out."""
        noted: dict[str, JsonObject] = {}
        try:
            lines = self._journal.read_bytes().splitlines()
        except OSError:
            return noted
        for line in lines:
            with contextlib.suppress(orjson.JSONDecodeError):
                row = orjson.loads(line)
                if _is_summary(row):
                    noted[str(row["path"])] = row
        return noted

    def _save(self, table: Table) -> None:
        """Write the index, then drop the journal: a line lost between is read from its run file.

        A folder that is busy or read-only costs the next reader this work, and this one nothing.
        """
        from filelock import FileLock  # noqa: PLC0415 - asyncio comes with it; most readers save nothing

        document = {
            "format": {"1": {"format": FORMAT}},
            TABLE: {str(row.doc_id): row for row in table},
        }
        content = orjson.dumps(document)
        with contextlib.suppress(TimeoutError, OSError, WorldError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock"), timeout=0):
                write_whole(self._path, content)
                self._journal.unlink(missing_ok=True)
                sweep(self._path.parent)


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
    """The condition that fields equal these values, `commit` begins so and the run began `since`.

    `since` is UTC in ISO 8601 as run files have it, as far as it is given.
    """
    condition = where("uid").exists()
    for name, value in equal.items():
        condition &= where(name) == value
    if commit is not None:
        condition &= where("commit").matches(re.escape(commit))
    if since is not None:
        condition &= where("started") >= since
    return condition
