"""Gateway that limits concurrent calls, calls per minute, and tokens per minute.

It also waits as long as the `Retry-After` of a refused call requires.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from loomgit.errors import ModelError, RateLimited, Unavailable
from loomgit.gateway.token_bucket import TokenBucket
from loomgit.gateway.token_estimate import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import ModelSettings

PATIENCE = 120.0  # seconds; a call fails if the provider requests a longer wait
SPREAD = 0.1  # a wait becomes up to 10 % longer at random, so that calls do not start together
START = 16  # initial number of concurrent calls if none is configured
HIGHEST = 512  # maximum number of concurrent calls if none is configured
# Minimum number of calls in a window. In a smaller window, a single refusal would be too large a
# fraction of the calls.
WINDOW = 16
# Event loop iterations between the starts of two calls. In these iterations, the event loop reads
# the replies that have arrived.
TURNS = 2
# Fractions of refused calls in a window. Up to NOISE_SHARE, refusals do not lower the limit. Above
# OVERLOAD_SHARE, the provider is overloaded, and the limit halves.
NOISE_SHARE, OVERLOAD_SHARE = 1 / 8, 1 / 4


class RateLimitGateway:
    """Limits the number of concurrent calls to each model. Further calls wait.

    The limit starts at `concurrency`, which is also its maximum. If `concurrency` is None, the
    limit starts at 16 and may grow to 512. Completed calls are grouped into windows. The number of
    calls in a window equals the limit, but is at least 16. After each window, the limit changes
    according to the fraction of refused calls (429, 503):
    - no refusals: the limit grows by one if calls had to wait because of the limit
    - up to 1/8: no change, because otherwise a provider that always refuses a few calls
      would lower the limit to 1
    - up to 1/4: the limit shrinks by the fraction of refused calls
    - above 1/4: the limit halves, even before the end of the window

    A model's settings `rpm` (calls per minute) and `tpm` (tokens per minute) limit the calls in any
    60 seconds. The tokens of a call are estimated in advance. A `Retry-After` delays all calls to
    the model. If the remaining delay is longer than `patience` seconds, a call raises RateLimited
    instead.
    """

    def __init__(
        self,
        inner: Gateway,
        models: Mapping[str, ModelSettings],
        *,
        concurrency: int | None = None,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._models = models
        self._concurrency = concurrency
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._limits: dict[str, _RateLimit] = {}

    async def complete(self, request: Request) -> Completion:
        """Wait until the limits allow the call. Then make the call, and return the reply."""
        limit = self._limits.get(request.model) or self._create_limit(request.model)
        if not limit.enter():
            await limit.queue()
        completion: Completion | None = None
        try:
            if limit.not_before:
                await self._wait_for_provider(request.model, limit)
            expected = await limit.pay(request, self._sleep) if limit.has_rates else 0
            if limit.not_before:  # the provider may have requested a wait while this call waited
                await self._wait_for_provider(request.model, limit)
            cuts = limit.cuts
            try:
                completion = await self._inner.complete(request)
            except ModelError as error:
                limit.refused(error, cuts, self._clock())
                raise
            finally:
                limit.settle(expected, completion)
            limit.answered(cuts)
            return completion
        finally:
            limit.leave()

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()

    def at_once(self, model: str) -> int:
        """Return the current maximum of concurrent calls to `model`."""
        return int((self._limits.get(model) or self._create_limit(model)).concurrency)

    def _create_limit(self, model: str) -> _RateLimit:
        settings = self._models.get(model)
        limit = _RateLimit(
            start=self._concurrency or START,
            highest=self._concurrency or HIGHEST,
            calls=TokenBucket(settings.rpm, self._clock) if settings and settings.rpm else None,
            tokens=TokenBucket(settings.tpm, self._clock) if settings and settings.tpm else None,
        )
        return self._limits.setdefault(model, limit)

    async def _wait_for_provider(self, model: str, limit: _RateLimit) -> None:
        """Wait as long as the provider requests, even if the provider extends the wait.

        Raises RateLimited if the wait is longer than `patience` seconds.
        """
        while (wait := limit.not_before - self._clock()) > 0:
            if wait > self._patience:
                raise RateLimited(
                    f"{model}: the provider asks to wait {wait:.0f} s", retry_after=wait
                )
            await self._sleep(wait * (1 + SPREAD * self._chance()))
            # Start the waiting calls one by one, and read the sockets in between. If all calls
            # started together, dozens would be sent before the next refusal is read.
            async with limit.gate:
                for _ in range(TURNS):
                    await asyncio.sleep(0)


class _RateLimit:
    """The state of one model: its running and waiting calls, its limits, and its latest results."""

    def __init__(
        self, *, start: int, highest: int, calls: TokenBucket | None, tokens: TokenBucket | None
    ) -> None:
        self.concurrency = float(start)
        # The number of times the limit was lowered. The result of a call that started before the
        # last reduction is ignored, so that the same overload does not lower the limit again.
        self.cuts = 0
        self.not_before = 0.0  # the time before which no call may start; 0 until a provider asks
        self.has_rates = calls is not None or tokens is not None
        self.gate = asyncio.Lock()
        self._highest = highest
        self._calls = calls
        self._tokens = tokens
        self._running = 0
        self._longest = 0  # the longest reply so far, in tokens
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._done = self._refused = 0
        self._reached = False

    def enter(self) -> bool:
        """Take a slot and return True. If no slot is free or other calls wait, return False."""
        if self._waiting or self._running >= int(self.concurrency):
            return False
        self._running += 1
        return True

    async def queue(self) -> None:
        """Wait for a slot. Calls receive slots in the order in which they began to wait."""
        self._reached = True
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.cancelled():
                self._waiting.remove(ticket)
            else:
                self.leave()  # the cancelled call had already received a slot
            raise

    def leave(self) -> None:
        """Release the slot of a call, and pass all free slots to waiting calls."""
        self._running -= 1
        while self._waiting and self._running < int(self.concurrency):
            self._running += 1
            self._waiting.popleft().set_result(None)

    async def pay(self, request: Request, sleep: Callable[[float], Awaitable[object]]) -> int:
        """Wait until the limits per minute allow the call, and return the reserved tokens.

        The result is 0 if the model has no limit of tokens.
        """
        if self._calls is not None:
            await self._calls.take(1, sleep)
        if self._tokens is None:
            return 0
        expected = estimate_tokens(request) + max(request.max_tokens or 0, self._longest)
        await self._tokens.take(expected, sleep)
        return expected

    def settle(self, expected: int, completion: Completion | None) -> None:
        """Replace the reservation of `expected` tokens by the number that the call used."""
        if self._tokens is not None:
            used = completion.usage if completion is not None else None
            self._tokens.give(expected - (used.total if used else 0))
            self._longest = max(self._longest, used.output if used else 0)

    def answered(self, cuts: int) -> None:
        """Record a successful call.

        `cuts` is the number of times that the limit had been lowered when the call started.
        """
        if cuts == self.cuts:
            self._count()

    def refused(self, error: ModelError, cuts: int, now: float) -> None:
        """Record a failed call, and the wait that the provider requests.

        This may lower the limit of concurrent calls. `cuts` has the same meaning as in `answered`.
        `now` is the current time in seconds.
        """
        wait = error.retry_after if isinstance(error, RateLimited | Unavailable) else None
        if wait is not None:
            self.not_before = max(self.not_before, now + wait)
        overloaded = isinstance(error, RateLimited) or (
            isinstance(error, Unavailable) and error.overloaded
        )
        if cuts == self.cuts:
            self._refused += overloaded
            self._count()

    def _count(self) -> None:
        self._done += 1
        window = max(WINDOW, int(self.concurrency))
        if self._refused > OVERLOAD_SHARE * window:
            self._cut(self.concurrency / 2)
        elif self._done >= window:
            if self._refused > NOISE_SHARE * window:
                self._cut(self.concurrency * (1 - self._refused / window))
            elif self._reached and not self._refused:
                self.concurrency = min(self._highest, self.concurrency + 1)
            self._begin_window()

    def _cut(self, concurrency: float) -> None:
        self.concurrency = max(1.0, concurrency)
        self.cuts += 1
        self._begin_window()

    def _begin_window(self) -> None:
        self._done = self._refused = 0
        self._reached = bool(self._waiting)
