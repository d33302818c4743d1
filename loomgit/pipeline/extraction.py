"""The extract stage: writes the rows of the source to the spool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.ports import BatchSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.records import RefusedRow, RowBatch
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.run_parts import RunParts, SpooledRecords


class Extraction:
    """Extracts the rows of one run. Another thread may stop it."""

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        self._stopping = False
        self.is_cut = False  # whether the extraction was stopped before the end of the source

    def stop(self) -> None:
        """Extract no more rows."""
        self._stopping = True

    def run(self) -> SpooledRecords:
        """Return the spool with the extracted rows. A complete spool is kept for a resumed run.

        Blocks until the extraction ends. Raises UserError or WorldError.
        """
        source = self._parts.source
        rows = source.batches() if isinstance(source, BatchSource) else source.rows()
        spool = self._parts.open_spool(
            self._parts.tally.progress.count_rows(self._until_stopped(rows))
        )
        if not self.is_cut:
            self._parts.keep_spool()
        return spool

    def _until_stopped(
        self, rows: Iterator[JsonObject | RefusedRow | RowBatch]
    ) -> Iterator[JsonObject | RefusedRow | RowBatch]:
        for row in rows:
            if self._stopping:
                self.is_cut = True
                return
            yield row
