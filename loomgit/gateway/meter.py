"""Gateway that counts the calls, tokens and costs of each model in each stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.bills import Bill, Charge, billed_to
from loomgit.domain.models import Usage
from loomgit.domain.runs import Cost, ModelCost

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway

STAGES = ("transform", "evaluate")


class MeterGateway:
    """Passes calls on, and counts the calls, tokens and costs by stage and model."""

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self._counts: dict[tuple[str, str, str], _Count] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply."""
        bill = Bill()
        served = request.model
        completion: Completion | None = None
        try:
            with billed_to(bill):
                completion = await self._inner.complete(request)
            served = completion.model
            return completion
        finally:
            if completion is not None or bill.calls:
                name = request.purpose, request.model, served
                self._counts.setdefault(name, _Count()).add(completion, bill)

    def cost(self, hits: int) -> Cost:
        """Return the cost of all calls, including calls for unfinished records.

        `hits` is the number of replies from the cache.
        """
        models = self.models
        usage = sum((Usage(m.input, m.output, m.cached) for m in models), Usage())
        known = dict.fromkeys(STAGES, 0.0)
        unpriced = dict.fromkeys(STAGES, 0)
        for model in models:
            known[model.stage] += model.known
            unpriced[model.stage] += model.unpriced
        all_priced = not any(unpriced.values())
        return Cost(
            total=sum(known.values()) if all_priced else None,
            known=sum(known.values()),
            breakdown={stage: None if unpriced[stage] else known[stage] for stage in STAGES},
            tokens={"input": usage.input, "output": usage.output, "cached": usage.cached},
            calls=sum(model.calls for model in models),
            cached=hits,
            unpriced=sum(unpriced.values()),
            models=models,
        )

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()

    @property
    def models(self) -> tuple[ModelCost, ...]:
        """The counts so far, grouped by stage, requested model and served model.

        The entries for transform come first, then the entries for evaluate. Within a stage, the
        entries are sorted by the names of the models.
        """
        return tuple(
            self._counts[name].model_cost(*name)
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

    def add(self, completion: Completion | None, bill: Bill) -> None:
        """Add a reply and the charges in `bill`. `completion` is None if the call failed."""
        if completion is not None and completion.cached:
            self.hits += 1
            known = self.saved is not None and completion.saved is not None
            self.saved = (self.saved or 0.0) + (completion.saved or 0.0) if known else None
        elif completion is not None and not bill.calls:  # the inner gateway does not bill its calls
            bill.add(Charge("transform", completion.usage, completion.cost))
        self.calls += bill.calls
        self.input += bill.usage.input
        self.output += bill.usage.output
        self.cached += bill.usage.cached
        self.known += bill.known
        self.unpriced += bill.unpriced

    def model_cost(self, stage: str, requested: str, model: str) -> ModelCost:
        return ModelCost(
            stage,
            requested,
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
