"""Processes the items of an iterator in batches, a few batches at a time, in order.

It has the same methods as OrderedPool. It is faster if many items can be processed by one call,
because it needs no task per item.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchPool(Generic[Item, Result]):
    """Applies `work` to batches of `size` items, at most `concurrency` batches at the same time."""

    def __init__(
        self,
        items: Iterator[Item],
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        size: int,
        concurrency: int,
    ) -> None:
        self._items = items
        self._work = work
        self._size = size
        self._concurrency = concurrency
        self._batches: deque[asyncio.Task[Sequence[Result]]] = deque()
        self._leftovers: list[Result] = []
        self._stopped = False

    def stop(self) -> None:
        """Take no new items. `results` still yields the results of the items in progress."""
        self._stopped = True

    async def finish(self) -> None:
        """Take no new items, and wait for the end of the items in progress.

        Call this before the iterator `results` is closed. `leftovers` then returns the results.
        """
        self.stop()
        if self._batches:
            await asyncio.wait(self._batches)
        while self._batches:
            batch = self._batches.popleft()
            if not batch.cancelled() and batch.exception() is None:
                self._leftovers += batch.result()

    def leftovers(self) -> list[Result]:
        """Return, in order, the finished results that `results` did not yield after an error."""
        results, self._leftovers = self._leftovers, []
        return results

    async def results(self) -> AsyncIterator[Result]:
        """Yield the results in order.

        An error in `work` ends the iteration. A LoomError is raised after the batches in progress
        have ended, because their calls are already paid for. Any other error is a bug and is raised
        immediately.
        """
        try:
            while True:
                self._start_batches()
                if not self._batches:
                    return
                try:
                    results = deque(await self._batches[0])
                except LoomError:
                    await self.finish()
                    raise
                self._batches.popleft()
                self._start_batches()  # they are processed while the caller loads the results
                try:
                    while results:
                        yield results.popleft()
                finally:
                    self._leftovers = [*results, *self._leftovers]
        finally:
            for batch in self._batches:
                batch.cancel()
            await asyncio.gather(*self._batches, return_exceptions=True)

    def _start_batches(self) -> None:
        while not self._stopped and len(self._batches) < self._concurrency:
            items = list(islice(self._items, self._size))
            if not items:
                return
            self._batches.append(asyncio.ensure_future(self._work(items)))
