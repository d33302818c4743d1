"""Gateway that repeats calls after temporary errors: rate limits, outages, lost connections."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.errors import RateLimited, Unavailable
from loomgit.gateway.rate_limit import PATIENCE, SPREAD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway

ATTEMPTS = 8  # attempts per call; if 1 attempt in 5 fails, fewer than 1 call in 10,000 fails
FIRST_DELAY = 0.25  # seconds; the maximum delay before the second attempt
LONGEST_DELAY = 8.0  # seconds; the maximum delay if the error has no `Retry-After`


class RetryGateway:
    """Repeats calls that raise RateLimited or Unavailable. Other errors pass through.

    The delay before attempt n + 2 (n = 0, 1, ...) is a random number, uniform in
    [0, min(longest_delay, first_delay * 2**n)]. This is exponential backoff with full jitter (AWS
    Architecture Blog, "Exponential Backoff And Jitter", 2015). If the error has a `Retry-After`,
    the delay is this time, or slightly longer. If the `Retry-After` exceeds `patience` seconds, the
    error is raised. RateLimitGateway applies the `Retry-After` to other calls too.
    `Completion.attempts` is the number of all attempts. `Completion.latency` is the latency of the
    last attempt.
    """

    def __init__(
        self,
        inner: Gateway,
        *,
        attempts: int = ATTEMPTS,
        first_delay: float = FIRST_DELAY,
        longest_delay: float = LONGEST_DELAY,
        patience: float = PATIENCE,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._attempts = attempts
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._patience = patience
        self._sleep = sleep
        self._chance = chance

    async def complete(self, request: Request) -> Completion:
        """Return the first reply, or raise the error of the last attempt."""
        for attempt in range(1, self._attempts + 1):
            try:
                completion = await self._inner.complete(request)
            except (RateLimited, Unavailable) as error:
                if attempt == self._attempts or (error.retry_after or 0.0) > self._patience:
                    raise
                await self._sleep(self._delay(attempt, error.retry_after))
            else:
                if attempt == 1:
                    return completion
                return replace(completion, attempts=completion.attempts + attempt - 1)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()

    def _delay(self, attempt: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return retry_after * (1 + SPREAD * self._chance())
        return self._chance() * min(self._longest_delay, self._first_delay * 2.0 ** (attempt - 1))
