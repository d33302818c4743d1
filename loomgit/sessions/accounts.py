"""What a session of prompt tests spends: its budget, and a bill for each pipeline; in one process,
or shared by the workers of pytest-xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.bills import Bill, Charge, billed_to
from loomgit.gateway.budget import Budget
from loomgit.history.board import Board
from loomgit.report.bill import bill_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from loomgit.domain.bills import Payer
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway


class BoardAccount(Struct, frozen=True):
    """The account of a budget on a board."""

    board: Board
    shared: bool = True

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """Reserve an amount, as `loomgit.gateway.budget.Account`."""
        return self.board.reserve(amount, limit)

    def settle(self, reserved: float, cost: float) -> None:
        """End a reservation."""
        self.board.settle_cost(reserved, cost)

    def sums(self) -> tuple[float, float]:
        """What is spent and what is reserved."""
        return self.board.sums()


class BoardBill(Struct, frozen=True):
    """The bill of one pipeline, on a board."""

    board: Board
    project: str
    pipeline: str

    def add(self, charge: Charge) -> None:
        """Count a charge."""
        self.board.add_charge(self.project, self.pipeline, charge)


class BilledGateway:
    """Adds what its calls are charged to a bill."""

    def __init__(self, inner: Gateway, payer: Payer) -> None:
        self._inner = inner
        self._payer = payer

    async def complete(self, request: Request) -> Completion:
        """Return the reply."""
        with billed_to(self._payer):
            return await self._inner.complete(request)

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()


def unreported(bills: Mapping[tuple[str, str], Bill], reported: Collection[tuple[str, str]]) -> str:
    """A line with the cost of the pipelines that have no finished test; empty if it is 0."""
    whole = Bill()
    for name, bill in bills.items():
        if name not in reported:
            whole.include(bill)
    if whole.is_free:
        return ""
    return f"spent {bill_line(whole)} on tests that did not finish"


class Accounts:
    """The budget of a session, and the bills of its pipelines by project and name."""

    def __init__(self, limit: float | None, board: Board | None, workers: int) -> None:
        """`workers` processes share the budget on the `board`; without a board each has a part."""
        self._board = board
        self.bills: dict[tuple[str, str], Bill] = {}
        self.budget: Budget | None = None
        if limit is not None and board is not None:
            self.budget = Budget(limit, BoardAccount(board))
        elif limit is not None:
            self.budget = Budget(limit / workers)

    def payer(self, project: str, pipeline: str) -> Payer:
        """The bill of a pipeline."""
        if self._board is not None:
            return BoardBill(self._board, project, pipeline)
        return self.bills.setdefault((project, pipeline), Bill())
