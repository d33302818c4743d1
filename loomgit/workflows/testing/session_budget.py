"""The budget of a test session, and a bill for each pipeline.

The processes of a parallel session share the budget and the bills through a file, which is called
the board (`loomgit.history.shared_draws`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.bills import Bill, Charge, billed_to
from loomgit.gateway.budget import Budget
from loomgit.history.shared_draws import SharedDraws
from loomgit.report.bill import bill_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from loomgit.domain.bills import Payer
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class SharedAccount(Struct, frozen=True):
    """The spent and reserved amounts of a budget, in a file that all processes use (the board)."""

    board: SharedDraws
    shared: bool = True

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """Reserve an amount (USD) and return None. If the limit would be exceeded, reserve nothing
        and return (spent, reserved)."""
        return self.board.reserve(amount, limit)

    def settle(self, reserved: float, cost: float) -> None:
        """End a reservation, and add the actual cost (USD) to the spent amount."""
        self.board.settle_cost(reserved, cost)

    def sums(self) -> tuple[float, float]:
        """Return (spent, reserved) in USD."""
        return self.board.sums()


class SharedBill(Struct, frozen=True):
    """The bill of one pipeline. It is stored in `board`, a file that all processes share."""

    board: SharedDraws
    project: str
    pipeline: str

    def add(self, charge: Charge) -> None:
        """Add a charge to the bill."""
        self.board.add_charge(self.project, self.pipeline, charge)


class BilledGateway:
    """A gateway that adds the charges of its calls to a bill."""

    def __init__(self, inner: Gateway, payer: Payer) -> None:
        self._inner = inner
        self._payer = payer

    async def complete(self, request: Request) -> Completion:
        """Return the reply of the wrapped gateway, and bill the call."""
        with billed_to(self._payer):
            return await self._inner.complete(request)

    async def close(self) -> None:
        """Close the wrapped gateway."""
        await self._inner.close()


def unreported(bills: Mapping[tuple[str, str], Bill], reported: Collection[tuple[str, str]]) -> str:
    """Return a line with the total cost of the pipelines that have no finished test.

    If it is certain that they cost nothing, return "". `reported` contains the pipelines that have
    a finished test. In `bills` and `reported`, a pipeline is a pair (project, pipeline).
    """
    whole = Bill()
    for name, bill in bills.items():
        if name not in reported:
            whole.include(bill)
    if whole.is_free:
        return ""
    return f"spent {bill_line(whole)} on tests that did not finish"


class SessionBudget:
    """The budget of a session, and the bills of its pipelines by (project, pipeline)."""

    def __init__(self, limit: float | None, board: SharedDraws | None, workers: int) -> None:
        """Create the budget. `limit` is in USD; None means that there is no budget.

        If `board` is given, the processes share the whole budget. Otherwise, each of the `workers`
        processes gets an equal part of the limit.
        """
        self._board = board
        self.bills: dict[tuple[str, str], Bill] = {}
        self.budget: Budget | None = None
        if limit is not None and board is not None:
            self.budget = Budget(limit, SharedAccount(board))
        elif limit is not None:
            self.budget = Budget(limit / workers)

    def payer(self, project: str, pipeline: str) -> Payer:
        """Return the bill that receives the charges of a pipeline."""
        if self._board is not None:
            return SharedBill(self._board, project, pipeline)
        return self.bills.setdefault((project, pipeline), Bill())
