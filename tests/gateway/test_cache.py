import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loomgit.domain.definitions import CacheRule
from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.errors import Rejected
from loomgit.gateway.cache import CacheGateway
from loomgit.gateway.reply_codec import parse, render, request_key
from loomgit.gateway.reply_store import ReplyStore

ASK = Request("gpt-4o-mini", (Message("system", "Be brief."), Message("user", "x")))
BOTH = {"transform": CacheRule(), "evaluate": CacheRule()}


class Model:
    """Numbers its replies; waits for `gate` where there is one."""

    def __init__(self):
        self.calls = 0
        self.gate = None
        self.ending = ""
        self.error = None
        self.closed = False

    async def complete(self, request):
        self.calls += 1
        number = self.calls
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Completion(
            f"reply {number}", "served", Usage(10, 2), cost=0.5, latency=1.0, ending=self.ending
        )

    async def close(self):
        self.closed = True


@pytest.fixture
def cached(tmp_path):
    """Runs a function with a cached model, each time a new gateway over one file."""

    def run(function, model=None, rules=BOTH, **options):
        async def within():
            store = ReplyStore(tmp_path / "responses.sqlite", warn=pytest.fail)
            gateway = CacheGateway(model or Model(), store, rules, **options)
            try:
                return await function(gateway)
            finally:
                await gateway.close()

        return asyncio.run(within())

    return run


def asking(*requests):
    async def ask(gateway):
        return [await gateway.complete(request) for request in requests]

    return ask


def test_the_second_time_is_free_and_nobody_waits(cached):
    model = Model()
    first, second = cached(asking(ASK, ASK), model)
    assert (first.cost, first.latency, first.cached) == (0.5, 1.0, False)
    assert second == Completion(
        "reply 1", "served", Usage(10, 2), cost=0.0, attempts=0, cached=True, saved=0.5
    )
    (third,) = cached(asking(ASK), model)
    assert third == second
    assert model.calls == 1
    assert model.closed


def test_samples_are_kept_apart_and_all_found_again(cached):
    model = Model()
    samples = [replace(ASK, sample=number) for number in range(5)]
    texts = [done.text for done in cached(asking(*samples), model)]
    assert len(set(texts)) == 5
    assert [done.text for done in cached(asking(*samples), model)] == texts
    assert model.calls == 5


def test_a_fresh_request_goes_past_the_kept_reply_and_replaces_it(cached):
    model = Model()
    done = cached(asking(ASK, replace(ASK, fresh=True), ASK), model)
    assert [reply.text for reply in done] == ["reply 1", "reply 2", "reply 2"]
    assert [reply.cached for reply in done] == [False, False, True]
    assert cached(asking(ASK), model)[0].text == "reply 2"
    assert model.calls == 2


@pytest.mark.parametrize("ending", ["length", "refusal", "filter"])
def test_how_a_kept_reply_ended_is_known_again(cached, ending):
    model = Model()
    model.ending = ending
    first, again = *cached(asking(ASK), model), *cached(asking(ASK), model)
    assert (first.ending, again.ending, model.calls) == (ending, ending, 1)


def test_a_reply_that_was_kept_by_another_version_is_read():
    old = {
        "text": "x",
        "model": "m",
        "usage": {"input": 1, "output": 2, "cached": 0},
        "cost": 0.5,
    }
    assert render(Completion("x", "m", Usage(1, 2), cost=0.5)) == old
    for kept in (old, {**old, "ending": "a word of tomorrow"}, {**old, "ending": [1]}):
        assert parse(kept).ending == ""


CHANGES = {
    "model": "gpt-4o",
    "messages": (Message("user", "y"),),
    "temperature": 0.5,
    "seed": 1,
    "max_tokens": 5,
    "params": {"top_p": 0.5},
    "schema": {"type": "object"},
    "sample": 1,
    "stand_in": "x",
}


@pytest.mark.parametrize("field", CHANGES)
def test_whatever_can_change_the_reply_changes_the_key(field):
    assert request_key(replace(ASK, **{field: CHANGES[field]})) != request_key(ASK)


