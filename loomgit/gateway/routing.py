"""The gateway that picks the lane to a model and opens lanes only when something takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.gateway.catalogue import OPENAI, speaks_chat, split_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import Lane, ModelSettings

EMBEDDED_PREFIX = "embedded/"
# litellm's names for servers of one's own that speak OpenAI's API and nothing besides.
OWN_SERVERS = frozenset(
    ("", "openai_like", "custom_openai", "hosted_vllm", "lm_studio", "llamafile", "litellm_proxy")
)


def choose_lane(model: str, settings: ModelSettings | None) -> Lane:
    """The lane to `model`: `embedded/*` is embedded, else as configured, else by who serves it.

    OpenAI's own models and servers with a `base_url` that speak its API are called directly; what
    litellm knows under another provider is litellm's, which speaks that provider's language.
    """
    if model.startswith(EMBEDDED_PREFIX):
        return "embedded"
    if settings is not None and settings.lane is not None:
        return settings.lane
    provider, _ = split_provider(model)
    if provider == OPENAI and speaks_chat(model):
        return "direct"
    own = settings is not None and settings.base_url is not None
    return "direct" if own and provider in OWN_SERVERS else "litellm"


class RoutingGateway:
    """Sends each request down its model's lane.

    `lanes` holds factories: a run on the embedded model alone never loads the others. A lane that
    is configured but not offered here is litellm's, which reaches the same endpoints.
    """

    def __init__(
        self, lanes: Mapping[Lane, Callable[[], Gateway]], models: Mapping[str, ModelSettings]
    ) -> None:
        self._lanes = lanes
        self._models = models
        self._open: dict[Lane, Gateway] = {}
        self._chosen: dict[str, Gateway] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply of the model's lane."""
        lane = self._chosen.get(request.model) or self._choose(request.model)
        return await lane.complete(request)

    async def close(self) -> None:
        """Close the lanes that were opened."""
        self._chosen.clear()
        while self._open:
            _, gateway = self._open.popitem()
            await gateway.close()

    def _choose(self, model: str) -> Gateway:
        lane = choose_lane(model, self._models.get(model))
        if lane not in self._lanes:
            lane = "litellm"
        if lane not in self._open:
            self._open[lane] = self._lanes[lane]()
        self._chosen[model] = self._open[lane]
        return self._open[lane]
