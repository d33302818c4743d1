"""The gateway that keeps a pace which the provider bears: how many calls at once, how many a
minute, and none before the moment that a refusal named."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from loomgit.errors import ModelError, RateLimited, Unavailable
from loomgit.gateway.bucket import Bucket
from loomgit.gateway.size import likely_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import ModelSettings

PATIENCE = 120.0  # seconds; a provider that asks for more wants us gone, not slower
SPREAD = 0.1  # those who waited for the same moment start over this share of it
START = 16  # calls at once where nobody says how many
HIGHEST = 512
WINDOW = 16  # calls at least to judge by: one refusal alone says little
TURNS = 2  # of the event loop, until what lies at the sockets has been read and heard
FEW, MANY = 1 / 8, 1 / 4  # refused shares of a window: up to FEW is noise, from MANY on it halves


class PaceGateway:
    """Lets through as many calls to a model as it answers, and refuses none.

    The number at once grows by one for each window without a refusal (429, 503) in which it was
    reached, shrinks by the refused share and halves where that is more than a quarter: one call
    in ten that fails anyway must not stop the others. It starts at `concurrency` and goes no
    higher; None starts at 16 and has no such end. `rpm` and `tpm` of a model are never exceeded in
    any 60 seconds, tokens being estimated beforehand. A `Retry-After` holds for all calls to that
    model; one longer than `patience` seconds raises RateLimited and is not waited for.
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
        self._paces: dict[str, _Pace] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply, when it is this call's turn."""
        pace = self._paces.get(request.model) or self._pace(request.model)
        if not pace.enter():
            await pace.queue()
        completion: Completion | None = None
        try:
            await self._wait_for_turn(request.model, pace)
            expected = await pace.pay(request, self._sleep)
            await self._wait_for_turn(request.model, pace)  # it may have moved on meanwhile
            began = pace.cuts
            try:
                completion = await self._inner.complete(request)
            except ModelError as error:
                pace.refused(error, began, self._clock())
                raise
            finally:
                pace.settle(expected, completion)
            pace.answered(began)
            return completion
        finally:
            pace.leave()

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()

    def at_once(self, model: str) -> int:
        """How many calls to `model` may run at once now."""
        return int((self._paces.get(model) or self._pace(model)).limit)

    def _pace(self, model: str) -> _Pace:
        settings = self._models.get(model)
        pace = _Pace(
            start=self._concurrency or START,
            highest=self._concurrency or HIGHEST,
            calls=Bucket(settings.rpm, self._clock) if settings and settings.rpm else None,
            tokens=Bucket(settings.tpm, self._clock) if settings and settings.tpm else None,
        )
        return self._paces.setdefault(model, pace)

    async def _wait_for_turn(self, model: str, pace: _Pace) -> None:
        """Wait until the provider takes calls to `model` again, however often it moves that on."""
        while (left := pace.not_before - self._clock()) > 0:
            if left > self._patience:
                raise RateLimited(
                    f"{model}: the provider asks to wait {left:.0f} s", retry_after=left
                )
            await self._sleep(left * (1 + SPREAD * self._chance()))
            # One by one, with a look at the wire between: who starts all at once sends dozens of
            # calls after the next refusal has come, and before it is read.
            async with pace.gate:
                for _ in range(TURNS):
                    await asyncio.sleep(0)


class _Pace:
    """One model's: what runs, what may run, and what the window so far came to."""

    def __init__(
        self, *, start: int, highest: int, calls: Bucket | None, tokens: Bucket | None
    ) -> None:
        self.limit = float(start)
        self.cuts = 0  # how often the limit was lowered: what began before says nothing new
        self.not_before = 0.0
        self.gate = asyncio.Lock()
        self._highest = highest
        self._calls = calls
        self._tokens = tokens
        self._running = 0
        self._longest = 0  # reply seen, in tokens
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._done = self._refused = 0
        self._reached = False

    def enter(self) -> bool:
        """Take room at once; False where there is none, or others wait for it."""
        if self._waiting or self._running >= int(self.limit):
            return False
        self._running += 1
        return True

    async def queue(self) -> None:
        """Wait for room, first come first served."""
        self._reached = True
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.cancelled():
                self._waiting.remove(ticket)
            else:
                self.leave()  # the room was given to one who is gone
            raise

    def leave(self) -> None:
        """Give back the room, and all that is free to those who wait."""
        self._running -= 1
        while self._waiting and self._running < int(self.limit):
            self._running += 1
            self._waiting.popleft().set_result(None)

    async def pay(self, request: Request, sleep: Callable[[float], Awaitable[object]]) -> int:
        """Wait until the limits of the minute have room; the tokens that were set aside."""
        if self._calls is not None:
            await self._calls.take(1, sleep)
        if self._tokens is None:
            return 0
        expected = likely_tokens(request) + max(request.max_tokens or 0, self._longest)
        await self._tokens.take(expected, sleep)
        return expected

    def settle(self, expected: int, completion: Completion | None) -> None:
        """Put back what a call did not use."""
        if self._tokens is not None:
            used = completion.usage if completion is not None else None
            self._tokens.give(expected - (used.total if used else 0))
            self._longest = max(self._longest, used.output if used else 0)

    def answered(self, began: int) -> None:
        """A call succeeded that began after so many cuts."""
        if began == self.cuts:
            self._count()

    def refused(self, error: ModelError, began: int, now: float) -> None:
        """A call failed; obey the wait it names, and slow down where there are too many."""
        wait = error.retry_after if isinstance(error, RateLimited | Unavailable) else None
        if wait is not None:
            self.not_before = max(self.not_before, now + wait)
        crowded = isinstance(error, RateLimited) or (
            isinstance(error, Unavailable) and error.overloaded
        )
        if began == self.cuts:
            self._refused += crowded
            self._count()

    def _count(self) -> None:
        self._done += 1
        window = max(WINDOW, int(self.limit))
        if self._refused > MANY * window:
            self._cut(self.limit / 2)
        elif self._done >= window:
            if self._refused > FEW * window:
                self._cut(self.limit * (1 - self._refused / window))
            elif self._reached and not self._refused:
                self.limit = min(self._highest, self.limit + 1)
            self._begin_window()

    def _cut(self, limit: float) -> None:
        self.limit = max(1.0, limit)
        self.cuts += 1
        self._begin_window()

    def _begin_window(self) -> None:
        self._done = self._refused = 0
        self._reached = bool(self._waiting)
