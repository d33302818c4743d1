"""Budgets: what a call can cost at most is reserved before the call is made.

One `Budget` holds for one invocation: all of its gateways, event loops, threads and, with an
account that they share, processes reserve from it.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from contextvars import ContextVar
from math import ceil, floor
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.models import Usage
from loomgit.errors import BudgetExceeded, LoomError, ModelError, Rejected, UserError
from loomgit.gateway.prices import UnitPrice
from loomgit.gateway.size import most_tokens

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway

EXACT = 1e-9  # USD: rounding errors of sums
NOTHING = 1e-12
POLL = 0.02  # seconds between two attempts to reserve while other processes have reservations
# Tokens of a reply that a model may have if neither the request nor the model has a limit.
ASSUMED_LIMIT = 4096
HINT = "raise the budget, or set transform.max_tokens: each call reserves what its reply may cost"


class PriceList(Protocol):
    """Knows what tokens cost and how long replies can be."""

    def unit_price(
        self, model: str, served: str | None = None, *, prompt_tokens: int = 0
    ) -> UnitPrice | None:
        """The price of one token, None where it is unknown."""
        ...

    def max_output_tokens(self, model: str) -> int | None:
        """The most tokens of one reply, None where nobody says."""
        ...


class Account(Protocol):
    """Holds the sums of a budget, in USD. Its methods are atomic."""

    @property
    def shared(self) -> bool:
        """Whether several processes use it."""
        ...

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """Reserve an amount. If it does not fit below the limit, reserve nothing and return what is
        spent and what is reserved."""
        ...

    def settle(self, reserved: float, cost: float) -> None:
        """End a reservation, and count what the call cost."""
        ...

    def sums(self) -> tuple[float, float]:
        """What is spent and what is reserved."""
        ...


class LocalAccount:
    """The account of one process; any of its threads may use it."""

    shared = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent = 0.0
        self._reserved = 0.0

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """As `Account.reserve`."""
        with self._lock:
            if self._spent + self._reserved + amount > limit + EXACT:
                return self._spent, self._reserved
            self._reserved += amount
            return None

    def settle(self, reserved: float, cost: float) -> None:
        """As `Account.settle`."""
        with self._lock:
            left = self._reserved - reserved
            self._reserved = left if left > NOTHING else 0.0
            self._spent += cost

    def sums(self) -> tuple[float, float]:
        """As `Account.sums`."""
        with self._lock:
            return self._spent, self._reserved


class Budget:
    """USD that may be spent by all gateways of an invocation together.

    `spent` is paid, `reserved` is set aside for calls in flight, `unanswered` is the part of
    `spent` that was booked for calls without a reply, and `refused` counts the calls that were not
    made.
    Raises UserError for a limit that is not an amount.
    """

    def __init__(self, limit: float, account: Account | None = None) -> None:
        if not limit >= 0:
            raise UserError(f"a budget of {limit} USD: expected 0 or more")
        self.limit = limit
        self.refused = 0
        self.unanswered = 0.0
        self._account = account or LocalAccount()
        self._lock = threading.Lock()
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def spent(self) -> float:
        """USD that are paid."""
        return self._account.sums()[0]

    @property
    def reserved(self) -> float:
        """USD that are set aside for calls in flight."""
        return self._account.sums()[1]

    @property
    def left(self) -> float:
        """USD that are neither spent nor reserved."""
        return max(0.0, self.limit - sum(self._account.sums()))

    async def reserve(self, amount: float, model: str, *, least: float | None = None) -> float:
        """Reserve an amount, and return it; waits while calls in flight may leave enough.

        If no call is in flight and the amount does not fit, reserves all that is left, provided
        that it is `least` or more. Else raises BudgetExceeded.
        """
        while True:
            settled = asyncio.get_running_loop().create_future()
            with self._lock:  # before the attempt: a settlement after it must wake this call
                self._waiting.add(settled)
            try:
                sums = self._account.reserve(amount, self.limit)
                if sums is None:
                    return amount
                spent, reserved = sums
                left = self.limit - spent
                if not reserved and least is not None and least <= left < amount:
                    amount = left
                elif not reserved:
                    self.refused += 1
                    raise self._exceeded(spent, amount if least is None else least, model)
                else:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(settled, POLL if self._account.shared else None)
            finally:
                with self._lock:
                    self._waiting.discard(settled)

    def settle(self, reserved: float, cost: float, *, answered: bool = True) -> None:
        """End a reservation, and count what the call cost."""
        self._account.settle(reserved, cost)
        with self._lock:
            self.unanswered += 0.0 if answered else cost
            waiting, self._waiting = self._waiting, set()
        for settled in waiting:
            with suppress(RuntimeError):  # its event loop has ended
                settled.get_loop().call_soon_threadsafe(_wake, settled)

    def _exceeded(self, spent: float, amount: float, model: str) -> BudgetExceeded:
        lost = f" ({self.unanswered:.4f} of it may be: calls without a reply)"
        return BudgetExceeded(
            f"budget: {spent:.4f} of {self.limit:g} USD are spent"
            f"{lost if self.unanswered else ''}, and the next call to {model} may cost "
            f"{amount:.4f}",
            hint=HINT,
        )


def _wake(settled: asyncio.Future[None]) -> None:
    if not settled.done():
        settled.set_result(None)


class _Sent(Struct):
    """Whether a call left for its provider."""

    sent: bool = False


_call: ContextVar[_Sent | None] = ContextVar("_call", default=None)


def mark_sent() -> None:
    """Note that the call of this task leaves for its provider: from now on it may be charged."""
    call = _call.get()
    if call is not None:
        call.sent = True


class _Seen(Struct):
    """What the calls to one model showed: tokens for a byte of input, the longest reply, and by
    which factor a call cost more than was reserved for it."""

    price: UnitPrice
    probe: asyncio.Lock
    known: bool = False
    ratio: float = 1.0
    output: int = 0
    factor: float = 1.0


class BudgetGateway:
    """Makes a call if the most that it can cost fits into the budget.

    That is its input (a token has one byte or more) and the longest reply: `max_tokens`, else the
    model's own limit; and never less than what was seen. If there is no limit, the call has one of
    `ASSUMED_LIMIT` tokens, or of what is left. The first call to a model is made alone, so that
    something is seen. It stands behind retries and the cache: each attempt reserves for itself, and
    a reply from the cache needs nothing. A reply without token counts, and a call that was sent and
    had no reply, is booked as what was reserved. So a little of a budget may be left.
    """

    def __init__(self, inner: Gateway, budget: Budget, prices: PriceList) -> None:
        self._inner = inner
        self._budget = budget
        self._prices = prices
        self._seen: dict[str, _Seen] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Raises BudgetExceeded if the call might cost too much, and Rejected for
        a reply that was cut off at the assumed limit."""
        seen = self._seen.get(request.model) or self._look_up(request.model)
        if seen.price.input == seen.price.output == 0:
            return await self._inner.complete(request)
        if not seen.known:
            async with seen.probe:
                if not seen.known:
                    return await self._pay(request, seen)
        return await self._pay(request, seen)

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()

    def check(self, model: str) -> None:
        """Raise UserError where the model's price is unknown: its calls could not be counted."""
        self._look_up(model)

    def _look_up(self, model: str) -> _Seen:
        price = self._prices.unit_price(model)
        if price is None:
            raise UserError(
                f"{model}: a budget needs its price, which is not known",
                hint="write it into .loom/config.yaml, in USD per million tokens: "
                f"models: {{{model}: {{input_price: ..., output_price: ...}}}}",
            )
        return self._seen.setdefault(model, _Seen(price, asyncio.Lock()))

    async def _pay(self, request: Request, seen: _Seen) -> Completion:
        size = most_tokens(request)
        limit = request.max_tokens or self._prices.max_output_tokens(request.model)
        if limit is not None or not seen.price.output:
            reserved = self._most(request.model, seen, size, limit or 0)
            await self._budget.reserve(reserved, request.model)
            return await self._ask(request, seen, size, reserved)
        wanted = self._most(request.model, seen, size, ASSUMED_LIMIT)
        least = self._most(request.model, seen, size, max(1, seen.output))
        reserved = await self._budget.reserve(wanted, request.model, least=least)
        limit = ASSUMED_LIMIT
        if reserved < wanted:
            fixed = self._most(request.model, seen, size, 0, output=0)
            longest = max(ASSUMED_LIMIT, seen.output)
            limit = floor((reserved - fixed) / (wanted - fixed) * longest + EXACT)
        limited = replace(request, max_tokens=max(1, limit))
        completion = await self._ask(limited, seen, size, reserved)
        if completion.ending == "length":
            raise _cut_off(request.model, limit)
        return completion

    async def _ask(self, request: Request, seen: _Seen, size: int, reserved: float) -> Completion:
        """Make the call, and book what it cost."""
        cost, answered = 0.0, True
        call = _Sent()
        token = _call.set(call)
        try:
            completion = await self._inner.complete(request)
            cost = reserved if completion.cost is None else completion.cost
            self._learn(request.model, completion, seen, size)
            return completion  # noqa: TRY300 - what was learned belongs to the call
        except ModelError as error:
            answered = error.cost is not None
            cost = reserved if error.cost is None else error.cost
            raise
        except LoomError:
            raise  # the request could not be made
        except BaseException:  # it was cancelled
            answered = not call.sent
            cost = reserved if call.sent else 0.0
            raise
        finally:
            _call.reset(token)
            self._budget.settle(reserved, cost, answered=answered)

    def _learn(self, model: str, completion: Completion, seen: _Seen, size: int) -> None:
        used = completion.usage
        if not used.total:
            return
        seen.known = True
        seen.ratio = max(seen.ratio, used.input / size)
        seen.output = max(seen.output, used.output)
        expected = self._most(model, seen, size, 0)
        if (completion.cost or 0.0) > expected > 0:  # the model that served it has another price
            seen.factor *= (completion.cost or 0.0) / expected

    def _most(
        self, model: str, seen: _Seen, size: int, limit: int, output: int | None = None
    ) -> float:
        """The highest possible cost of a call in USD, with replies up to a limit of tokens and not
        shorter than `output` (None: the longest that was seen)."""
        tokens = ceil(size * seen.ratio)
        used = Usage(tokens, max(limit, seen.output if output is None else output))
        price = self._prices.unit_price(model, prompt_tokens=tokens) or seen.price
        return seen.factor * max(price.cost(used), seen.price.cost(used))


def _cut_off(model: str, limit: int) -> ModelError:
    kind = Rejected if limit >= ASSUMED_LIMIT else BudgetExceeded
    return kind(
        f"{model}: the reply was cut off at {limit} tokens: with a budget, a reply may have no "
        "more of a model whose limit is unknown",
        hint="set transform.max_tokens, or max_output_tokens of the model in .loom/config.yaml",
    )
