"""The budget of a session of prompt tests, and a bill for each pipeline. The workers of a parallel
session share the budget and the bills through a board (`loomgit.history.shared_draws`)."""

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
    """The account of a budget. Processes share the account through a board."""

    board: SharedDraws
    shared: bool = True

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """Reserve an amount, as `loomgit.gateway.budget.Account` does."""
        return self.board.reserve(amount, limit)

    def settle(self, reserved: float, cost: float) -> None:
        """End a reservation."""
        self.board.settle_cost(reserved, cost)

    def sums(self) -> tuple[float, float]:
        """Return the spent amount and the reserved amount."""
        return self.board.sums()


class SharedBill(Struct, frozen=True):
    """The bill of one pipeline. Processes share the bill through a board."""

    board: SharedDraws
    project: str
    pipeline: str

    def add(self, charge: Charge) -> None:
        """Add a charge."""
        self.board.add_charge(self.project, self.pipeline, charge)


class BilledGateway:
    """A gateway that adds the charges of its calls to a bill."""

    def __init__(self, inner: Gateway, payer: Payer) -> None:
        self._inner = inner
        self._payer = payer

    async def complete(self, request: Request) -> Completion:
        """Return the reply."""
        with billed_to(self._payer):
            return await self._inner.complete(request)

    async def close(self) -> None:
        """Close the wrapped gateway."""
        await self._inner.close()


def unreported(bills: Mapping[tuple[str, str], Bill], reported: Collection[tuple[str, str]]) -> str:
    """Return a line with the cost of the pipelines that have no finished test, or "" if the cost is
    0."""
    whole = Bill()
    for name, bill in bills.items():
        if name not in reported:
            whole.include(bill)
    if whole.is_free:
        return ""
    return f"spent {bill_line(whole)} on tests that did not finish"


class SessionBudget:
    """The budget of a session, and the bills of its pipelines by project and name."""

    def __init__(self, limit: float | None, board: SharedDraws | None, workers: int) -> None:
        """Create the budget. `workers` processes share it on the `board`. Without a board, each
        process has an equal part of the budget."""
        self._board = board
        self.bills: dict[tuple[str, str], Bill] = {}
        self.budget: Budget | None = None
        if limit is not None and board is not None:
            self.budget = Budget(limit, SharedAccount(board))
        elif limit is not None:
            self.budget = Budget(limit / workers)

    def payer(self, project: str, pipeline: str) -> Payer:
        """Return the bill of a pipeline."""
        if self._board is not None:
            return SharedBill(self._board, project, pipeline)
        return self.bills.setdefault((project, pipeline), Bill())
