"""A token bucket, which limits the amount (such as the number of requests) that passes per minute.

The size of the bucket is a tenth of this amount, but never less than 1. The size limits the amount
that can pass at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MINUTE = 60.0
BURST = 0.1  # the size of the bucket, as a fraction of the amount per minute


class TokenBucket:
    """Limits the number of calls or tokens in any 60 seconds to `per_minute`, but at least 2.

    The size of the bucket plus its refill in 60 seconds equals this limit. A single call may take
    more than the size of the bucket; the limit is then exceeded. `clock` returns the time in
    seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._size = max(1.0, per_minute * BURST)
        self._rate = max(per_minute - self._size, 1.0) / MINUTE
        self._clock = clock
        self._level = self._size
        self._filled = clock()

    async def take(self, amount: float, sleep: Callable[[float], Awaitable[object]]) -> None:
        """Wait until `amount` is available, and take it from the bucket.

        Calls are served in the order in which they arrive. The argument of `sleep` is in seconds.
        """
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
        """Give `amount` back to the bucket. A negative amount is taken without waiting."""
        self._level = min(self._size, self._level + amount)
