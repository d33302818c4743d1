"""The table `_loom_state` of a SQLite database: the progress of incremental pipelines."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING

from loomgit.domain.watermarks import SourceProgress
from loomgit.rows.paths import make_folder, require_file, require_place
from loomgit.rows.sqlite import connect, fold_case, object_kind, transaction, translate_errors
from loomgit.rows.stored_watermark import (
    PROGRESS_TABLE,
    decode_watermark,
    encode_watermark,
    other_sources,
    require_readable,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

    from loomgit.domain.watermarks import LoadedParts, Watermark

# The row with an empty `run` contains the watermark. The other rows contain the records that a run
# has loaded with one part.
_CREATE = f"""
    CREATE TABLE IF NOT EXISTS {PROGRESS_TABLE} (
        pipeline TEXT NOT NULL,
        target TEXT NOT NULL,
        destination TEXT NOT NULL,
        run TEXT NOT NULL,
        part INTEGER NOT NULL,
        watermark TEXT,
        done BLOB NOT NULL,
        stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (pipeline, target, destination, run, part)
    )
"""
_THIS = "pipeline = ? AND target = ? AND destination = ?"
_INSERT = (
    f"INSERT OR REPLACE INTO {PROGRESS_TABLE} "  # noqa: S608 - constant
    "(pipeline, target, destination, run, part, watermark, done) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class SqliteWatermarks:
    """The watermark of a pipeline in the database of its destination table."""

    stores_parts = True

    def __init__(self, path: Path, shown: str, table: str, pipeline: str, target: str) -> None:
        self._path = path
        self._shown = shown
        self._table = table
        self._key = (pipeline, target, fold_case(table))

    def has_published(self, state: Path) -> bool:
        """Return False: each part is stored with its records."""
        del state
        return False

    def check(self) -> None:
        """Raise UserError or WorldError if the database cannot be written."""
        require_place(self._path, self._shown)

    def load(self) -> SourceProgress:
        """Return what is stored. Raises UserError or WorldError."""
        if not self._path.exists():
            return SourceProgress(has_destination=False)
        require_file(self._path, self._shown)
        with translate_errors(self._shown), closing(connect(self._path)) as connection:
            has_destination = object_kind(connection, self._table) is not None
            if object_kind(connection, PROGRESS_TABLE) is None:
                return SourceProgress(has_destination=has_destination)
            rows = connection.execute(
                f"SELECT run, watermark, done FROM {PROGRESS_TABLE} WHERE {_THIS} "  # noqa: S608
                "ORDER BY run, part",
                self._key,
            ).fetchall()
            marks = connection.execute(
                f"SELECT pipeline, target, watermark FROM {PROGRESS_TABLE} "  # noqa: S608 - constant
                "WHERE destination = ? AND run = ''",
                self._key[2:],
            ).fetchall()
        watermark = None
        parts: dict[str, list[bytes]] = defaultdict(list)
        for run, text, done in rows:
            if run:
                parts[run].append(done)
            else:
                watermark = decode_watermark(str(text).encode(), self._shown, done)
        require_readable((part for run in parts.values() for part in run), self._shown)
        others = other_sources(marks, self._key[:2])
        return SourceProgress(watermark, parts, has_destination, others)

    def save(self, watermark: Watermark, runs: Iterable[str]) -> None:
        """Store the watermark, and remove the parts of these runs, in one transaction."""
        make_folder(self._path.parent, self._shown)
        with (
            translate_errors(self._shown),
            closing(connect(self._path, writing=True)) as connection,
            transaction(connection),
        ):
            connection.execute(_CREATE)
            text = encode_watermark(watermark).decode()
            connection.execute(_INSERT, (*self._key, "", 0, text, watermark.done))
            connection.executemany(
                f"DELETE FROM {PROGRESS_TABLE} WHERE {_THIS} AND run = ?",  # noqa: S608
                ((*self._key, run) for run in runs if run),
            )


def store_part(
    connection: sqlite3.Connection,
    parts: LoadedParts,
    table: str,
    part: int,
    refused: Iterable[int],
) -> None:
    """Store the loaded records of a part, in the transaction that writes its rows.

    `refused` are the indexes of the rows that the database has refused.
    """
    done = parts.take(part, refused)
    if done:
        connection.execute(_CREATE)
        key = (parts.pipeline, parts.target, fold_case(table), parts.run, part)
        connection.execute(_INSERT, (*key, None, done))
