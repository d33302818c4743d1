"""Gateway that adds the charge for each model call to all open bills.

It wraps the lanes, which are the gateways that call models.
"""

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
    """Passes calls on, and adds the charge for each call to all open bills.

    A bill is open inside the block `with billed_to(bill)`. A failed call also adds a charge if the
    provider charged for it or may have done so.
    """

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner

    async def complete(self, request: Request) -> Completion:
        """Return the reply. If the call fails, its ModelError is raised."""
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
            raise  # the error occurred before the request was sent
        except BaseException:
            charge(Charge(purpose, Usage(), 0.0, answered=False))
            raise
        charge(Charge(purpose, completion.usage, completion.cost))
        return completion

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()