def test_what_cannot_change_the_reply_does_not():
    for same in (
        replace(ASK, purpose="evaluate"),
        replace(ASK, fresh=True),
        replace(ASK, model="openai/gpt-4o-mini"),
        replace(ASK, params={}),
    ):
        assert request_key(same) == request_key(ASK)
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert request_key(replace(ASK, params=one)) == request_key(replace(ASK, params=other))


turns = st.lists(st.tuples(st.sampled_from(["system", "user"]), st.text()), max_size=3)


@given(turns, turns)
def test_messages_run_into_each_other_in_no_key(one, other):
    asked = [replace(ASK, messages=tuple(Message(*turn) for turn in t)) for t in (one, other)]
    assert (request_key(asked[0]) == request_key(asked[1])) == (one == other)


def test_a_stand_in_takes_the_place_of_the_prompt_and_not_of_a_repair(cached):
    model = Model()
    repair = (Message("assistant", "no"), Message("user", "again"))
    one = replace(ASK, messages=(Message("user", "today"),), stand_in="record 7")
    other = replace(one, messages=(Message("user", "tomorrow"),))
    cached(asking(one, other), model)
    assert model.calls == 1
    cached(asking(replace(other, messages=(*other.messages, *repair))), model)
    assert model.calls == 2


@pytest.mark.parametrize(
    ("asked", "rules"),
    [
        (replace(ASK, cacheable=False), BOTH),
        (replace(ASK, model="embedded/icl"), BOTH),
        (ASK, {"transform": CacheRule(enabled=False), "evaluate": CacheRule()}),
        (replace(ASK, purpose="evaluate"), {"transform": CacheRule()}),
    ],
)
def test_what_shall_not_be_kept_is_asked_each_time(cached, asked, rules):
    model = Model()
    cached(asking(asked, asked), model, rules)
    cached(asking(asked), model, rules)
    assert model.calls == 3


def test_a_ttl_is_kept(cached):
    model = Model()
    cached(asking(ASK), model)
    cached(asking(ASK), model, {"transform": CacheRule(ttl=0.0)})
    cached(asking(ASK), model, {"transform": CacheRule(ttl=60.0)})
    assert model.calls == 2


def test_refreshing_asks_anew_once_and_keeps_the_new_reply(cached):
    model = Model()
    cached(asking(ASK), model)
    texts = [done.text for done in cached(asking(ASK, ASK), model, refresh=True)]
    assert texts == ["reply 2", "reply 2"]
    assert cached(asking(ASK), model)[0].text == "reply 2"


def test_equal_requests_at_once_are_one_call(cached):
    model = Model()

    async def together(gateway):
        model.gate = asyncio.Event()
        calls = [asyncio.create_task(gateway.complete(ASK)) for _ in range(20)]
        await asyncio.sleep(0)
        model.gate.set()
        return await asyncio.gather(*calls)

    done = cached(together, model)
    assert model.calls == 1
    assert sorted(reply.cost for reply in done) == [0.0] * 19 + [0.5]
    assert sum(reply.cached for reply in done) == 19


def test_equal_requests_fail_together_and_a_failure_is_not_kept(cached):
    model = Model()

    async def together(gateway):
        model.gate, model.error = asyncio.Event(), Rejected("no")
        calls = [asyncio.create_task(gateway.complete(ASK)) for _ in range(3)]
        await asyncio.sleep(0)
        model.gate.set()
        failed = await asyncio.gather(*calls, return_exceptions=True)
        model.error = None
        return failed, await gateway.complete(ASK)

    failed, after = cached(together, model)
    assert [type(error) for error in failed] == [Rejected] * 3
    assert model.calls == 2
    assert after.text == "reply 2"


def test_when_the_one_who_asks_is_cancelled_another_asks_in_its_place(cached):
    model = Model()

    async def together(gateway):
        model.gate = asyncio.Event()
        first, second, third = (asyncio.create_task(gateway.complete(ASK)) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        third.cancel()
        await asyncio.gather(first, third, return_exceptions=True)
        model.gate.set()
        return first.cancelled(), third.cancelled(), (await second).text

    assert cached(together, model) == (True, True, "reply 2")
