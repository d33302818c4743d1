"""Circuit breaker for unavailable models: once it is open, all calls to the model fail at once.

If there were no circuit breaker, each call would repeat its attempts for half a minute.
"""

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

PATIENCE = 10.0  # the circuit opens only after attempts have failed for this many seconds
FAILURE_THRESHOLD = (
    ATTEMPTS  # failed attempts in a row before the circuit opens; equal to the attempts of one call
)
BUSY_AFTER = 1.0  # seconds; if a call is pending for longer, the model is probably processing it


class _Circuit(Struct):
    """The state of the circuit of one model.

    When the circuit opens, `opened` is completed, and `reason` is set to the last error. `pending`
    maps the numbers of attempts in flight to their start times. `answered` is true if the model has
    ever answered. `failures` is the number of failed attempts since the model's last answer.
    `since` is the start time of the first of these attempts, or the time of the last answer if the
    answer is later.
    """

    opened: asyncio.Future[None]
    pending: dict[int, float] = field(default_factory=dict)
    answered: bool = False
    failures: int = 0
    since: float = 0.0
    reason: Unavailable | None = None

    def failure(self) -> Unavailable:
        """Return a new error with the message of `reason`."""
        assert self.reason is not None
        return Unavailable(self.reason.message, overloaded=self.reason.overloaded)


class CircuitBreaker:
    """Opens the circuit of a model that has been unavailable for too long.

    A circuit opens if three conditions are met:
    - At least 8 consecutive attempts ended in an outage (no connection, status 5xx).
    - These failures lasted at least `patience` seconds. A model that has answered before may
      recover, so its failures must have lasted at least 10 seconds.
    - No call in flight is older than one second. The model may still be processing an older call.

    Any answer, including a refusal, resets the number of failures. An open circuit never closes.
    The object belongs to one event loop.
    """

    def __init__(
        self, patience: float = PATIENCE, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}
        self._numbers = count()

    def line(self, model: str) -> _Circuit:
        """Return the circuit of a model. The first call for a model creates the circuit."""
        circuit = self._circuits.get(model)
        if circuit is None:
            circuit = _Circuit(asyncio.get_running_loop().create_future())
            self._circuits[model] = circuit
        return circuit

    def begin(self, circuit: _Circuit) -> int:
        """Record the start of an attempt, and return its number."""
        number = next(self._numbers)
        circuit.pending[number] = self._clock()
        return number

    def leave(self, circuit: _Circuit, number: int) -> float:
        """Record the end of an attempt, and return its start time."""
        return circuit.pending.pop(number)

    def answered(self, circuit: _Circuit) -> None:
        """Record an answer of the model."""
        circuit.answered = True
        circuit.failures, circuit.since = 0, self._clock()

    def failed(self, circuit: _Circuit, began: float, reason: Unavailable) -> None:
        """Record an attempt that ended in an outage. This may open the circuit.

        `began` is the start time of the attempt, and `reason` is its error.
        """
        now = self._clock()
        if circuit.failures == 0:
            circuit.since = max(circuit.since, began)
        circuit.failures += 1
        patience = max(self._patience, PATIENCE) if circuit.answered else self._patience
        oldest = next(iter(circuit.pending.values()), now)
        if (
            circuit.reason is None
            and circuit.failures >= FAILURE_THRESHOLD
            and now - circuit.since >= patience
            and now - oldest < BUSY_AFTER
        ):
            circuit.reason = reason
            circuit.opened.set_result(None)


class OutageDetector:
    """Tells the circuit breaker `outages` whether each attempt succeeded or failed.

    The retry gateway wraps this gateway, so each retry is a separate attempt.
    """

    def __init__(self, inner: Gateway, outages: CircuitBreaker) -> None:
        self._inner = inner
        self._breaker = outages

    async def complete(self, request: Request) -> Completion:
        """Return the reply. If the call fails, its ModelError is raised."""
        circuit = self._breaker.line(request.model)
        number = self._breaker.begin(circuit)
        try:
            completion = await self._inner.complete(request)
        except Unavailable as error:
            self._breaker.failed(circuit, self._breaker.leave(circuit, number), error)
            raise
        except ModelError:
            self._breaker.answered(circuit)
            raise
        else:
            self._breaker.answered(circuit)
            return completion
        finally:
            circuit.pending.pop(number, None)

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()


class CircuitBreakerGateway:
    """Raises Unavailable for all calls to a model once the circuit of the model is open.

    Calls that wait for their next attempt or for the rate limit fail too. The message comes from
    the error that opened the circuit.
    """

    def __init__(self, inner: Gateway, outages: CircuitBreaker) -> None:
        self._inner = inner
        self._breaker = outages

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Raises Unavailable if the circuit opens before the reply arrives."""
        circuit = self._breaker.line(request.model)
        if circuit.reason is not None:
            raise circuit.failure()
        call = asyncio.ensure_future(self._inner.complete(request))
        try:
            await asyncio.wait((call, circuit.opened), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait((call,))
        if circuit.reason is not None and (call.cancelled() or call.exception() is not None):
            raise circuit.failure() from circuit.reason
        return call.result()

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()
