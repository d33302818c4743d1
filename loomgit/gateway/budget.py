"""Budgets: before each call, the maximum cost of the call is reserved.

One `Budget` covers one invocation of Loom. All gateways, event loops and threads of the invocation
reserve from this budget. If the budget has a shared account, other processes reserve from it too.
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

from loomgit.domain.amounts import SMALLEST_PLAIN, decimals_for
from loomgit.domain.models import Usage
from loomgit.errors import BudgetExceeded, LoomError, ModelError, Rejected, UserError
from loomgit.gateway.prices import UnitPrice
from loomgit.gateway.token_estimate import max_tokens_bound

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway

TOLERANCE = 1e-9  # USD: allows for rounding errors in sums
NEGLIGIBLE = 1e-12  # USD: a smaller sum of reservations is treated as 0
POLL = 0.02  # seconds between two attempts to reserve while other processes hold reservations
# Maximum number of tokens in a reply if neither the request nor the model has a limit.
DEFAULT_MAX_TOKENS = 4096
HINT = "raise the budget, or set transform.max_tokens: each call reserves its maximum cost"


class PriceList(Protocol):
    """Provides the prices of tokens and the maximum lengths of replies."""

    def unit_price(
        self, model: str, served: str | None = None, *, prompt_tokens: int = 0
    ) -> UnitPrice | None:
        """Return the model's price per token, or None if the price is unknown."""
        ...

    def max_output_tokens(self, model: str) -> int | None:
        """Return the maximum number of tokens in one reply, or None if it is unknown."""
        ...


class Account(Protocol):
    """Stores the amount spent and the amount reserved, in USD. All methods are atomic."""

    @property
    def shared(self) -> bool:
        """Whether several processes use the account."""
        ...

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """Reserve `amount` and return None.

        If the total of spent and reserved amounts would exceed `limit`, reserve nothing. Instead,
        return the amount spent and the amount reserved.
        """
        ...

    def settle(self, reserved: float, cost: float) -> None:
        """End the reservation of `reserved` USD, and add `cost` to the amount spent."""
        ...

    def sums(self) -> tuple[float, float]:
        """Return the amount spent and the amount reserved."""
        ...


class LocalAccount:
    """The account of one process. All threads of the process may use it."""

    shared = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent = 0.0
        self._reserved = 0.0

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """See `Account.reserve`."""
        with self._lock:
            if self._spent + self._reserved + amount > limit + TOLERANCE:
                return self._spent, self._reserved
            self._reserved += amount
            return None

    def settle(self, reserved: float, cost: float) -> None:
        """See `Account.settle`."""
        with self._lock:
            remaining = self._reserved - reserved
            self._reserved = remaining if remaining > NEGLIGIBLE else 0.0
            self._spent += cost

    def sums(self) -> tuple[float, float]:
        """See `Account.sums`."""
        with self._lock:
            return self._spent, self._reserved


class Budget:
    """The amount in USD that all gateways of an invocation may spend together.

    `spent` is the amount already paid. `reserved` is the amount set aside for calls in flight.
    `unanswered` is the part of `spent` that was booked for calls without a reply. `refused` is the
    number of calls that did not fit into the budget. Raises UserError if the limit is negative or
    not a number.
    """

    def __init__(self, limit: float, account: Account | None = None) -> None:
        if not limit >= 0:
            raise UserError(f"the budget must be 0 USD or more, not {limit}")
        self.limit = limit
        self.refused = 0
        self.unanswered = 0.0
        self.account = account or LocalAccount()
        self._lock = threading.Lock()
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def spent(self) -> float:
        """The amount already paid, in USD."""
        return self.account.sums()[0]

    @property
    def reserved(self) -> float:
        """The amount set aside for calls in flight, in USD."""
        return self.account.sums()[1]

    @property
    def left(self) -> float:
        """The amount that is neither spent nor reserved, in USD."""
        return max(0.0, self.limit - sum(self.account.sums()))

    async def reserve(self, amount: float, model: str, *, least: float | None = None) -> float:
        """Reserve `amount` USD for a call, and return the reserved amount.

        If the budget cannot cover the amount, wait until calls in flight release enough. If no call
        is in flight, reserve the rest of the budget instead, but only if the rest is at least
        `least`. Otherwise raise BudgetExceeded.
        """
        while True:
            settled = asyncio.get_running_loop().create_future()
            # Add the future before the attempt to reserve. Otherwise, a settlement directly after
            # a failed attempt would not wake this call.
            with self._lock:
                self._waiting.add(settled)
            try:
                sums = self.account.reserve(amount, self.limit)
                if sums is None:
                    return amount
                spent, reserved = sums
                remaining = self.limit - spent
                if not reserved and least is not None and least <= remaining < amount:
                    amount = remaining
                elif not reserved:
                    self.refused += 1
                    raise self._exceeded(spent, amount if least is None else least, model)
                else:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(settled, POLL if self.account.shared else None)
            finally:
                with self._lock:
                    self._waiting.discard(settled)

    def settle(self, reserved: float, cost: float, *, answered: bool = True) -> None:
        """End the reservation of `reserved` USD, and add `cost` to the amount spent.

        `answered` is false if the call was sent but received no reply.
        """
        self.account.settle(reserved, cost)
        with self._lock:
            self.unanswered += 0.0 if answered else cost
            waiting, self._waiting = self._waiting, set()
        for settled in waiting:
            with suppress(RuntimeError):  # the event loop of the waiting call has ended
                settled.get_loop().call_soon_threadsafe(_wake, settled)

    def _exceeded(self, spent: float, amount: float, model: str) -> BudgetExceeded:
        unanswered = f" (including up to {_usd(self.unanswered)} for calls without a reply)"
        limit = self.limit
        shown_limit = f"{limit:g}" if limit >= SMALLEST_PLAIN or not limit else _usd(limit)
        return BudgetExceeded(
            f"budget: {_usd(spent)} of {shown_limit} USD are spent"
            f"{unanswered if self.unanswered else ''}, and the next call to {model} may cost "
            f"{_usd(amount)}",
            hint=HINT,
        )


