import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loomgit.domain.models import Completion, Message, Request, Usage
from loomgit.domain.settings import ModelSettings
from loomgit.errors import RateLimited, Unavailable
from loomgit.gateway.rate_limit import RateLimitGateway
from loomgit.gateway.retry import RetryGateway
from loomgit.gateway.token_bucket import TokenBucket
from tests.gateway.clockwork import Clockwork

ASK = Request("m", (Message("user", "x"),), max_tokens=10)
REPLY = Completion("fine", "m", Usage(5, 10))


class Provider:
    """Takes `latency` seconds for a reply, refuses what is over `room` calls at once."""

    def __init__(self, clock, *, latency=1.0, room=10**6, errors=()):
        self.clock, self.latency, self.room = clock, latency, room
        self.errors = list(errors)
        self.running = self.highest = self.refused = 0
        self.starts = []
        self.closed = False

    async def complete(self, request):
        self.starts.append(self.clock.now)
        self.running += 1
        self.highest = max(self.highest, self.running)
        try:
            await self.clock.sleep(0)  # as long as no time passes, others may call too
            if self.running > self.room:
                self.refused += 1
                raise RateLimited("too many")
            if self.errors and (error := self.errors.pop(0)) is not None:
                raise error
            await self.clock.sleep(self.latency)
            return replace(REPLY, model=request.model)
        finally:
            self.running -= 1

    async def close(self):
        self.closed = True


def paced(clock, provider, models=None, chance=0.0, **options):
    return RateLimitGateway(
        provider,
        models or {},
        clock=lambda: clock.now,
        sleep=clock.sleep,
        chance=lambda: chance,
        **options,
    )


def test_no_more_run_at_once_than_was_said_and_all_get_their_turn():
    clock = Clockwork()
    provider = Provider(clock)
    gateway = paced(clock, provider, concurrency=3)
    done = clock.run(*(gateway.complete(ASK) for _ in range(10)))
    assert len(done) == 10
    assert provider.highest == 3
    assert provider.starts == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_models_do_not_wait_for_each_other():
    clock = Clockwork()
    provider = Provider(clock)
    gateway = paced(clock, provider, concurrency=1)
    clock.run(*(gateway.complete(replace(ASK, model=name)) for name in "abc"))
    assert provider.starts == [0, 0, 0]


def test_the_number_at_once_grows_while_all_is_well_and_calls_wait():
    clock = Clockwork()
    provider = Provider(clock)
    gateway = paced(clock, provider)
    clock.run(*(gateway.complete(ASK) for _ in range(400)))
    assert 20 < provider.highest <= gateway.at_once("m") < 40


def test_it_does_not_grow_where_nothing_waits():
    clock = Clockwork()
    gateway = paced(clock, Provider(clock))
    for _ in range(100):
        clock.run(gateway.complete(ASK))
    assert gateway.at_once("m") == 16


def test_it_does_not_grow_over_what_was_said():
    clock = Clockwork()
    provider = Provider(clock)
    gateway = paced(clock, provider, concurrency=5)
    clock.run(*(gateway.complete(ASK) for _ in range(200)))
    assert (provider.highest, gateway.at_once("m")) == (5, 5)


@pytest.mark.parametrize("error", [RateLimited("slow"), Unavailable("busy", overloaded=True)])
def test_many_refusals_halve_it_once_for_all_that_were_under_way(error):
    clock = Clockwork()
    gateway = paced(clock, Provider(clock, errors=[error] * 40), concurrency=40)
    clock.run(*(gateway.complete(ASK) for _ in range(40)), errors=True)
    assert gateway.at_once("m") == 20


def test_an_outage_is_no_reason_to_go_slower():
    clock = Clockwork()
    gateway = paced(clock, Provider(clock, errors=[Unavailable("broken")] * 40), concurrency=40)
    clock.run(*(gateway.complete(ASK) for _ in range(40)), errors=True)
    assert gateway.at_once("m") == 40


