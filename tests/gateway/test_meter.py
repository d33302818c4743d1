import asyncio

import pytest

from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.domain.runs import ModelCost
from loomgit.errors import Unavailable
from loomgit.gateway.meter import MeterGateway
from tests.fakes import FakeGateway


def ask(*completions, purpose="transform", model="m"):
    waiting = iter(completions)
    meter = MeterGateway(FakeGateway(lambda _: next(waiting)))

    async def run():
        for _ in completions:
            await meter.complete(Request(model, (Message("user", "x"),), purpose=purpose))

    asyncio.run(run())
    return meter.models


PAID = Completion("a", "m-1", Usage(10, 2, 4), cost=0.5, latency=1.0)
HIT = Completion("a", "m-1", Usage(10, 2, 4), cost=0.0, attempts=0, cached=True, saved=0.5)


def test_what_was_paid_and_what_was_kept_are_apart():
    assert ask(PAID, HIT, PAID) == (
        ModelCost("transform", "m", "m-1", 2, 1, 20, 4, 8, 1.0, 1.0, 0, 0.5),
    )


def test_an_unknown_price_is_not_nothing():
    (count,) = ask(PAID, Completion("a", "m-1", Usage(1, 1), cost=None))
    assert (count.cost, count.known, count.unpriced) == (None, 0.5, 1)
    (hit,) = ask(Completion("a", "m-1", cost=0.0, cached=True, saved=None), HIT)
    assert hit.saved is None


def test_each_model_that_answers_has_a_count():
    counts = ask(PAID, Completion("a", "fallback", Usage(1, 1), cost=1.0), purpose="evaluate")
    assert [(count.stage, count.model) for count in counts] == [
        ("evaluate", "fallback"),
        ("evaluate", "m-1"),
    ]


def test_a_call_that_failed_is_passed_on_and_not_counted():
    meter = MeterGateway(FakeGateway(lambda _: Unavailable("m: gone")))
    with pytest.raises(Unavailable):
        asyncio.run(meter.complete(Request("m", (Message("user", "x"),))))
    assert meter.models == ()
