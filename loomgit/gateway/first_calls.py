"""Gateway that finds out whether a model is unavailable or only a single request is rejected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.errors import NotServed, Rejected

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class _Model:
    """The first calls to one model: whether any call was answered, and how many are in flight."""

    def __init__(self) -> None:
        self.answered = False
        self.open = 0
        self.settled = asyncio.Event()

    def settle(self) -> None:
        if self.answered or not self.open:
            self.settled.set()


class FirstCallsGateway:
    """Turns NotServed into Rejected once the model has answered another request.

    A call that failed with NotServed waits for the other calls in flight. If one of the other calls
    is answered, only the failed request is at fault. If none is answered, the provider does not
    serve the model.
    """

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self._models: dict[str, _Model] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply. If the model answers other calls, Rejected replaces NotServed."""
        model = self._models.setdefault(request.model, _Model())
        if model.answered:
            try:
                return await self._inner.complete(request)
            except NotServed as error:
                raise _rejected(error) from error
        if model.settled.is_set():  # all earlier calls failed, so this call counts as a first call
            model.settled = asyncio.Event()
        model.open += 1
        try:
            completion = await self._inner.complete(request)
            model.answered = True
        except NotServed as error:
            refused = error
        else:
            return completion
        finally:
            model.open -= 1
            model.settle()
        await model.settled.wait()
        if model.answered:
            raise _rejected(refused) from refused
        raise refused

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()


def _rejected(error: NotServed) -> Rejected:
    rejected = Rejected(error.message, hint=error.hint)
    rejected.cost = error.cost
    return rejected
