"""The gateway next to the lane: it adds the charge of each call to the bills that are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.bills import Charge, charge
from loomgit.domain.models import Usage
from loomgit.errors import LoomError, ModelError
from loomgit.gateway.budget import mark_sent

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class BillingGateway:
    """Passes calls on and reports their charges, also those of calls that failed."""

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Raises the ModelError of the call."""
        purpose = request.purpose
        mark_sent()
        try:
            completion = await self._inner.complete(request)
        except ModelError as error:
            if error.cost is None:
                charge(Charge(purpose, Usage(), 0.0, answered=False))
            elif error.cost:
                charge(Charge(purpose, Usage(), error.cost))
            raise
        except LoomError:
            raise  # the request could not be made
        except BaseException:
            charge(Charge(purpose, Usage(), 0.0, answered=False))
            raise
        charge(Charge(purpose, completion.usage, completion.cost))
        return completion

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()