def _usd(amount: float) -> str:
    """Return an amount with at least four decimals and at least two significant digits."""
    return f"{amount:.{max(decimals_for(amount), 4)}f}"


def _wake(settled: asyncio.Future[None]) -> None:
    if not settled.done():
        settled.set_result(None)


class _Sent(Struct):
    """Records whether a call was sent to its provider."""

    sent: bool = False


_current_call: ContextVar[_Sent | None] = ContextVar("_current_call", default=None)


def mark_sent() -> None:
    """Record that the current task sends its call now.

    From now on, the provider may charge for the call.
    """
    call = _current_call.get()
    if call is not None:
        call.sent = True


class _ObservedCosts(Struct):
    """Observations from the calls to one model.

    `price` is the listed price of the model. `known` is true after the first observed call. Before
    that, the lock `probe` ensures that only one call runs at a time. `ratio` (at least 1) corrects
    Loom's upper bound for the number of input tokens. It is the highest observed ratio of the
    provider's token count to this bound. `output` is the length of the longest reply in tokens. The
    expected cost of later calls is multiplied by `factor` (at least 1), which grows if a call costs
    more than expected.
    """

    price: UnitPrice
    probe: asyncio.Lock
    known: bool = False
    ratio: float = 1.0
    output: int = 0
    factor: float = 1.0


