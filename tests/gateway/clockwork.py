"""Time that passes only when everybody waits: minutes of sleeping in a moment, and exactly."""

import asyncio
import heapq
from itertools import count


class Clockwork:
    """A clock whose `sleep` moves it on once nothing else can run; `now` is in seconds."""

    def __init__(self):
        self.now = 0.0
        self._sleepers = []
        self._number = count()

    async def sleep(self, seconds):
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), woken))
        await woken

    def run(self, *coroutines, errors=False):
        """The results of all, errors as values where they are expected."""
        return asyncio.run(self._run(coroutines, errors))

    async def _run(self, coroutines, errors):
        everything = asyncio.gather(*coroutines, return_exceptions=errors)
        while not everything.done():
            for _ in range(20):  # until all that can run now has run
                await asyncio.sleep(0)
            if not everything.done() and self._sleepers:
                self.now = self._sleepers[0][0]
                while self._sleepers and self._sleepers[0][0] == self.now:
                    woken = heapq.heappop(self._sleepers)[2]
                    if not woken.done():
                        woken.set_result(None)
        return await everything
