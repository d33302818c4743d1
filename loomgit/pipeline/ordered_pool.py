"""A pool of workers that process the items of an iterator and keep the order of the results.

Each worker takes the next item when it is free, so a slow item does not block the other workers.
A result is yielded after all earlier results. Memory is bounded: at most `window` items are in
progress or have a result that is not yet yielded.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedPool(Generic[Item, Result]):
    """Applies `work` to the items, at most `concurrency` of them at the same time.

    `window` is the maximum number of items that were started but whose results were not yet
    yielded. If `window` is smaller than `concurrency`, the maximum is `concurrency`.
    """

    def __init__(
        self,
        items: Iterator[Item],
        work: Callable[[Item], Awaitable[Result]],
        *,
        concurrency: int,
        window: int,
    ) -> None:
        self._items = enumerate(items)
        self._work = work
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(max(window, concurrency))
        self._done: dict[int, Result] = {}
        self._changed = asyncio.Event()
        self._stopped = False
        self._exhausted = False
        self._taken = 0
        self._workers: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """Take no new items.

        The workers finish the items in progress, and `results` still yields their results.
        """
        self._stopped = True
        self._slots.release()  # a worker that waits for a slot wakes up and ends

    async def finish(self) -> None:
        """Take no new items, and wait for the end of the items in progress.

        Call this before the iterator `results` is closed. `leftovers` then returns the results.
        """
        self.stop()
        if self._workers:
            await asyncio.wait(self._workers)

    def leftovers(self) -> list[Result]:
        """Return, in order, the finished results that `results` did not yield after an error."""
        return [self._done.pop(index) for index in sorted(self._done)]

    async def results(self) -> AsyncIterator[Result]:
        """Yield the results in order.

        An error in `work` ends the iteration. A LoomError is raised after the items in progress
        have ended, because their calls are already paid for. Any other error is a bug and is raised
        immediately.
        """
        workers = [asyncio.create_task(self._pull()) for _ in range(self._concurrency)]
        self._workers = workers
        try:
            position = 0
            while True:
                while position in self._done:
                    yield self._done.pop(position)
                    self._slots.release()
                    position += 1
                await self._raise_first(workers)
                if all(worker.done() for worker in workers) and not self._done:
                    return
                await self._changed.wait()
                self._changed.clear()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _raise_first(self, workers: list[asyncio.Task[None]]) -> None:
        """Raise the error of the first failed worker, if any.

        Before a LoomError is raised, the other workers finish; `leftovers` returns their results.
        """
        for worker in workers:
            if worker.done() and (error := worker.exception()) is not None:
                if isinstance(error, LoomError):
                    self.stop()
                    await asyncio.wait(workers)
                raise error

    async def _pull(self) -> None:
        try:
            while True:
                await self._slots.acquire()
                if self._stopped:
                    self._slots.release()
                    return
                entry = next(self._items, None)
                if entry is None:
                    self._slots.release()
                    return
                index, item = entry
                self._done[index] = await self._work(item)
                self._changed.set()
        finally:
            self._changed.set()
