"""Builds the gateways of one run: fallback, cassette, cache, retry, budget, rate limit, lane.

Each gateway wraps the next one in this list. A lane is a gateway that calls models. The retry
gateway wraps the budget gateway, because the provider may charge for each attempt. The cache
gateway wraps the budget gateway too, because a cached reply costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.ports import Gateway
from loomgit.domain.settings import EMBEDDED_MODEL, ModelSettings, Replay, Secret
from loomgit.gateway.api_keys import find_address, find_key, needs_key, read_address, read_key
from loomgit.gateway.billing import BillingGateway
from loomgit.gateway.budget import Budget, BudgetGateway
from loomgit.gateway.cache import CacheGateway
from loomgit.gateway.cassette import Cassette
from loomgit.gateway.circuit_breaker import CircuitBreaker, CircuitBreakerGateway, OutageDetector
from loomgit.gateway.endpoints import resolve
from loomgit.gateway.fallback import FallbackGateway
from loomgit.gateway.first_calls import FirstCallsGateway
from loomgit.gateway.litellm_lane import LiteLlmGateway
from loomgit.gateway.model_catalog import split_provider
from loomgit.gateway.openai_http import OpenAiHttpGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.provider_errors import missing_key
from loomgit.gateway.rate_limit import RateLimitGateway
from loomgit.gateway.replay import CassetteGateway
from loomgit.gateway.retry import RetryGateway
from loomgit.gateway.routing import RoutingGateway, choose_lane
from loomgit.gateway.shared_calls import SharedCallGateway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.definitions import CacheRule
    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.gateway.call_locks import CallLocks
    from loomgit.gateway.reply_store import ReplyStore
    from loomgit.gateway.shared_calls import CallClaims


class Lanes(Struct, frozen=True):
    """Opens the lanes, which are the gateways that call models.

    `models` maps the names of models to their settings. `reveal` returns the value of a secret in
    the settings. `environment` contains the environment variables.
    """

    models: Mapping[str, ModelSettings]
    reveal: Callable[[Secret], str]
    environment: Mapping[str, str]

    @property
    def prices(self) -> Prices:
        """The prices of the models."""
        return Prices(self.models)

    def check(self, model: str) -> None:
        """Raise Denied or UserError if a call to the model cannot succeed.

        An example is a missing key. For models that are called through litellm, only the keys of
        the providers in `api_keys.VARIABLES` are checked. litellm knows the variables of other
        providers, but is not imported here, because the import takes seconds.
        """
        settings = self.models.get(model)
        lane = choose_lane(model, settings)
        if lane == "direct":
            resolve(model, settings, reveal=self.reveal, environment=self.environment)
        elif lane == "litellm":
            self._check_key(model, settings)

    def _check_key(self, model: str, settings: ModelSettings | None) -> None:
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
        address, _ = find_address(provider, self.environment)
        if key is None and needs_key(provider) and not address:
            raise missing_key(model, variable)

    def open(self) -> RoutingGateway:
        """Return a gateway that opens each lane when a request first needs the lane."""
        prices = self.prices

        def embedded() -> Gateway:
            from loomgit.gateway.embedded import EmbeddedGateway  # noqa: PLC0415

            if EMBEDDED_MODEL not in self.models:
                return EmbeddedGateway()
            return EmbeddedGateway(lambda usage: prices.cost(EMBEDDED_MODEL, EMBEDDED_MODEL, usage))

        def direct() -> Gateway:
            return OpenAiHttpGateway(
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
    """The cassette of a run, and the mode in which the run uses it.

    New entries of this run contain `origin`, which is the result of `cassette.hash_origin`.
    """

    cassette: Cassette
    mode: Replay
    origin: str


class Chain(Struct, frozen=True):
    """The complete gateway of a run.

    `outermost` wraps all other gateways. `budget` is None if the run has no budget.
    """

    outermost: Gateway
    budget: Budget | None = None

    async def complete(self, request: Request) -> Completion:
        """Return a reply: from the cassette, from the cache, or from a new call."""
        return await self.outermost.complete(request)

    async def close(self) -> None:
        """Close all gateways, from the outermost to the innermost."""
        await self.outermost.close()


def build(
    lanes: Lanes,
    *,
    concurrency: int | None = None,
    store: ReplyStore | None = None,
    rules: Mapping[Purpose, CacheRule] | None = None,
    claims: CallClaims | None = None,
    locks: CallLocks | None = None,
    recording: Recording | None = None,
    budget: Budget | None = None,
    fallbacks: Mapping[str, Sequence[str]] | None = None,
    models: Sequence[str] = (),
    outage: float | None = None,
) -> Chain:
    """Build a chain of gateways from the given parts. The order of the gateways is fixed.

    If `concurrency` is None, the number of concurrent calls adapts to the provider. `rules` defines
    how calls of each purpose (`transform`, `evaluate`) use the cache `store`. If `claims` is given,
    the processes of one test session share one call for equal requests. If only `locks` is given,
    all processes share one call for equal requests. `models` are the models of the run. If a budget
    is given and the price of one of these models is unknown, UserError is raised.

    If `outage` is given, the chain has a circuit breaker: after `outage` seconds of failed
    attempts, all calls to the model fail at once. If `outage` is None, each call retries on its
    own.
    """
    gateway: Gateway = FirstCallsGateway(BillingGateway(lanes.open()))
    breaker = None if outage is None else CircuitBreaker(outage)
    if breaker is not None:
        gateway = OutageDetector(gateway, breaker)
    gateway = RateLimitGateway(gateway, lanes.models, concurrency=concurrency)
    if budget is not None:
        budgeted = gateway = BudgetGateway(gateway, budget, lanes.prices)
        for model in models:
            budgeted.check(model)
    gateway = RetryGateway(gateway)
    if breaker is not None:
        gateway = CircuitBreakerGateway(gateway, breaker)
    if store is not None and rules:
        if claims is not None:
            shared = [purpose for purpose, rule in rules.items() if rule.enabled]
            gateway = SharedCallGateway(gateway, claims, shared)
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