class BudgetGateway:
    """Makes a call only if its maximum cost fits into the budget.

    The maximum cost is the cost of the input plus the cost of the longest possible reply. The
    number of input tokens is at most the number of bytes. The length of the longest possible reply
    is the `max_tokens` of the request. If the request has no `max_tokens`, the limit comes from the
    model's settings or from the price list. If a longer reply was observed, its length is used
    instead. If no limit is known, the gateway limits the reply to `DEFAULT_MAX_TOKENS` tokens. If
    the rest of the budget cannot pay for so many tokens, the limit is lower. The first call to a
    model runs alone, so that later estimates can use its observed cost.

    The retry gateway and the cache gateway wrap this gateway. Therefore each attempt makes its own
    reservation, and a cached reply reserves nothing. If a reply has no token counts, or if a call
    was sent and got no reply, the whole reservation is booked as spent. The recorded sum may thus
    exceed the real cost, and a small part of the budget may remain unused.
    """

    def __init__(self, inner: Gateway, budget: Budget, prices: PriceList) -> None:
        self._inner = inner
        self._budget = budget
        self._prices = prices
        self._observed: dict[str, _ObservedCosts] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply.

        Raises BudgetExceeded if the call could exceed the budget. If no limit is known for the
        length of the reply, this gateway sets one. If the reply is cut off at this limit, the error
        is BudgetExceeded for a limit below `DEFAULT_MAX_TOKENS`, and Rejected for other limits.
        """
        observed = self._observed.get(request.model) or self._costs_of(request.model)
        if observed.price.input == observed.price.output == 0:
            return await self._inner.complete(request)
        if not observed.known:
            async with observed.probe:
                if not observed.known:
                    return await self._pay(request, observed)
        return await self._pay(request, observed)

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()

    def check(self, model: str) -> None:
        """Raise UserError if the price of the model is unknown.

        A budget cannot limit costs that are unknown.
        """
        self._costs_of(model)

    def _costs_of(self, model: str) -> _ObservedCosts:
        price = self._prices.unit_price(model)
        if price is None:
            raise UserError(
                f"{model}: a budget needs the price of the model, which is unknown",
                hint="set the price in .loom/config.yaml, in USD per million tokens: "
                f"models: {{{model}: {{input_price: ..., output_price: ...}}}}",
            )
        return self._observed.setdefault(model, _ObservedCosts(price, asyncio.Lock()))

    async def _pay(self, request: Request, observed: _ObservedCosts) -> Completion:
        max_input = max_tokens_bound(request)
        limit = request.max_tokens or self._prices.max_output_tokens(request.model)
        if limit is not None or not observed.price.output:
            reserved = self._max_cost(request.model, observed, max_input, limit or 0)
            await self._budget.reserve(reserved, request.model)
            return await self._make_call(request, observed, max_input, reserved)
        wanted = self._max_cost(request.model, observed, max_input, DEFAULT_MAX_TOKENS)
        least = self._max_cost(request.model, observed, max_input, max(1, observed.output))
        reserved = await self._budget.reserve(wanted, request.model, least=least)
        limit = DEFAULT_MAX_TOKENS
        if reserved < wanted:
            fixed = self._max_cost(request.model, observed, max_input, 0, output=0)
            longest = max(DEFAULT_MAX_TOKENS, observed.output)
            limit = floor((reserved - fixed) / (wanted - fixed) * longest + TOLERANCE)
        limited = replace(request, max_tokens=max(1, limit))
        completion = await self._make_call(limited, observed, max_input, reserved)
        if completion.ending == "length":
            raise _cut_off(request.model, limit)
        return completion

    async def _make_call(
        self, request: Request, observed: _ObservedCosts, max_input: int, reserved: float
    ) -> Completion:
        """Make the call, then replace the reservation with the cost of the call."""
        cost, answered = 0.0, True
        call = _Sent()
        token = _current_call.set(call)
        try:
            completion = await self._inner.complete(request)
            cost = reserved if completion.cost is None else completion.cost
            self._observe(request.model, completion, observed, max_input)
            return completion  # noqa: TRY300 - an error in _observe is an error of the call
        except ModelError as error:
            answered = error.cost is not None
            cost = reserved if error.cost is None else error.cost
            raise
        except LoomError:
            raise  # the error occurred before the request was sent
        except BaseException:  # the call was cancelled
            answered = not call.sent
            cost = reserved if call.sent else 0.0
            raise
        finally:
            _current_call.reset(token)
            self._budget.settle(reserved, cost, answered=answered)

    def _observe(
        self, model: str, completion: Completion, observed: _ObservedCosts, max_input: int
    ) -> None:
        used = completion.usage
        if not used.total:
            return
        observed.known = True
        observed.ratio = max(observed.ratio, used.input / max_input)
        observed.output = max(observed.output, used.output)
        expected = self._max_cost(model, observed, max_input, 0)
        if (completion.cost or 0.0) > expected > 0:  # the real price exceeds the listed price
            observed.factor *= (completion.cost or 0.0) / expected

    def _max_cost(
        self,
        model: str,
        observed: _ObservedCosts,
        max_input: int,
        limit: int,
        output: int | None = None,
    ) -> float:
        """Return the maximum cost of a call in USD.

        `max_input` is the upper bound for the number of input tokens. The reply is assumed to have
        `limit` or `output` tokens, whichever is larger. `output` defaults to the length of the
        longest observed reply.
        """
        tokens = ceil(max_input * observed.ratio)
        used = Usage(tokens, max(limit, observed.output if output is None else output))
        price = self._prices.unit_price(model, prompt_tokens=tokens) or observed.price
        return observed.factor * max(price.cost(used), observed.price.cost(used))


def _cut_off(model: str, limit: int) -> ModelError:
    kind = Rejected if limit >= DEFAULT_MAX_TOKENS else BudgetExceeded
    return kind(
        f"{model}: the reply was cut off at {limit} tokens: with a budget, replies are limited "
        "to this length if the limit of the model is unknown",
        hint="set transform.max_tokens, or max_output_tokens of the model in .loom/config.yaml",
    )
