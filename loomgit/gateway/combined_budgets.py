"""Combines the budget of an invocation with the budget of one pipeline: both limits apply."""

from __future__ import annotations

from loomgit.gateway.budget import Budget, LocalAccount


def combine_budgets(budget: float | Budget | None, limit: float | None) -> float | Budget | None:
    """Return a budget that ends when `budget` is used up or `limit` USD are spent.

    If other pipelines share `budget`, their costs do not count for `limit`. None means no limit.
    """
    if limit is None:
        return budget
    if isinstance(budget, Budget):
        return Budget(limit, _CappedAccount(budget))
    return limit if budget is None else min(budget, limit)


class _CappedAccount:
    """The account of one pipeline. Its costs also count towards a shared budget."""

    shared = True  # other pipelines can also free a part of the shared budget

    def __init__(self, budget: Budget) -> None:
        self._own = LocalAccount()
        self._budget = budget

    def reserve(self, amount: float, limit: float) -> tuple[float, float] | None:
        """See `Account.reserve`.

        If the shared budget is too small, the returned amount spent is adjusted to `limit`: the
        difference between the two equals the amount of the shared budget that is not spent.
        """
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
