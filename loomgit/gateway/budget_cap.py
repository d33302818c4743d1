"""Combines the budget of an invocation with the budget of one pipeline: both limits apply."""

from __future__ import annotations

from loomgit.gateway.budget import Budget, LocalAccount


def cap(budget: float | Budget | None, limit: float | None) -> float | Budget | None:
    """Return a budget that ends at `budget` and at `limit` USD, whichever is reached first.

    If other pipelines share `budget`, their costs are not part of `limit`. None means no limit.
    """
    if limit is None:
        return budget
    if isinstance(budget, Budget):
        return Budget(limit, _CappedAccount(budget))
    return limit if budget is None else min(budget, limit)


class _CappedAccount:
    """The account of one pipeline that also spends from a shared budget."""

    shared = True  # other pipelines release amounts of the shared budget

    def __init__(self, budget: Budget) -> None:
        self._own = LocalAccount()
        self._budget = budget

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """See `Account.reserve`. The returned sums are those of the budget with less left."""
        own = self._own.reserve(amount, limit)
        if own is not None:
            return own
        shared = self._budget.account.reserve(amount, self._budget.limit)
        if shared is None:
            return None
        self._own.settle(amount, 0.0)
        spent, reserved = shared
        return limit - (self._budget.limit - spent), reserved

    def settle(self, reserved: float, cost: float) -> None:
        """See `Account.settle`."""
        self._own.settle(reserved, cost)
        self._budget.settle(reserved, cost)

    def sums(self) -> tuple[float, float]:
        """See `Account.sums`."""
        return self._own.sums()
