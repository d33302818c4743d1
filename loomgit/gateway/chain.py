"""The gateways of one run, put together: fallback, cassette, cache, retry, budget, pace, lane.

The budget stands behind the retries, because each attempt may be charged, and behind the cache,
because a reply from there costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.ports import Gateway
from loomgit.domain.settings import EMBEDDED_MODEL, ModelSettings, Replay, Secret
from loomgit.gateway.billing import BillingGateway
from loomgit.gateway.budget import Budget, BudgetGateway
from loomgit.gateway.cache import CacheGateway
from loomgit.gateway.cassette import Cassette
from loomgit.gateway.catalogue import split_provider
from loomgit.gateway.direct import DirectGateway
from loomgit.gateway.embedded import EmbeddedGateway
from loomgit.gateway.endpoints import resolve
from loomgit.gateway.fallback import FallbackGateway
from loomgit.gateway.faults import missing_key
from loomgit.gateway.first_calls import FirstCallsGateway
from loomgit.gateway.keys import find_address, find_key, needs_key, read_address, read_key
from loomgit.gateway.live import LiteLlmGateway
from loomgit.gateway.once import OnceGateway
from loomgit.gateway.outage import BreakerGateway, Outages, WatchedGateway
from loomgit.gateway.pace import PaceGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.replay import CassetteGateway
from loomgit.gateway.retry import RetryGateway
from loomgit.gateway.routing import RoutingGateway, choose_lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.definitions import CacheRule
    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.gateway.call_locks import CallLocks
    from loomgit.gateway.once import Claims
    from loomgit.gateway.reply_store import ReplyStore


class Lanes(Struct, frozen=True):
    """The ways to all models: their settings, their secrets, their prices."""

    models: Mapping[str, ModelSettings]
    reveal: Callable[[Secret], str]
    environment: Mapping[str, str]

    @property
    def prices(self) -> Prices:
        """What they cost."""
        return Prices(self.models)

    def check(self, model: str) -> None:
        """Raise Denied or UserError where the model can be seen to be out of reach: no key.

        Of a provider that litellm reaches only where its variables are known here: the others it
        knows alone, when it is loaded.
        """
        settings = self.models.get(model)
        lane = choose_lane(model, settings)
        if lane == "direct":
            resolve(model, settings, reveal=self.reveal, environment=self.environment)
        elif lane == "litellm":
            self._look_for_key(model, settings)

    def _look_for_key(self, model: str, settings: ModelSettings | None) -> None:
        provider, _ = split_provider(model)
        if settings is not None:
            if settings.base_url is not None:
                place = f"{settings.base_url.place}: base_url of {model}"
                read_address(self.reveal(settings.base_url), place)
            if settings.api_key is not None:
                place = f"{settings.api_key.place}: api_key of {model}"
                read_key(self.reveal(settings.api_key), place)
            if settings.base_url is not None or settings.api_key is not None:
                return
        key, variable = find_key(provider, self.environment)
        chosen, _ = find_address(provider, self.environment)
        if key is None and needs_key(provider) and not chosen:
            raise missing_key(model, variable)

    def open(self) -> RoutingGateway:
        """A gateway that opens each lane when something takes it."""
        prices = self.prices

        def embedded() -> Gateway:
            if EMBEDDED_MODEL not in self.models:
                return EmbeddedGateway()
            return EmbeddedGateway(lambda u: prices.cost(EMBEDDED_MODEL, EMBEDDED_MODEL, u))

        def direct() -> Gateway:
            return DirectGateway(
                self.models, prices, reveal=self.reveal, environment=self.environment
            )

        def litellm() -> Gateway:
            return LiteLlmGateway(
                self.models, prices, reveal=self.reveal, environment=self.environment
            )

        return RoutingGateway(
            {"embedded": embedded, "direct": direct, "litellm": litellm}, self.models
        )


class Recording(Struct, frozen=True):
    """A cassette in use; `origin` marks what is asked now (`cassette.origin_of`)."""

    cassette: Cassette
    mode: Replay
    origin: str


class Chain(Struct, frozen=True):
    """A whole gateway; `budget` tells what was spent, where there is one."""

    outermost: Gateway
    budget: Budget | None = None

    async def complete(self, request: Request) -> Completion:
        """Return the reply, from wherever it comes."""
        return await self.outermost.complete(request)

    async def close(self) -> None:
        """Close all of it, from the outside in."""
        await self.outermost.close()


def build(
    lanes: Lanes,
    *,
    concurrency: int | None = None,
    store: ReplyStore | None = None,
    rules: Mapping[Purpose, CacheRule] | None = None,
    claims: Claims | None = None,
    locks: CallLocks | None = None,
    recording: Recording | None = None,
    budget: Budget | None = None,
    fallbacks: Mapping[str, Sequence[str]] | None = None,
    models: Sequence[str] = (),
    outage: float | None = None,
) -> Chain:
    """The chain with those parts that are given, in their order.

    `concurrency` None adapts. `rules` say for which purposes `store` is used. `claims` (one test
    session) or `locks` (all processes) make several processes share one call. `models` are those
    that will be asked. After `outage` seconds without a sign of life a model is given up; None:
    every call tries for itself. Raises UserError for a budget if a model has no known price.
    """
    gateway: Gateway = FirstCallsGateway(BillingGateway(lanes.open()))
    outages = None if outage is None else Outages(outage)
    if outages is not None:
        gateway = WatchedGateway(gateway, outages)
    gateway = PaceGateway(gateway, lanes.models, concurrency=concurrency)
    if budget is not None:
        paid = gateway = BudgetGateway(gateway, budget, lanes.prices)
        for model in models:
            paid.check(model)
    gateway = RetryGateway(gateway)
    if outages is not None:
        gateway = BreakerGateway(gateway, outages)
    if store is not None and rules:
        if claims is not None:
            shared = [purpose for purpose, rule in rules.items() if rule.enabled]
            gateway = OnceGateway(gateway, claims, shared)
        refresh = recording is not None and recording.mode == "record"
        gateway = CacheGateway(
            gateway, store, rules, locks=None if claims else locks, refresh=refresh
        )
    if recording is not None and recording.mode != "off":
        gateway = CassetteGateway(
            gateway, recording.cassette, recording.mode, origin=recording.origin
        )
    if fallbacks:
        gateway = FallbackGateway(gateway, fallbacks)
    return Chain(gateway, budget)
