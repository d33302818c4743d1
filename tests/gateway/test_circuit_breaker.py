import asyncio

import pytest

from loomgit.domain.models import Completion, Message, Request
from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import RateLimited, Unavailable
from loomgit.gateway.chain import Lanes, build
from loomgit.gateway.circuit_breaker import CircuitBreaker, CircuitBreakerGateway, OutageDetector
from loomgit.gateway.retry import RetryGateway
from tests.servers.openai_server import Hang

DOWN = Unavailable("m: unavailable", overloaded=True)


class Provider:
    """A provider that answers as `respond` says, by the number of the call and the model; waiting
    between attempts moves its clock on."""

    def __init__(self, respond, patience=2.0, first_delay=0.25):
        self.respond = respond
        self.calls = 0
        self.now = 0.0
        outages = CircuitBreaker(patience, clock=lambda: self.now)
        self.retrying = RetryGateway(
            OutageDetector(self, outages),
            first_delay=first_delay,
            sleep=self.sleep,
            chance=lambda: 1.0,
        )
        self.gateway = CircuitBreakerGateway(self.retrying, outages)

    async def complete(self, request):
        self.calls += 1
        answer = self.respond(self.calls, request.model)
        if asyncio.iscoroutine(answer):
            answer = await answer
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return Completion(answer, request.model)

    async def close(self):
        pass

    async def sleep(self, seconds):
        self.now += seconds / 10  # ten calls wait at once
        await asyncio.sleep(0)

    def ask(self, count=10, model="m"):
        """So many calls at once; their texts, or the errors."""

        async def work():
            request = Request(model, (Message("user", "x"),))
            calls = [self.gateway.complete(request) for _ in range(count)]
            return await asyncio.gather(*calls, return_exceptions=True)

        found = asyncio.run(work())
        return [item.text if isinstance(item, Completion) else item for item in found]


def test_a_model_that_is_not_there_is_given_up_for_all_calls_with_its_reason():
    provider = Provider(lambda *_: DOWN)
    found = provider.ask(10)
    assert [str(error) for error in found] == ["m: unavailable"] * 10
    assert all(isinstance(error, Unavailable) and error.overloaded for error in found)
    assert 10 < provider.calls < 60  # each for itself: 80


def test_what_is_asked_later_is_not_asked():
    provider = Provider(lambda *_: DOWN)

    async def work():
        request = Request("m", (Message("user", "x"),))
        ask = provider.gateway.complete
        await asyncio.gather(*(ask(request) for _ in range(10)), return_exceptions=True)
        before = provider.calls
        with pytest.raises(Unavailable, match="m: unavailable"):
            await ask(request)
        return provider.calls - before

    assert asyncio.run(work()) == 0


def test_one_call_alone_is_asked_as_often_as_without_a_breaker():
    provider = Provider(lambda *_: DOWN, patience=0.0)
    provider.ask(1)
    assert provider.calls == 8


@pytest.mark.parametrize("error", [DOWN, Unavailable("m: no connection")])
def test_a_single_fault_loses_nothing(error):
    provider = Provider(lambda number, _: error if number == 1 else "fine", patience=0.0)
    assert provider.ask(10) == ["fine"] * 10


def test_one_call_in_five_that_fails_loses_nothing():
    provider = Provider(lambda number, _: DOWN if number % 5 == 0 else "fine", patience=0.0)
    assert provider.ask(500) == ["fine"] * 500


def test_a_provider_that_comes_back_in_time_loses_nothing():
    provider = Provider(lambda *_: DOWN if provider.now < 1.5 else "fine")
    assert provider.ask(10) == ["fine"] * 10


def test_who_answered_before_gets_ten_seconds_to_come_back():
    provider = Provider(lambda number, _: DOWN if number > 1 and provider.now < 6 else "fine")
    assert provider.ask(10) == ["fine"] * 10


def test_a_refusal_is_a_sign_of_life():
    def respond(number, _):
        return RateLimited("slow down") if number % 7 == 0 else DOWN

    provider = Provider(respond)
    provider.ask(10)
    assert provider.calls == 80


def test_a_call_that_is_worked_on_keeps_the_others_trying():
    """A provider that is busy with a few and turns the rest away is no outage."""

    async def slow():
        while provider.now < 5:  # noqa: ASYNC110 - a clock of its own
            await asyncio.sleep(0)
        return "fine"

    def respond(number, _):
        if number == 1:
            return slow()
        return DOWN if provider.now < 5 else "fine"

    provider = Provider(respond)
    assert provider.ask(10) == ["fine"] * 10


@pytest.mark.parametrize("calls", [8, 4])
def test_a_server_that_takes_calls_and_never_answers_is_given_up_after_eight_timeouts(
    server, calls
):
    server.respond = lambda request: Hang()
    place = Place(".loom/config.yaml")
    settings = ModelSettings(base_url=Secret(server.url, place), timeout=0.3)
    lanes = Lanes({"m": settings}, reveal=str, environment={})

    async def run():
        chain = build(lanes, concurrency=calls, outage=0.1)
        asked = [Request("m", (Message("user", str(number)),)) for number in range(calls)]
        try:
            return await asyncio.gather(*map(chain.complete, asked), return_exceptions=True)
        finally:
            await chain.close()

    assert {str(error) for error in asyncio.run(run())} == {"m: no reply within 0.3 s"}
    assert 8 <= server.calls < 8 + calls


def test_other_models_are_asked_all_the_same():
    provider = Provider(lambda _, model: DOWN if model == "m" else "fine")

    async def work():
        def ask(model):
            return provider.gateway.complete(Request(model, (Message("user", "x"),)))

        lost = await asyncio.gather(*(ask("m") for _ in range(10)), return_exceptions=True)
        return lost, await ask("other")

    lost, found = asyncio.run(work())
    assert all(isinstance(error, Unavailable) for error in lost)
    assert found.text == "fine"


def test_who_stops_waiting_stops_the_call():
    started, ended = asyncio.Event(), []

    async def forever():
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    provider = Provider(lambda *_: forever())

    async def work():
        call = asyncio.ensure_future(provider.gateway.complete(Request("m", ())))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(work())
    assert ended == [1]
