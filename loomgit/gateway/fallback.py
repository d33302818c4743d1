"""The gateway that asks another model where one fails in a way that another can cure."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.models import PromptRejected, Spent
from loomgit.errors import Denied, ModelError, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class FallbackGateway:
    """Asks the model, then those in `instead` for it, in their order, until one replies.

    Errors move it on, but for Denied (no key, no quota, no budget), which a person has to cure, and
    so does a reply that is a refusal: the next one's bill holds what that cost. A judge has no
    substitute: scores of two judges cannot be compared. `Completion.model` says who answered. Where
    nobody did, the last refusal is returned; where none was one, the last error is raised with the
    first one's words before its own.
    """

    def __init__(self, inner: Gateway, instead: Mapping[str, Sequence[str]]) -> None:
        self._inner = inner
        self._instead = instead

    async def complete(self, request: Request) -> Completion:
        """Return the first reply that is not a refusal."""
        others = self._instead.get(request.model, ()) if request.purpose == "transform" else ()
        if not others:
            return await self._inner.complete(request)
        failed: list[ModelError] = []
        refused: list[Completion] = []
        for model in (request.model, *others):
            try:
                completion = await self._inner.complete(replace(request, model=model))
            except Denied:
                raise
            except ModelError as error:
                failed.append(error)
            else:
                if not completion.refusal:
                    return _bill(refused, completion)
                refused.append(completion)
        if refused:
            return _bill(refused[:-1], refused[-1])
        raise _together(failed) from failed[-1]

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()


def _bill(before: Sequence[Completion], reply: Completion) -> Completion:
    """The reply with what the ones before it took on its bill."""
    if not before:
        return reply
    spent = Spent()
    for completion in (*before, reply):
        spent.add(completion)
    return replace(
        reply,
        usage=reply.usage if spent.cached else spent.usage,
        cost=spent.cost,
        latency=spent.latency,
        attempts=sum(completion.attempts for completion in (*before, reply)),
        cached=spent.cached,
        saved=spent.saved,
    )


def _together(failed: Sequence[ModelError]) -> ModelError:
    """The last error in the words of the first and the last; the prompt is to blame for it only
    where it is for all."""
    last = copy(failed[-1])  # a copy: equal requests that failed together share the error
    last.message = f"{failed[0].message}; instead: {last.message}"
    blamed = all(isinstance(error, PromptRejected) for error in failed)
    return Rejected(last.message) if isinstance(last, PromptRejected) and not blamed else last
