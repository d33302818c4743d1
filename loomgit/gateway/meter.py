"""The gateway that keeps count: what every model did at every stage, and what it cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loomgit.domain.runs import ModelCost

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class MeterGateway:
    """Passes everything on, and counts the replies that come back."""

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self._counts: dict[tuple[str, str, str], ModelCost] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply."""
        completion = await self._inner.complete(request)
        name = request.purpose, request.model, completion.model
        self._counts[name] = _add(self._counts.get(name) or ModelCost(*name), completion)
        return completion

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()

    @property
    def models(self) -> tuple[ModelCost, ...]:
        """The counts so far: transform before evaluate, then by name."""
        return tuple(
            self._counts[name]
            for name in sorted(self._counts, key=lambda n: (n[0] != "transform", n))
        )


def _add(count: ModelCost, completion: Completion) -> ModelCost:
    if completion.cached:
        known = count.saved is not None and completion.saved is not None
        saved = (count.saved or 0.0) + (completion.saved or 0.0) if known else None
        return replace(count, hits=count.hits + 1, saved=saved)
    usage, cost = completion.usage, completion.cost
    return replace(
        count,
        calls=count.calls + 1,
        input=count.input + usage.input,
        output=count.output + usage.output,
        cached=count.cached + usage.cached,
        cost=None if cost is None or count.cost is None else count.cost + cost,
        known=count.known + (cost or 0.0),
        unpriced=count.unpriced + (cost is None),
    )
