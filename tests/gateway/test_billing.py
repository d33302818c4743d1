"""What calls are charged, also those that fail, and what a budget books for them."""

import asyncio
import threading

import pytest

from loomgit.domain.bills import Bill, billed_to
from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.domain.settings import ModelSettings
from loomgit.errors import BudgetExceeded, Rejected, Unavailable, UserError
from loomgit.gateway.billing import BillingGateway
from loomgit.gateway.budget import Budget, BudgetGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.retry import RetryGateway

PRICES = Prices({"m": ModelSettings(input_price=0.0, output_price=1e5)})
ASKED = Request("m", (Message("user", "x"),), max_tokens=10)


def failed(cost, kind=Unavailable):
    error = kind("gone")
    error.cost = cost
    return error


class Model:
    """Returns or raises the given results in their order, and keeps the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def complete(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def close(self):
        pass


FINE = Completion("fine", "m", Usage(5, 2), cost=0.2)


def ask(model, budget, request=ASKED, times=1):
    """Send a request through retries, budget and bill. Returns the result and the bill."""
    bill = Bill()

    async def run():
        gateway = BudgetGateway(BillingGateway(model), budget, PRICES)
        retrying = RetryGateway(gateway, first_delay=0.0, longest_delay=0.0)
        with billed_to(bill):
            calls = (retrying.complete(request) for _ in range(times))
            return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(run()), bill


def test_each_attempt_is_paid_for():
    budget = Budget(10.0)
    (reply,), bill = ask(Model(failed(0.3), failed(0.0), FINE), budget)
    assert reply.text == "fine"
    assert (bill.known, bill.calls, bill.unanswered) == (pytest.approx(0.5), 2, 0)
    assert (budget.spent, budget.reserved) == (pytest.approx(0.5), 0.0)


def test_a_call_without_a_reply_is_booked_as_it_might_cost_and_is_not_reported_as_cost():
    budget = Budget(2.5)
    (refused,), bill = ask(Model(failed(None)), budget)
    assert isinstance(refused, BudgetExceeded)
    spent = "2.0000 of 2.5 USD are spent (including up to 2.0000 for calls without a reply)"
    assert spent in refused.message
    assert (budget.spent, budget.unanswered) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (bill.known, bill.calls, bill.unanswered, bill.cost) == (0.0, 0, 2, 0.0)


def test_a_call_that_is_cancelled_is_booked_if_it_was_sent():
    class Slow(Model):
        async def complete(self, request):
            await asyncio.sleep(9)

    async def run(*, sent):
        inner = BillingGateway(Slow()) if sent else Slow()
        call = asyncio.create_task(BudgetGateway(inner, budget, PRICES).complete(ASKED))
        await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    budget = Budget(5.0)
    asyncio.run(run(sent=False))
    assert budget.spent == 0.0
    asyncio.run(run(sent=True))
    assert (budget.spent, budget.reserved) == (pytest.approx(1.0), 0.0)


def test_a_request_that_could_not_be_made_costs_nothing():
    budget = Budget(5.0)
    (error,), bill = ask(Model(UserError("params")), budget)
    assert isinstance(error, UserError)
    assert (budget.spent, bill.calls, bill.unanswered) == (0.0, 0, 0)


def test_threads_and_loops_share_a_budget():
    budget = Budget(3.0)
    models = [Model(FINE) for _ in range(4)]
    threads = [threading.Thread(target=ask, args=(m, budget, ASKED, 20)) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = sum(len(model.requests) for model in models)
    assert budget.spent == pytest.approx(0.2 * calls)
    assert 2.0 < budget.spent <= 3.0 + 1e-9
    assert budget.refused == 80 - calls


def test_a_model_without_a_limit_gets_one():
    open_ended = Request("m", (Message("user", "x"),))
    model = Model(FINE)
    ask(model, Budget(1e4), open_ended)
    assert model.requests[0].max_tokens == 4096
    model = Model(FINE)
    ask(model, Budget(1.0), open_ended)
    assert model.requests[0].max_tokens == 10, "a dollar pays ten tokens"


@pytest.mark.parametrize(("limit", "kind"), [(1e4, Rejected), (1.0, BudgetExceeded)])
def test_a_reply_that_was_cut_off_at_that_limit_is_no_answer(limit, kind):
    cut = Completion("fi", "m", Usage(5, 10), cost=1.0, ending="length")
    budget = Budget(limit)
    (error,), bill = ask(Model(cut), budget, Request("m", (Message("user", "x"),)))
    assert isinstance(error, kind)
    assert "cut off at" in error.message
    assert "max_output_tokens" in error.hint
    assert bill.known == budget.spent == pytest.approx(1.0)


def test_a_model_that_costs_more_than_its_price_says_is_found_out_by_the_first_call():
    dear = Completion("fine", "m-2", Usage(5, 10), cost=3.0)  # served by a dearer one
    model, budget = Model(dear), Budget(9.5)
    ask(model, budget, times=20)
    assert len(model.requests) == 3
    assert budget.spent == pytest.approx(9.0)
