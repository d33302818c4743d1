"""The gateway that picks the lane to a model and opens lanes only when something takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import Lane, ModelSettings

EMBEDDED_PREFIX = "embedded/"


def choose_lane(model: str, settings: ModelSettings | None) -> Lane:
    """The lane to `model`: `embedded/*` is embedded, else as configured, else litellm."""
    if model.startswith(EMBEDDED_PREFIX):
        return "embedded"
    return (settings.lane if settings else None) or "litellm"


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

    async def complete(self, request: Request) -> Completion:
        """Return the reply of the model's lane."""
        lane = choose_lane(request.model, self._models.get(request.model))
        return await self._gateway(lane if lane in self._lanes else "litellm").complete(request)

    async def close(self) -> None:
        """Close the lanes that were opened."""
        for gateway in self._open.values():
            await gateway.close()
        self._open.clear()

    def _gateway(self, lane: Lane) -> Gateway:
        if lane not in self._open:
            self._open[lane] = self._lanes[lane]()
        return self._open[lane]
