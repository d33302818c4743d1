"""The spool of a run that can be resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.rows.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.records import RefusedRow, RowBatch
    from loomgit.domain.values import JsonObject
    from loomgit.rows.journal import Journal


class RunSpool:
    """The spool of a run. An attempt that finds a complete spool does not extract the rows."""

    def __init__(self, state: Path, journal: Journal) -> None:
        self._path = state / "spool.jsonl.zst"
        self._journal = journal
        self._written: Spool | None = None

    def open(self, rows: Iterator[JsonObject | RefusedRow | RowBatch]) -> Spool:
        """Return the complete spool of an earlier attempt, or write the rows to a new spool."""
        spool = self._journal.spool(self._path)
        if spool is None:
            spool = self._written = Spool.write(self._path, rows)
        return spool

    def keep(self) -> None:
        """Record that the spool is complete, so that later attempts use it."""
        if self._written is not None:
            self._journal.keep_spool(self._written)
