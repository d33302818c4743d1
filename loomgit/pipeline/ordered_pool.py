"""A pool of workers that process the items of an iterator and keep the order of the results.

Each worker takes the next item when it is free, so a slow item does not block the other workers.
A result is yielded after all earlier results. Memory is bounded: at most `window` items are in
progress or have a result that is not yet yielded.
"""

from __future__ import annotations

import asyncio
from collections import deque
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
        self._window = max(window, concurrency)
        self._open = 0  # items that were started and whose results were not yet yielded
        self._idle: deque[asyncio.Future[None]] = deque()  # the workers that wait for the window
        self._is_waking = False  # whether a worker was woken that does not run yet
        self._done: dict[int, Result] = {}
        self._changed = asyncio.Event()
        self._stopped = False
        self._workers: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """Take no new items.

        The workers finish the items in progress, and `results` still yields their results.
        """
        self._stopped = True
        self._wake()  # a worker that waits wakes up, wakes the next one, and ends

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
                    self._open -= 1
                    self._wake()
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
                while self._open >= self._window and not self._stopped:
                    await self._wait()
                entry = None if self._stopped else next(self._items, None)
                if entry is None:
                    self._wake()
                    return
                self._open += 1
                self._wake()
                index, item = entry
                self._done[index] = await self._work(item)
                self._changed.set()
        finally:
            self._changed.set()

    async def _wait(self) -> None:
        """Wait until the window may have room."""
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(room)
        await room
        self._is_waking = False

    def _wake(self) -> None:
        """Wake one idle worker if the window has room. That worker wakes the next one.

        If work never waits, one worker fills the window, and the others are not woken for each
        item.
        """
        if self._idle and not self._is_waking and (self._open < self._window or self._stopped):
            self._is_waking = True
            self._idle.popleft().set_result(None)
