import asyncio

import pytest
from msgspec.structs import replace

from loomgit.domain.models import Completion, Message, PromptRejected, Request, Usage
from loomgit.errors import (
    BudgetExceeded,
    Denied,
    RateLimited,
    Rejected,
    Unavailable,
    Unrecorded,
    UserError,
)
from loomgit.gateway.fallback import FallbackGateway

ASK = Request("first", (Message("user", "x"),))
INSTEAD = {"first": ("second", "third")}


class Models:
    """Each fails as told, or answers as told or under its name."""

    def __init__(self, **replies):
        self.replies, self.asked, self.closed = replies, [], False

    async def complete(self, request):
        self.asked.append(request.model)
        reply = self.replies.get(request.model)
        if isinstance(reply, Exception):
            raise reply
        return reply or Completion("fine", f"{request.model}-served")

    async def close(self):
        self.closed = True


def ask(models, request=ASK):
    return asyncio.run(FallbackGateway(models, INSTEAD).complete(request))


def test_nobody_else_is_asked_where_the_model_answers():
    models = Models()
    assert ask(models).model == "first-served"
    assert models.asked == ["first"]


@pytest.mark.parametrize(
    "error", [RateLimited("slow"), Unavailable("down"), Rejected("too long"), Unrecorded("none")]
)
def test_the_next_one_answers_where_it_fails(error):
    models = Models(first=error)
    assert ask(models).model == "second-served"
    assert models.asked == ["first", "second"]


def test_they_are_asked_in_their_order():
    models = Models(first=Unavailable("down"), second=Rejected("no"))
    assert ask(models).model == "third-served"


@pytest.mark.parametrize("error", [Denied("no key"), BudgetExceeded("spent"), UserError("params")])
def test_what_a_person_has_to_cure_is_said_at_once(error):
    models = Models(first=error)
    with pytest.raises(type(error)):
        ask(models)
    assert models.asked == ["first"]


def test_where_all_fail_both_ends_are_told():
    models = Models(first=Unavailable("A down"), second=Rejected("B"), third=RateLimited("C slow"))
    with pytest.raises(RateLimited) as caught:
        ask(models)
    assert caught.value.message == "A down; fallback: C slow"


REFUSED = Completion("No.", "m-1", Usage(10, 2), cost=0.5, latency=1.0, ending="refusal")


def test_a_refusal_moves_on_and_is_on_the_bill_of_the_one_who_answers():
    fine = Completion("fine", "m-2", Usage(20, 5), cost=1.0, latency=2.0)
    found = ask(Models(first=REFUSED, second=fine))
    assert (found.text, found.model, found.ending) == ("fine", "m-2", "")
    assert (found.usage, found.cost, found.latency) == (Usage(30, 7), 1.5, 3.0)
    assert found.attempts == 2


def test_the_bill_of_kept_replies_stays_empty():
    hit = {"cost": 0.0, "latency": None, "attempts": 0, "cached": True, "saved": 0.5}
    fine = Completion("fine", "m-2", Usage(20, 5), **hit)
    found = ask(Models(first=replace(REFUSED, **hit), second=fine))
    assert found == replace(fine, saved=1.0)


def test_where_nobody_answers_the_refusal_is_the_reply():
    found = ask(Models(first=REFUSED, second=Unavailable("down"), third=Rejected("no")))
    assert found == REFUSED


@pytest.mark.parametrize(
    ("first", "blamed"), [(Unavailable("down"), False), (PromptRejected("too long"), True)]
)
def test_the_prompt_is_blamed_only_where_it_is_by_all(first, blamed):
    too_long = PromptRejected("too long")
    with pytest.raises(Rejected) as caught:
        ask(Models(first=first, second=too_long, third=too_long))
    assert isinstance(caught.value, PromptRejected) is blamed


def test_a_judge_and_another_model_have_no_substitute():
    for request in (replace(ASK, purpose="evaluate"), replace(ASK, model="second")):
        models = Models(first=Unavailable("down"), second=Unavailable("down"))
        with pytest.raises(Unavailable):
            ask(models, request)
        assert models.asked == [request.model]


def test_closing_closes_what_is_behind():
    models = Models()
    asyncio.run(FallbackGateway(models, INSTEAD).close())
    assert models.closed
