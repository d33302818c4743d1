"""The budget of a pipeline beside the budget of the whole command."""

import asyncio

import pytest

from loomgit.errors import BudgetExceeded
from loomgit.gateway.budget import Budget
from loomgit.gateway.combined_budgets import combine_budgets
from tests.gateway.test_budget import Model, ask, request


@pytest.mark.parametrize(
    ("budget", "limit", "expected"), [(None, None, None), (2.0, None, 2.0), (None, 3.0, 3.0),
                                      (2.0, 3.0, 2.0), (3.0, 2.0, 2.0)],
)  # fmt: skip
def test_the_lower_limit_counts(budget, limit, expected):
    assert combine_budgets(budget, limit) == expected


def spend(shared, limit, calls):
    model = Model()
    replies = ask(model, combine_budgets(shared, limit), *[request() for _ in range(calls)])
    refused = sum(isinstance(reply, BudgetExceeded) for reply in replies)
    return model.spent, refused


def test_each_pipeline_has_its_own_limit_and_all_share_one():
    shared = Budget(1.0)
    assert spend(shared, 0.4, 20) == (pytest.approx(0.4), 16)
    assert shared.spent == pytest.approx(0.4)
    assert spend(shared, 0.5, 3) == (pytest.approx(0.3), 0)
    assert spend(shared, 5.0, 20) == (pytest.approx(0.3), 17)  # the rest of the shared budget
    assert shared.spent == pytest.approx(1.0)
    assert shared.reserved == 0.0
    assert spend(shared, 5.0, 2) == (0.0, 2)


def test_a_pipeline_waits_for_what_another_one_releases():
    shared = Budget(0.3)
    first, second = combine_budgets(shared, 1.0), combine_budgets(shared, 1.0)

    async def run():
        reserved = await first.reserve(0.3, "m")
        waiting = asyncio.create_task(second.reserve(0.2, "m"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        first.settle(reserved, 0.1)
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(run()) == 0.2
    assert (shared.spent, shared.reserved) == (pytest.approx(0.1), pytest.approx(0.2))
    assert (second.spent, second.reserved) == (0.0, pytest.approx(0.2))  # reserved only once
