"""The breaker before a model that is not there: what waits for it is lost at once, with the reason,
where every call for itself would ask again for half a minute."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.errors import ModelError, Unavailable
from loomgit.gateway.retry import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway

PATIENCE = 10.0  # seconds
IN_A_ROW = ATTEMPTS  # as many as one call alone makes before it is lost
AT_WORK = 1.0  # seconds after which a call without an answer is taken for one that is worked on


class _Line(Struct):
    """What is known of one model: whether it ever answered, how many attempts have failed since,
    when those began; `reason` once it is given up."""

    opened: asyncio.Future[None]
    pending: dict[int, float] = field(default_factory=dict)
    answered: bool = False
    failures: int = 0
    since: float = 0.0
    reason: Unavailable | None = None

    def lost(self) -> Unavailable:
        assert self.reason is not None
        return Unavailable(self.reason.message, overloaded=self.reason.overloaded)


class Outages:
    """Which models have failed for so long that nobody need ask them any more.

    Given up is a model of which 8 attempts in a row came to an outage (no connection, 5xx), over
    `patience` seconds at least (10, where it answered before: then it may come back), while no
    call to it was being worked on. Any answer, be it a refusal, begins anew. A model that is given
    up stays so. Belongs to one event loop.
    """

    def __init__(
        self, patience: float = PATIENCE, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._numbers = count()

    def line(self, model: str) -> _Line:
        """What is known of a model."""
        found = self._lines.get(model)
        if found is None:
            found = self._lines[model] = _Line(asyncio.get_running_loop().create_future())
        return found

    def begin(self, line: _Line) -> int:
        """An attempt begins; returns its number."""
        number = next(self._numbers)
        line.pending[number] = self._clock()
        return number

    def leave(self, line: _Line, number: int) -> float:
        """An attempt ended; returns when it began."""
        return line.pending.pop(number)

    def answered(self, line: _Line) -> None:
        """The model said something."""
        line.answered = True
        line.failures, line.since = 0, self._clock()

    def failed(self, line: _Line, began: float, reason: Unavailable) -> None:
        """An attempt that began at that moment came to an outage."""
        now = self._clock()
        if line.failures == 0:
            line.since = max(line.since, began)
        line.failures += 1
        patience = max(self._patience, PATIENCE) if line.answered else self._patience
        oldest = next(iter(line.pending.values()), now)
        if (
            line.reason is None
            and line.failures >= IN_A_ROW
            and now - line.since >= patience
            and now - oldest < AT_WORK
        ):
            line.reason = reason
            line.opened.set_result(None)


class WatchedGateway:
    """Tells `outages` how each attempt ends; it stands where attempts are made, one at a time."""

    def __init__(self, inner: Gateway, outages: Outages) -> None:
        self._inner = inner
        self._outages = outages

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Raises the ModelError of the call."""
        line = self._outages.line(request.model)
        number = self._outages.begin(line)
        try:
            completion = await self._inner.complete(request)
        except Unavailable as error:
            self._outages.failed(line, self._outages.leave(line, number), error)
            raise
        except ModelError:
            self._outages.answered(line)
            raise
        else:
            self._outages.answered(line)
            return completion
        finally:
            line.pending.pop(number, None)

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()


class BreakerGateway:
    """Raises Unavailable, with the last attempt's reason, once a model is given up: for calls that
    wait for their next attempt or for room, and for all that come later."""

    def __init__(self, inner: Gateway, outages: Outages) -> None:
        self._inner = inner
        self._outages = outages

    async def complete(self, request: Request) -> Completion:
        """Return the reply, unless the model is given up before there is one."""
        line = self._outages.line(request.model)
        if line.reason is not None:
            raise line.lost()
        call = asyncio.ensure_future(self._inner.complete(request))
        try:
            await asyncio.wait((call, line.opened), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait((call,))
        if line.reason is not None and (call.cancelled() or call.exception() is not None):
            raise line.lost() from line.reason
        return call.result()

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()
