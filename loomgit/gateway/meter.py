"""The gateway that keeps count: what every model did at every stage, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.runs import ModelCost

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class MeterGateway:
    """Passes everything on, and counts the replies that come back."""

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self._counts: dict[tuple[str, str, str], _Count] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply."""
        completion = await self._inner.complete(request)
        name = request.purpose, request.model, completion.model
        count = self._counts.get(name)
        if count is None:
            count = self._counts[name] = _Count()
        count.add(completion)
        return completion

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()

    @property
    def models(self) -> tuple[ModelCost, ...]:
        """The counts so far: transform before evaluate, then by name."""
        return tuple(
            self._counts[name].of(*name)
            for name in sorted(self._counts, key=lambda n: (n[0] != "transform", n))
        )


class _Count(Struct):
    calls: int = 0
    hits: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    known: float = 0.0
    unpriced: int = 0
    saved: float | None = 0.0

    def add(self, completion: Completion) -> None:
        if completion.cached:
            self.hits += 1
            known = self.saved is not None and completion.saved is not None
            self.saved = (self.saved or 0.0) + (completion.saved or 0.0) if known else None
            return
        usage, cost = completion.usage, completion.cost
        self.calls += 1
        self.input += usage.input
        self.output += usage.output
        self.cached += usage.cached
        self.known += cost or 0.0
        self.unpriced += cost is None

    def of(self, stage: str, asked: str, model: str) -> ModelCost:
        return ModelCost(
            stage,
            asked,
            model,
            self.calls,
            self.hits,
            self.input,
            self.output,
            self.cached,
            None if self.unpriced else self.known,
            self.known,
            self.unpriced,
            self.saved,
        )
