"""The gateway that spends no more than was allowed: a call is paid for before it is made."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.models import Usage
from loomgit.errors import BudgetExceeded, UserError
from loomgit.gateway.prices import UnitPrice
from loomgit.gateway.size import most_tokens

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway

EXACT = 1e-9  # USD: what adding up may be wrong by
NOTHING = 1e-12


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


class Budget:
    """USD that may be spent, by any number of gateways of one event loop together.

    `spent` is paid, `reserved` set aside for calls under way, `refused` counts the calls that were
    not made. Raises UserError for a limit that is no amount.
    """

    def __init__(self, limit: float) -> None:
        if not limit >= 0:
            raise UserError(f"a budget of {limit} USD: expected 0 or more")
        self.limit = limit
        self.spent = 0.0
        self.reserved = 0.0
        self.refused = 0
        self._settled: asyncio.Event | None = None

    @property
    def left(self) -> float:
        """What is neither spent nor set aside."""
        return max(0.0, self.limit - self.spent - self.reserved)

    async def reserve(self, amount: float, model: str) -> None:
        """Set `amount` aside, when others' settlements have made room for it where they must.

        Raises BudgetExceeded where it does not fit and nothing is under way that may leave more.
        """
        while self.spent + self.reserved + amount > self.limit + EXACT:
            if not self.reserved:
                self.refused += 1
                raise BudgetExceeded(
                    f"budget: {self.spent:.4f} of {self.limit:g} USD are spent, and the next call "
                    f"to {model} may cost {amount:.4f}",
                    hint="allow more, or set transform.max_tokens: as much as a reply may cost is "
                    "set aside for it",
                )
            self._settled = self._settled or asyncio.Event()
            await self._settled.wait()
        self.reserved += amount

    def settle(self, reserved: float, cost: float) -> None:
        """Give back what was set aside for a call, and book what it cost."""
        left = self.reserved - reserved
        self.reserved = left if left > NOTHING else 0.0
        self.spent += cost
        if self._settled is not None:
            self._settled.set()
            self._settled = None


class _Seen(Struct):
    """What the calls to one model came to: tokens for a byte of input, the longest reply."""

    price: UnitPrice
    probe: asyncio.Lock
    known: bool = False
    ratio: float = 1.0
    output: int = 0


class BudgetGateway:
    """Lets a call through when the most that it can cost is still there.

    That is its input (a token has one byte at least) and the longest reply: `max_tokens`, else the
    model's own limit, else the longest seen; and never less than what was seen. The first call to
    a model goes alone, so that something is. A reply that cost nothing, from a cache, gives
    everything back; one whose tokens nobody counted is booked as what was set aside. So a little
    of a budget stays: what its last call did not need.
    """

    def __init__(self, inner: Gateway, budget: Budget, prices: PriceList) -> None:
        self._inner = inner
        self._budget = budget
        self._prices = prices
        self._seen: dict[str, _Seen] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Raises BudgetExceeded where it might cost too much."""
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
        reserved = self._most(request, seen, size)
        await self._budget.reserve(reserved, request.model)
        cost = 0.0
        try:
            completion = await self._inner.complete(request)
            cost = reserved if completion.cost is None else completion.cost
            if completion.usage.total:
                seen.known = True
                seen.ratio = max(seen.ratio, completion.usage.input / size)
                seen.output = max(seen.output, completion.usage.output)
            return completion
        finally:
            self._budget.settle(reserved, cost)

    def _most(self, request: Request, seen: _Seen, size: int) -> float:
        """The highest possible cost of the request, in USD."""
        tokens = ceil(size * seen.ratio)
        limit = request.max_tokens or self._prices.max_output_tokens(request.model)
        if limit is None and not seen.known:
            return self._budget.left
        price = self._prices.unit_price(request.model, prompt_tokens=tokens) or seen.price
        return price.cost(Usage(tokens, max(limit or 0, seen.output)))
