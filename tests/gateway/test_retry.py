import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loomgit.domain.models import Completion, Message, Request
from loomgit.errors import Denied, RateLimited, Rejected, Unavailable
from loomgit.gateway.retry import RetryGateway

ASK = Request("m", (Message("user", "x"),))
REPLY = Completion("fine", "m", latency=0.1)


class Script:
    """A gateway that plays a list of replies and errors, and a clock that sleeping moves on."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.now = 0.0
        self.called_at = []
        self.slept = []
        self.closed = False

    async def complete(self, request):
        self.called_at.append(self.now)
        await asyncio.sleep(0)  # as long as no time passes, others may call too
        step = self.steps.pop(0) if self.steps else REPLY
        if isinstance(step, Exception):
            raise step
        return step

    async def close(self):
        self.closed = True

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def retrying(self, chance=1.0, **options):
        return RetryGateway(self, sleep=self.sleep, chance=lambda: chance, **options)


def ask(gateway, request=ASK):
    return asyncio.run(gateway.complete(request))


def test_a_reply_at_once_is_one_attempt():
    script = Script()
    assert ask(script.retrying()) == REPLY
    assert script.slept == []


@pytest.mark.parametrize("error", [RateLimited("slow"), Unavailable("down")])
def test_what_passes_by_itself_is_tried_again_and_counted(error):
    script = Script(error, error)
    assert ask(script.retrying()) == replace(REPLY, attempts=3)


def test_attempts_of_the_gateway_behind_are_counted_too():
    script = Script(Unavailable("down"), replace(REPLY, attempts=2))
    assert ask(script.retrying()).attempts == 3


@pytest.mark.parametrize("error", [Rejected("no"), Denied("no"), KeyError("bug")])
def test_everything_else_passes_through_at_once(error):
    script = Script(error)
    with pytest.raises(type(error)):
        ask(script.retrying())
    assert len(script.called_at) == 1


def test_the_last_error_is_raised_after_all_attempts():
    script = Script(*[Unavailable(str(number)) for number in range(9)])
    with pytest.raises(Unavailable, match="7"):
        ask(script.retrying())
    assert len(script.called_at) == 8


def test_delays_double_up_to_the_longest():
    script = Script(*[Unavailable("down")] * 6)
    ask(script.retrying(attempts=7, first_delay=1.0, longest_delay=8.0))
    assert script.slept == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@given(chance=st.floats(0, 1, exclude_max=True), attempt=st.integers(1, 20))
def test_the_jitter_is_full(chance, attempt):
    script = Script(*[Unavailable("down")] * attempt)
    ask(script.retrying(chance, attempts=attempt + 1, first_delay=1.0, longest_delay=30.0))
    assert script.slept[-1] == pytest.approx(chance * min(30.0, 2.0 ** (attempt - 1)))


def test_a_wait_that_the_provider_names_is_kept_and_not_multiplied():
    script = Script(RateLimited("slow", retry_after=7.0), Unavailable("down", retry_after=3.0))
    ask(script.retrying(chance=0.0))
    assert script.called_at == [0.0, 7.0, 10.0]


def test_those_who_wait_for_the_same_moment_do_not_start_together():
    starts = []
    for chance in (0.0, 0.5, 1.0):
        script = Script(RateLimited("slow", retry_after=10.0))
        ask(script.retrying(chance))
        starts.append(script.called_at[-1])
    assert starts == [10.0, 10.5, 11.0]


def test_nobody_waits_longer_than_is_sensible():
    script = Script(RateLimited("tomorrow", retry_after=3600.0))
    with pytest.raises(RateLimited, match="tomorrow"):
        ask(script.retrying())
    assert (script.called_at, script.slept) == ([0.0], [])


def test_closing_closes_what_is_behind():
    script = Script()
    asyncio.run(script.retrying().close())
    assert script.closed
