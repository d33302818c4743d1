"""Sessions of draws: in the background, each once, only so far ahead."""

import asyncio
import threading
import time

import pytest

from loomgit.domain.samples import Sample
from loomgit.errors import Denied
from loomgit.harness.draws import Draw
from loomgit.harness.sample_queue import AHEAD, SampleQueue


class Model:
    """Counts what is asked of it; `hold` keeps answers back until `release`."""

    def __init__(self, hold=False, pause=0.0):
        self.asked, self.running, self.highest = [], 0, 0
        self.pause = pause
        self._open = threading.Event()
        if not hold:
            self._open.set()

    def release(self):
        self._open.set()

    def draw(self, number, index=0):
        async def call():
            self.asked.append((number, index))
            self.running += 1
            self.highest = max(self.highest, self.running)
            await asyncio.to_thread(self._open.wait)
            await asyncio.sleep(self.pause)
            self.running -= 1
            return sample(index, str(number))

        return Draw(f"case-{number}", index, call)

    def draws(self, count):
        return [self.draw(number) for number in range(count)]


def sample(index=0, text=""):
    return Sample(index, {}, text, "m")


def wait_for(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_samples_come_in_the_order_in_which_they_are_taken():
    model = Model()
    draws = model.draws(50)
    with SampleQueue(concurrency=4) as session:
        session.plan(draws)
        session.start()
        assert [session.take(draw).text for draw in draws] == [str(n) for n in range(50)]
    assert len(model.asked) == 50


def test_so_many_calls_are_in_flight_and_no_more():
    model = Model(pause=0.005)
    draws = model.draws(40)
    with SampleQueue(concurrency=6) as session:
        session.plan(draws)
        for draw in draws:
            session.take(draw)
    assert model.highest == 6


def test_who_stops_early_has_not_paid_for_everything():
    model = Model()
    draws = model.draws(500)
    with SampleQueue(concurrency=3) as session:
        session.plan(draws)
        session.start()
        session.take(draws[0])
        wait_for(lambda: len(model.asked) >= AHEAD * 3)
        time.sleep(0.05)
    assert AHEAD * 3 <= len(model.asked) <= AHEAD * 3 + 3


def test_taking_far_ahead_of_the_window_waits_for_nobody():
    model = Model()
    draws = model.draws(500)
    with SampleQueue(concurrency=2) as session:
        session.plan(draws)
        session.start()
        assert session.take(draws[499]).text == "499"
        assert session.take(draws[0]).text == "0"


def test_the_same_draw_is_drawn_once_however_often_it_is_planned_and_taken():
    model = Model()
    with SampleQueue(concurrency=2) as session:
        session.plan([model.draw(1), model.draw(1)])
        session.plan([model.draw(1)])
        taken = [session.take(model.draw(1)) for _ in range(3)]
        assert len({id(one) for one in taken}) == 1
        session.take(model.draw(1, index=1))
        session.take(model.draw(2))  # never planned
    assert sorted(model.asked) == [(1, 0), (1, 1), (2, 0)]


def test_what_is_held_is_not_drawn():
    model = Model()
    held = {("case-0", 0): sample(0, "kept")}
    settled = []
    with SampleQueue(
        concurrency=2,
        find_known=lambda names: {n: held[n] for n in names if n in held},
        on_drawn=lambda draw, one: settled.append((draw.key, one.text)),
    ) as session:
        draws = model.draws(2)
        session.plan(draws)
        first, second = (session.take(draw) for draw in draws)
    assert (first.text, first.reused, second.reused) == ("kept", True, False)
    assert model.asked == [(1, 0)]
    assert settled == [("case-1", "1")]


def test_a_session_whose_samples_are_all_held_starts_no_thread():
    before = threading.active_count()
    known = lambda names: dict.fromkeys(names, sample())  # noqa: E731
    with SampleQueue(concurrency=2, find_known=known) as session:
        draw = Model().draw(1)
        session.plan([draw])
        session.start()
        assert session.take(draw).reused
        assert threading.active_count() == before


def test_a_refusal_that_no_call_can_overcome_is_met_once():
    calls = []

    async def refuse():
        calls.append(1)
        raise Denied("no key", hint="set KEY")

    draws = [Draw(f"case-{n}", 0, refuse) for n in range(30)]
    with SampleQueue(concurrency=1) as session:
        session.plan(draws)
        taken = [session.take(draw) for draw in draws]
        assert session.denied.message == "no key"
    assert len(calls) == 1
    assert {one.trouble for one in taken} == {"infrastructure"}
    assert {one.failure for one in taken} == {"no key (set KEY)"}


def test_a_bug_in_a_draw_reaches_who_waits():
    async def broken():
        raise ZeroDivisionError

    draws = [Draw("a", 0, broken), Model().draw(1)]
    with SampleQueue(concurrency=1) as session:
        session.plan(draws)
        with pytest.raises(ExceptionGroup, match="unhandled") as raised:
            session.take(draws[0])
    assert raised.group_contains(ZeroDivisionError)


def test_closing_lets_what_is_in_flight_end_and_draws_nothing_more():
    model = Model(hold=True)
    closed = []

    async def close():
        closed.append(model.running)

    session = SampleQueue(concurrency=2, closing=[close])
    session.plan(model.draws(20))
    session.start()
    wait_for(lambda: len(model.asked) == 2)
    threading.Timer(0.05, model.release).start()
    session.close()
    assert (len(model.asked), model.running, closed) == (2, 0, [0])


def test_a_session_that_was_never_started_closes_at_once():
    session = SampleQueue(concurrency=1)
    session.plan(Model().draws(3))
    session.close()
    session.close()


class Table:
    """A board on which another process has claimed one name, and settles it after some looks."""

    def __init__(self, theirs, looks=3):
        self.theirs, self.looks, self.settled = theirs, looks, {}

    def claim(self, name):
        return name != self.theirs

    def look(self, names):
        self.looks -= 1
        return {name: sample(0, "theirs") for name in names if self.looks < 0}

    def settle(self, name, drawn):
        self.settled[name] = drawn


def test_what_another_process_draws_is_waited_for():
    model = Model()
    board = Table(("case-0", 0))
    draws = model.draws(2)
    with SampleQueue(concurrency=2, board=board) as session:
        session.plan(draws)
        assert [session.take(draw).text for draw in draws] == ["theirs", "1"]
    assert model.asked == [(1, 0)]
    assert board.settled.keys() == {("case-1", 0)}


def test_nobody_waits_for_another_process_once_it_closes():
    session = SampleQueue(concurrency=1, board=Table(("case-0", 0), looks=10**9))
    session.plan(Model().draws(1))
    session.start()
    session.close()


def test_after_a_failure_each_draw_raises_it_also_new_ones():
    async def fail():
        raise KeyError("a bug")

    queue = SampleQueue(concurrency=1)
    for number in range(2):
        with pytest.raises(BaseExceptionGroup):
            queue.take(Draw(f"case-{number}", 0, fail))
    queue.close()


def test_a_function_that_fails_in_the_queue_fails_for_its_caller():
    model = Model()
    with SampleQueue(concurrency=1) as queue:
        queue.take(model.draw(1))
        with pytest.raises(ZeroDivisionError):
            queue.apply(lambda: 1 // 0)
        assert queue.take(model.draw(2)).text == "2"
