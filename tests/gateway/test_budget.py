import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.domain.settings import ModelSettings
from loomgit.errors import BudgetExceeded, Unavailable, UserError
from loomgit.gateway.budget import Budget, BudgetGateway
from loomgit.gateway.prices import Prices

# A dollar for ten tokens of a reply, or of both.
PRICES = Prices({"m": ModelSettings(input_price=0.0, output_price=1e5)})
BOTH = Prices({"m": ModelSettings(input_price=1e5, output_price=1e5)})
TENTH = Usage(5, 1)


def request(text="x", **more):
    return Request("m", (Message("user", text),), **{"max_tokens": 1, **more})


class Model:
    """Replies with the usage that `uses` says, after a turn of the loop; keeps its own count."""

    def __init__(self, uses=lambda _: TENTH, error=None, free=False, prices=PRICES):
        self.uses, self.error, self.free, self.prices = uses, error, free, prices
        self.calls = self.running = self.highest = 0
        self.spent = 0.0

    async def complete(self, asked):
        self.calls += 1
        self.running += 1
        self.highest = max(self.highest, self.running)
        for _ in range(3):
            await asyncio.sleep(0)
        self.running -= 1
        if self.error:
            raise self.error
        usage = self.uses(asked)
        cost = 0.0 if self.free else self.prices.cost("m", "m", usage)
        self.spent += cost
        return Completion("fine", "m", usage, cost=cost)

    async def close(self):
        pass


def ask(model, budget, *requests, prices=PRICES):
    async def run():
        gateway = BudgetGateway(model, budget, prices)
        calls = (gateway.complete(one) for one in requests)
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(run())


def test_calls_go_through_until_the_budget_is_used_up_and_the_rest_is_refused():
    model, budget = Model(), Budget(1.0)
    done = ask(model, budget, *[request() for _ in range(50)])
    assert model.spent == pytest.approx(1.0)
    assert model.calls == 10
    refused = [error for error in done if isinstance(error, BudgetExceeded)]
    assert len(refused) == budget.refused == 40
    assert (budget.spent, budget.reserved) == (pytest.approx(1.0), 0.0)
    assert refused[0].exit_code == 1
    assert "1.0000 of 1 USD are spent" in refused[0].message


def test_calls_run_at_once_as_far_as_the_budget_reaches():
    model = Model()
    ask(model, Budget(2.0), *[request() for _ in range(5)])
    assert model.highest == 4, "the first goes alone"


def test_what_does_not_fit_waits_for_settlements_before_it_is_refused():
    # Ten are set aside for each, and one is used: only one at a time fits, and all do.
    model, budget = Model(), Budget(2.0)
    done = ask(model, budget, *[request(max_tokens=10) for _ in range(10)])
    assert all(isinstance(reply, Completion) for reply in done)
    assert budget.spent == pytest.approx(1.0)


@given(
    limit=st.floats(0.1, 30.0),
    calls=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=30),
    per_byte=st.floats(0.05, 1.0),
)
def test_a_budget_is_never_overspent_where_a_byte_is_a_token_at_most(limit, calls, per_byte):
    def uses(asked):
        text = asked.messages[0].content
        return Usage(int(len(text) * per_byte), asked.max_tokens)

    model, budget = Model(uses, prices=BOTH), Budget(limit)
    asked = [request("x" * size, max_tokens=most) for size, most in calls]
    ask(model, budget, *asked, prices=BOTH)
    assert model.spent <= limit + 1e-6
    assert budget.spent == pytest.approx(model.spent)
    assert budget.reserved == pytest.approx(0.0)


def test_a_provider_that_counts_more_than_there_is_is_found_out_by_the_first_call():
    model, budget = Model(lambda _: Usage(1000, 1), prices=BOTH), Budget(350.0)
    ask(model, budget, *[request(max_tokens=1) for _ in range(50)], prices=BOTH)
    assert model.calls == 3


def test_without_max_tokens_the_models_own_limit_is_set_aside():
    prices = Prices({"m": ModelSettings(input_price=0.0, output_price=1e5, max_output_tokens=50)})
    (refused,) = ask(Model(), Budget(4.9), request(max_tokens=None), prices=prices)
    assert "may cost 5.0000" in refused.message
    assert "max_tokens" in refused.hint
    assert isinstance(
        ask(Model(), Budget(5.0), request(max_tokens=None), prices=prices)[0], Completion
    )


def test_where_nobody_knows_the_longest_reply_the_longest_seen_counts():
    model, budget = Model(), Budget(1.0)
    done = ask(model, budget, *[request(max_tokens=None) for _ in range(20)])
    assert model.calls == 10
    assert sum(isinstance(error, BudgetExceeded) for error in done) == 10


def test_a_reply_from_the_cache_costs_nothing_of_it():
    model, budget = Model(free=True), Budget(0.5)
    done = ask(model, budget, *[request() for _ in range(30)])
    assert all(isinstance(reply, Completion) for reply in done)
    assert budget.spent == 0.0


def test_a_failed_call_gives_back_what_was_set_aside():
    budget = Budget(1.0)
    ask(Model(error=Unavailable("down")), budget, *[request() for _ in range(30)])
    assert (budget.spent, budget.reserved, budget.refused) == (0.0, pytest.approx(0.0), 0)


def test_a_cancelled_call_does_too():
    async def run():
        gateway = BudgetGateway(Model(), budget, PRICES)
        call = asyncio.create_task(gateway.complete(request()))
        await asyncio.sleep(0)
        assert budget.reserved > 0
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    budget = Budget(5.0)
    asyncio.run(run())
    assert budget.reserved == 0.0


def test_a_reply_without_counts_is_booked_as_what_was_set_aside():
    class Silent(Model):
        async def complete(self, asked):
            return Completion("fine", "m")

    budget = Budget(5.0)
    ask(Silent(), budget, request(max_tokens=10))
    assert budget.spent == pytest.approx(1.0)


def test_a_model_of_unknown_price_is_a_fault_that_names_what_to_write():
    (error,) = ask(Model(), Budget(1.0), request(), prices=Prices({}))
    assert isinstance(error, UserError)
    assert error.message == "m: a budget needs the price of the model, which is unknown"
    assert "models: {m: {input_price: ..., output_price: ...}}" in error.hint


def test_a_free_model_goes_through_an_empty_budget():
    prices = Prices({"m": ModelSettings(input_price=0.0, output_price=0.0)})
    assert isinstance(ask(Model(free=True), Budget(0.0), request(), prices=prices)[0], Completion)
    assert isinstance(ask(Model(), Budget(0.0), request())[0], BudgetExceeded)


def test_several_gateways_can_share_one_budget():
    async def run():
        gateways = [BudgetGateway(model, budget, PRICES) for _ in range(2)]
        calls = (gateway.complete(request()) for gateway in gateways for _ in range(20))
        await asyncio.gather(*calls, return_exceptions=True)

    model, budget = Model(), Budget(1.0)
    asyncio.run(run())
    assert model.calls == 10


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_a_budget_is_an_amount(limit):
    with pytest.raises(UserError, match="must be 0 USD or more"):
        Budget(limit)
