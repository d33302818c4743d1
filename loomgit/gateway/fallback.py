"""The gateway that asks another model where one fails in a way that another can cure."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.errors import Denied, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class FallbackGateway:
    """Asks the model, then those in `instead` for it, in their order, until one replies.

    Errors move it on, but for Denied (no key, no quota, no budget), which a person has to cure. A
    judge has no substitute: scores of two judges cannot be compared. `Completion.model` says who
    answered; where nobody did, the last error is raised with the first one's words before its own.
    """

    def __init__(self, inner: Gateway, instead: Mapping[str, Sequence[str]]) -> None:
        self._inner = inner
        self._instead = instead

    async def complete(self, request: Request) -> Completion:
        """Return the first reply."""
        others = self._instead.get(request.model, ()) if request.purpose == "transform" else ()
        if not others:
            return await self._inner.complete(request)
        failed: list[ModelError] = []
        for model in (request.model, *others):
            try:
                return await self._inner.complete(replace(request, model=model))
            except Denied:
                raise
            except ModelError as error:
                failed.append(error)
        last = copy(failed[-1])  # a copy: equal requests that failed together share the error
        last.message = f"{failed[0].message}; instead: {last.message}"
        raise last from failed[-1]

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()
