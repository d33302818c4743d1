"""A gateway that asks again after what passes by itself: rate limits, outages, lost connections."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from loomgit.errors import RateLimited, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway

ATTEMPTS = 5
FIRST_DELAY = 0.5  # seconds; the longest wait before the second attempt
LONGEST_DELAY = 30.0
PATIENCE = 120.0  # a provider that asks for more wants us gone, not slower
SPREAD = 0.1  # those who waited for the same moment start over this share of it


class RetryGateway:
    """Repeats calls that were RateLimited or Unavailable; everything else passes through.

    Delays grow exponentially with full jitter: uniform in [0, min(longest, first * 2**n)] (AWS
    Architecture Blog, "Exponential Backoff And Jitter", 2015). A `Retry-After` holds for all calls
    to that model, also those that have not failed; one longer than `patience` seconds is not waited
    for. `Completion.attempts` counts every call made; `latency` stays that of the last one.
    """

    def __init__(
        self,
        inner: Gateway,
        *,
        attempts: int = ATTEMPTS,
        first_delay: float = FIRST_DELAY,
        longest_delay: float = LONGEST_DELAY,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._attempts = attempts
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._not_before: dict[str, float] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the first reply; raise what the last attempt raised."""
        for attempt in range(1, self._attempts + 1):
            await self._wait_for_turn(request.model)
            try:
                completion = await self._inner.complete(request)
            except (RateLimited, Unavailable) as error:
                self._obey(request.model, error.retry_after)
                if attempt == self._attempts or (error.retry_after or 0.0) > self._patience:
                    raise
                if error.retry_after is None:
                    await self._sleep(self._backoff(attempt))
            else:
                return replace(completion, attempts=completion.attempts + attempt - 1)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()

    def _backoff(self, attempt: int) -> float:
        ceiling = min(self._longest_delay, self._first_delay * 2.0 ** (attempt - 1))
        return self._chance() * ceiling

    def _obey(self, model: str, retry_after: float | None) -> None:
        if retry_after is not None:
            until = self._clock() + retry_after
            self._not_before[model] = max(until, self._not_before.get(model, until))

    async def _wait_for_turn(self, model: str) -> None:
        """Wait until the provider takes calls to `model` again, however often it moves that on."""
        while (left := self._not_before.get(model, 0.0) - self._clock()) > 0:
            if left > self._patience:
                raise RateLimited(
                    f"{model}: the provider asks to wait {left:.0f} s", retry_after=left
                )
            await self._sleep(left * (1 + SPREAD * self._chance()))
