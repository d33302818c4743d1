"""Gateway that chooses a lane for each model, and opens a lane when a request first needs it.

A lane is a gateway that calls models: through litellm, over OpenAI's HTTP API, or inside Loom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.gateway.model_catalog import OPENAI, speaks_chat, split_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import Lane, ModelSettings

EMBEDDED_PREFIX = "embedded/"
# litellm's provider names for servers that users run themselves. These servers offer only OpenAI's
# API. The name "" stands for an unknown provider.
OPENAI_COMPATIBLE = frozenset(
    ("", "openai_like", "custom_openai", "hosted_vllm", "lm_studio", "llamafile", "litellm_proxy")
)


def choose_lane(model: str, settings: ModelSettings | None) -> Lane:
    """Return the lane for `model`.

    Models named `embedded/*` use the lane "embedded". All other models use the configured lane. If
    no lane is configured, the lane is "direct" for OpenAI's own chat models, and for models with a
    `base_url` if the server offers only OpenAI's API. In all other cases, the lane is "litellm",
    which uses the providers' own APIs.
    """
    if is_embedded(model, settings):
        return "embedded"
    if settings is not None and settings.lane is not None:
        return settings.lane
    provider, _ = split_provider(model)
    if provider == OPENAI and speaks_chat(model):
        return "direct"
    own_server = settings is not None and settings.base_url is not None
    return "direct" if own_server and provider in OPENAI_COMPATIBLE else "litellm"


def is_embedded(model: str, settings: ModelSettings | None) -> bool:
    """Whether the embedded model answers the calls of `model`."""
    configured = settings is not None and settings.lane == "embedded"
    return configured or model.startswith(EMBEDDED_PREFIX)


class RoutingGateway:
    """Sends each request through the lane (litellm, OpenAI's HTTP API, embedded) of its model.

    `lanes` maps each lane to a function that opens it. Thus, a run that uses only the embedded
    model never loads the other lanes. If `lanes` does not contain the lane of a model, the request
    goes through litellm, which can call the same servers.
    """

    def __init__(
        self, lanes: Mapping[Lane, Callable[[], Gateway]], models: Mapping[str, ModelSettings]
    ) -> None:
        self._lanes = lanes
        self._models = models
        self._open: dict[Lane, Gateway] = {}
        self._chosen: dict[str, Gateway] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply from the model's lane."""
        lane = self._chosen.get(request.model) or self._choose(request.model)
        return await lane.complete(request)

    async def close(self) -> None:
        """Close the open lanes."""
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
