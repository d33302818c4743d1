import asyncio

import pytest
from msgspec.structs import replace

from loomgit.domain.models import Completion, Message, Request
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
    """Each fails as told or answers under its name."""

    def __init__(self, **errors):
        self.errors, self.asked, self.closed = errors, [], False

    async def complete(self, request):
        self.asked.append(request.model)
        if request.model in self.errors:
            raise self.errors[request.model]
        return Completion("fine", f"{request.model}-served")

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
    assert caught.value.message == "A down; instead: C slow"


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
