"""A token bucket: so much a minute, a tenth of it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MINUTE = 60.0
BURST = 0.1  # of a minute's amount may go at once


class Bucket:
    """Never lets more than `per_minute` go in any 60 seconds (one item bigger than the bucket
    itself apart): what may go at once and what flows in together come to that.

    `clock` gives seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._size = max(1.0, per_minute * BURST)
        self._rate = max(per_minute - self._size, 1.0) / MINUTE
        self._clock = clock
        self._level = self._size
        self._filled = clock()

    async def take(self, amount: float, sleep: Callable[[float], Awaitable[object]]) -> None:
        """Take `amount` out, in the order of asking; wait for what is not there yet."""
        now = self._clock()
        self._level = min(self._size, self._level + (now - self._filled) * self._rate)
        self._filled = now
        missing = min(amount, self._size) - self._level
        self._level -= amount
        if missing > 0:
            try:
                await sleep(missing / self._rate)
            except BaseException:
                self._level += amount
                raise

    def give(self, amount: float) -> None:
        """Put `amount` back; a negative one is taken out, without waiting."""
        self._level = min(self._size, self._level + amount)