def test_one_refusal_in_ten_does_not_stop_the_others():
    clock = Clockwork()
    errors = [RateLimited("slow") if n % 12 == 0 else None for n in range(2000)]
    provider = Provider(clock, errors=errors)
    gateway = RetryGateway(
        paced(clock, provider, concurrency=50), sleep=clock.sleep, chance=lambda: 0.5
    )
    clock.run(*(gateway.complete(ASK) for _ in range(1000)))
    assert clock.now < 1.25 * 1000 / 50


def test_it_settles_near_what_the_provider_takes():
    clock = Clockwork()
    provider = Provider(clock, room=20)
    pace = paced(clock, provider, concurrency=100)
    gateway = RetryGateway(pace, attempts=50, sleep=clock.sleep, chance=lambda: 0.5)
    clock.run(*(gateway.complete(ASK) for _ in range(1000)))
    assert provider.refused < 250
    assert clock.now < 1.5 * 1000 / 20
    assert 10 <= pace.at_once("m") <= 30


def test_one_calls_wait_holds_for_every_call_to_that_model_and_no_other():
    clock = Clockwork()
    provider = Provider(clock, latency=0, errors=[RateLimited("slow", retry_after=5.0)])
    gateway = paced(clock, provider)
    clock.run(gateway.complete(ASK), errors=True)
    clock.run(gateway.complete(replace(ASK, model="other")))
    clock.run(gateway.complete(ASK))
    assert provider.starts == [0.0, 0.0, 5.0]


def test_a_call_that_queued_for_room_obeys_a_wait_that_was_named_meanwhile():
    clock = Clockwork()
    provider = Provider(clock, latency=1.0, errors=[None, RateLimited("slow", retry_after=5.0)])
    gateway = paced(clock, provider, concurrency=2)
    clock.run(*(gateway.complete(ASK) for _ in range(3)), errors=True)
    assert provider.starts == [0.0, 0.0, 5.0]


def test_a_shorter_wait_does_not_end_a_longer_one():
    clock = Clockwork()
    waits = [RateLimited("slow", retry_after=9.0), Unavailable("slow", retry_after=1.0)]
    provider = Provider(clock, latency=0, errors=waits)
    gateway = paced(clock, provider)
    clock.run(gateway.complete(ASK), gateway.complete(ASK), errors=True)
    clock.run(gateway.complete(ASK))
    assert provider.starts == [0.0, 0.0, 9.0]


def test_those_who_wait_for_the_same_moment_do_not_start_together():
    starts = []
    for chance in (0.0, 0.5, 1.0):
        clock = Clockwork()
        provider = Provider(clock, errors=[RateLimited("slow", retry_after=10.0)])
        gateway = paced(clock, provider, chance=chance)
        clock.run(gateway.complete(ASK), errors=True)
        clock.run(gateway.complete(ASK))
        starts.append(provider.starts[-1])
    assert starts == [10.0, 10.5, 11.0]


def test_nobody_waits_longer_than_is_sensible():
    clock = Clockwork()
    provider = Provider(clock, errors=[RateLimited("tomorrow", retry_after=3600.0)])
    gateway = paced(clock, provider)
    clock.run(gateway.complete(ASK), errors=True)
    (found,) = clock.run(gateway.complete(ASK), errors=True)
    assert (found.message, found.retry_after) == ("m: the provider asks to wait 3600 s", 3600.0)
    assert provider.starts == [0.0]


def most_in_a_minute(moments):
    return max(sum(start <= other < start + 60 for other in moments) for start in moments)


@pytest.mark.parametrize("rpm", [1, 7, 60, 600])
def test_calls_a_minute_are_never_more_than_said_and_not_many_fewer(rpm):
    clock = Clockwork()
    provider = Provider(clock, latency=0.01)
    gateway = paced(clock, provider, {"m": ModelSettings(rpm=rpm)})
    clock.run(*(gateway.complete(ASK) for _ in range(2 * rpm + 1)))
    assert most_in_a_minute(provider.starts) <= rpm
    assert clock.now <= 60 * 2.4 + 60 / rpm


