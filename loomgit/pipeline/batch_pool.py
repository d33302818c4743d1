"""Processes the items of an iterator in batches, a few batches at a time, in order.

It has the same methods as OrderedPool. It is faster if many items can be processed by one call,
because it needs no task per item. The work must be cheap to repeat, because a stop cancels batches
that do not end soon.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

_FIRST_SIZE, _GROWTH = 8, 8
_BATCH_SECONDS = 1.0  # a batch of slow items has fewer items, so that it takes about this long
_STOP_SECONDS = 5.0  # after a stop, batches in progress are cancelled after this time

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchPool(Generic[Item, Result]):
    """Applies `work` to batches of items, at most `concurrency` batches at the same time.

    A batch has at most `size` items. The first one is small, and the next ones have as many items
    as `work` processes in about a second.
    """

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
        self._next_size = min(size, _FIRST_SIZE)
        self._last_end: float | None = None  # the time at which a batch has ended
        self._concurrency = concurrency
        self._batches: deque[asyncio.Task[Sequence[Result]]] = deque()
        self._leftovers: list[Result] = []
        self._stopped = False
        self._cancelling: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Take no new items. `results` still yields the results of the items in progress.

        Batches that do not end within some seconds are cancelled and have no results. Call this in
        the event loop that iterates over the results.
        """
        self._stopped = True
        if self._cancelling is None and self._batches:
            loop = asyncio.get_running_loop()
            self._cancelling = loop.call_later(_STOP_SECONDS, self._cancel_batches)

    def _cancel_batches(self) -> None:
        for batch in self._batches:
            batch.cancel()

    async def finish(self) -> None:
        """Take no new items, and wait some seconds for the end of the items in progress.

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
                batch = self._batches[0]
                await asyncio.wait([batch])
                if batch.cancelled():  # by a stop
                    self._batches.popleft()
                    continue
                try:
                    results = deque(batch.result())
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
            if self._cancelling is not None:
                self._cancelling.cancel()
            self._cancel_batches()
            await asyncio.gather(*self._batches, return_exceptions=True)

    def _start_batches(self) -> None:
        most = 1 if self._last_end is None else self._concurrency  # one until its time is known
        while not self._stopped and len(self._batches) < most:
            items = list(islice(self._items, self._next_size))
            if not items:
                return
            self._batches.append(asyncio.ensure_future(self._process(items)))

    async def _process(self, items: Sequence[Item]) -> Sequence[Result]:
        """Process a batch, and choose the size of the next ones by the time that it took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        results = await self._work(items)
        # Batches may wait for each other, so the time since the end of the last one counts.
        seconds = loop.time() - max(started, self._last_end or 0.0)
        self._last_end = loop.time()
        possible = int(len(items) * _BATCH_SECONDS / max(seconds, 1e-6))
        self._next_size = max(1, min(possible, _GROWTH * len(items), self._size))
        return results
