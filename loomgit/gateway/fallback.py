"""Gateway that calls a substitute model if a model fails or refuses."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.models import CallTotals, PromptRejected
from loomgit.errors import Denied, ModelError, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class FallbackGateway:
    """Calls a model, then its substitutes in order, until one of them answers.

    `instead` maps a model to its substitutes. After an error or a refusal, the next model is
    called. After Denied (no key, no quota, no budget), no other model is called, because a person
    must fix the cause. The returned reply includes the cost of earlier refusals. A judge has no
    substitute, because scores of different judges cannot be compared. `Completion.model` names the
    model that answered.

    If no model answers, the last refusal is returned. If there was no refusal, the last error is
    raised, and its message starts with the message of the first error.
    """

    def __init__(self, inner: Gateway, instead: Mapping[str, Sequence[str]]) -> None:
        self._inner = inner
        self._instead = instead

    async def complete(self, request: Request) -> Completion:
        """Return the first reply that is not a refusal, or the last refusal."""
        substitutes = self._instead.get(request.model, ()) if request.purpose == "transform" else ()
        if not substitutes:
            return await self._inner.complete(request)
        failed: list[ModelError] = []
        refused: list[Completion] = []
        for model in (request.model, *substitutes):
            try:
                completion = await self._inner.complete(replace(request, model=model))
            except Denied:
                raise
            except ModelError as error:
                failed.append(error)
            else:
                if not completion.refusal:
                    return _add_costs(refused, completion)
                refused.append(completion)
        if refused:
            return _add_costs(refused[:-1], refused[-1])
        raise _combine(failed) from failed[-1]

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()


def _add_costs(earlier: Sequence[Completion], reply: Completion) -> Completion:
    """Return `reply`, with the usage, cost and latency of all replies added up."""
    if not earlier:
        return reply
    spent = CallTotals()
    for completion in (*earlier, reply):
        spent.add(completion)
    return replace(
        reply,
        usage=reply.usage if spent.cached else spent.usage,
        cost=spent.cost,
        latency=spent.latency,
        attempts=sum(completion.attempts for completion in (*earlier, reply)),
        cached=spent.cached,
        saved=spent.saved,
    )


def _combine(failed: Sequence[ModelError]) -> ModelError:
    """Return a copy of the last error, with the messages of the first and the last error.

    If the last error is a PromptRejected and an earlier error is not, return a Rejected instead.
    """
    last = copy(failed[-1])  # concurrent equal requests share the error, so change only a copy
    last.message = f"{failed[0].message}; fallback: {last.message}"
    only_prompt = all(isinstance(error, PromptRejected) for error in failed)
    return Rejected(last.message) if isinstance(last, PromptRejected) and not only_prompt else last