def test_tokens_a_minute_are_kept_by_what_calls_really_took():
    clock = Clockwork()
    provider = Provider(clock, latency=0.01)  # 15 tokens a call
    gateway = paced(clock, provider, {"m": ModelSettings(tpm=600)}, concurrency=1)
    clock.run(*(gateway.complete(ASK) for _ in range(100)))
    assert most_in_a_minute(provider.starts) * 15 <= 600
    assert clock.now <= 1.1 * 1500 / 600 * 60


def test_a_failed_calls_tokens_are_given_back():
    clock = Clockwork()
    errors = [Unavailable("broken")] * 50
    provider = Provider(clock, latency=0, errors=errors)
    gateway = paced(clock, provider, {"m": ModelSettings(tpm=1000)}, concurrency=1)
    clock.run(*(gateway.complete(ASK) for _ in range(50)), errors=True)
    assert clock.now == 0


@given(st.integers(1, 2000), st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_a_bucket_never_gives_more_than_its_minute(per_minute, amounts):
    amounts = [min(amount, max(1, per_minute // 10)) for amount in amounts]
    clock = Clockwork()
    bucket = TokenBucket(per_minute, lambda: clock.now)
    taken = []

    async def take(amount):
        await bucket.take(amount, clock.sleep)
        taken.append((clock.now, amount))

    clock.run(*(take(amount) for amount in amounts))
    for start, _ in taken:
        within = sum(amount for at, amount in taken if start <= at < start + 59.999)
        assert within <= max(per_minute, *amounts) + 1


def test_who_gives_up_waiting_leaves_no_hole():
    async def run():
        provider = Provider(clock, latency=0)
        hold = asyncio.Event()

        async def complete(request):
            await hold.wait()
            return REPLY

        provider.complete = complete
        gateway = paced(clock, provider, concurrency=1)
        first, second, third = (asyncio.create_task(gateway.complete(ASK)) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        hold.set()
        assert await first == await third == REPLY
        given_and_gone = asyncio.create_task(gateway.complete(ASK))
        assert await given_and_gone == REPLY

    clock = Clockwork()
    asyncio.run(asyncio.wait_for(run(), 5))


def test_room_given_to_one_who_is_cancelled_goes_to_the_next():
    async def run():
        class Last(Provider):
            async def complete(self, request):
                await asyncio.sleep(0)
                # Before the room is given on, and the second wakes up.
                asyncio.get_running_loop().call_soon(calls[1].cancel)
                return REPLY

        gateway = paced(clock, Last(clock), concurrency=1)
        calls = [asyncio.create_task(gateway.complete(ASK)) for _ in range(3)]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in done] == [Completion, asyncio.CancelledError, Completion]

    clock = Clockwork()
    asyncio.run(asyncio.wait_for(run(), 5))


def test_closing_closes_what_is_behind():
    clock = Clockwork()
    provider = Provider(clock)
    clock.run(paced(clock, provider).close())
    assert provider.closed


def test_who_waited_starts_one_by_one_so_that_the_next_refusal_is_heard():
    """On the real loop: a refusal takes one turn of it to come back, as from a socket."""
    started = []
    again = asyncio.Event()

    class Refusing:
        async def complete(self, request):
            started.append(request)
            if len(started) == 2:
                again.set()
            await asyncio.sleep(0)
            raise RateLimited("too many", retry_after=0.05)

    async def ask():
        gateway = RateLimitGateway(Refusing(), {}, concurrency=50, chance=lambda: 0.0)
        with pytest.raises(RateLimited):
            await gateway.complete(ASK)
        waiting = [asyncio.ensure_future(gateway.complete(ASK)) for _ in range(30)]
        await asyncio.wait_for(again.wait(), 30)
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(ask())
    assert len(started) - 1 <= 3
