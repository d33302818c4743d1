"""Gateway that finds out whether a provider rejects one request or does not serve the model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.errors import NotServed, Rejected

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class _Model:
    """The first calls to one model.

    `answered` is true if a call got a reply. `open` is the number of calls in flight. `settled` is
    set when a call gets a reply or when no call is in flight.
    """

    def __init__(self) -> None:
        self.answered = False
        self.open = 0
        self.settled = asyncio.Event()

    def settle(self) -> None:
        if self.answered or not self.open:
            self.settled.set()


class FirstCallsGateway:
    """Raises Rejected instead of NotServed if the model has answered another request.

    If a call fails with NotServed and the model has not answered any call yet, the gateway waits
    for the other calls in flight. If one of them gets a reply, only the failed request is at fault.
    If none of them gets a reply, the provider does not serve the model.
    """

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self._models: dict[str, _Model] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the reply.

        Raises Rejected instead of NotServed if another call to the model gets a reply.
        """
        model = self._models.setdefault(request.model, _Model())
        if model.answered:
            try:
                return await self._inner.complete(request)
            except NotServed as error:
                raise _rejected(error) from error
        if model.settled.is_set():  # all earlier calls failed, so start again
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
