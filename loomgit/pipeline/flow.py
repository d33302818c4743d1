"""Bounded concurrency that keeps order: N workers on one iterator, results in the iterator's order.

Workers pull for themselves, so a slow item holds up no other; a result waits only for those before
it, and no more than a window of them is held, so memory does not grow with the stream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedFlow(Generic[Item, Result]):
    """Applies `work` to the items, `concurrency` at a time; `stop` lets those in flight end."""

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

    def stop(self) -> None:
        """Take no new items; what is under way is finished and still comes out."""
        self._stopped = True
        self._slots.release()  # a worker that waits for room is let go, to see that it is over

    def leftovers(self) -> list[Result]:
        """After an error: the results that were finished and did not come out, in order."""
        return [self._done.pop(index) for index in sorted(self._done)]

    async def results(self) -> AsyncIterator[Result]:
        """The results in order. An error in `work` ends it: one that a user can act on when what
        is under way has ended too, since that is paid for; a bug at once."""
        workers = [asyncio.create_task(self._pull()) for _ in range(self._concurrency)]
        try:
            following = 0
            while True:
                while following in self._done:
                    yield self._done.pop(following)
                    self._slots.release()
                    following += 1
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
        """Raise what a worker ended with; the results of the others become leftovers."""
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
