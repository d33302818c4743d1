"""The progress of a run: counts rows and records, and emits the event StageProgressed."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from loomgit.domain.records import RowBatch
from loomgit.domain.stage_progress import StageProgressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL_SECONDS = 0.1
Row = TypeVar("Row")
Result = TypeVar("Result")


class RunProgress:
    """The numbers of extracted rows and of processed records so far.

    `total` is the number of records to process, None during the extraction.
    """

    def __init__(self) -> None:
        self.extracted = 0
        self.processed = 0
        self.total: int | None = None

    def count_rows(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows and batches of rows, and count the rows."""
        for row in rows:
            self.extracted += len(row.rows) if isinstance(row, RowBatch) else 1
            yield row

    def event(self, loaded: int, cost: float | None) -> StageProgressed:
        """Return the current progress. `loaded` is the number of records in the loaded batches.

        The stages transform, evaluate and load work at the same time. The stage is `load` as soon
        as all records are processed.
        """
        if self.total is None:
            return StageProgressed("extract", self.extracted, None, cost)
        if self.processed < self.total:
            return StageProgressed("process", self.processed, self.total, cost)
        return StageProgressed("load", loaded, self.total, cost)


@contextmanager
def emit_progress(
    measure: Callable[[], StageProgressed], emit: Callable[[StageProgressed], None]
) -> Iterator[None]:
    """Pass the result of `measure` to `emit` ten times a second while the context is active.

    Requires a running event loop. If `emit` raises an error, the context raises it at its end.
    """

    async def repeat() -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            emit(measure())

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
    if task.done():  # it only ends by an error of `emit`
        task.result()
