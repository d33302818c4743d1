"""A gateway that tells a model that is not served from one request that is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.errors import NotServed, Rejected

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class _Model:
    """The calls to one model: whether one was answered, and how many may still be."""

    def __init__(self) -> None:
        self.answered = False
        self.open = 0
        self.settled = asyncio.Event()

    def settle(self) -> None:
        if self.answered or not self.open:
            self.settled.set()


class FirstCallsGateway:
    """Turns NotServed into Rejected once the model has answered another request.

    A refused call waits for the calls in flight. If one of them is answered, only the refused
    request is at fault. If none is answered, the model is not served.
    """

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self._models: dict[str, _Model] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Raises Rejected for NotServed of a model that answers others."""
        model = self._models.setdefault(request.model, _Model())
        if model.answered:
            try:
                return await self._inner.complete(request)
            except NotServed as error:
                raise _rejected(error) from error
        if model.settled.is_set():  # the calls before have failed: these are the first ones again
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
        """Close the gateway behind this one."""
        await self._inner.close()


def _rejected(error: NotServed) -> Rejected:
    rejected = Rejected(error.message, hint=error.hint)
    rejected.cost = error.cost
    return rejected
