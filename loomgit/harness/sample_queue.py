"""A queue that draws samples concurrently in the background while the caller takes them one by one.

A draw is a request for one sample. Each draw is made once, and draws begin in the order of the
queue. The queue draws only a limited number of samples ahead of the caller. A caller that stops at
the first failure therefore does not pay for all draws.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from loomgit.domain.bills import Bill, billed_to
from loomgit.domain.samples import Sample
from loomgit.errors import BudgetExceeded, Denied, UserError
from loomgit.harness.background_loop import BackgroundLoop
from loomgit.harness.outages import ProviderOutages, describe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from loomgit.domain.records import Trouble
    from loomgit.harness.draws import Draw, DrawBoard, Name

T = TypeVar("T")
POLL = 0.01  # seconds between two checks for samples of other processes
# After this many checks, the queue tries to take over the draws of other processes, because these
# processes may have ended.
ORPHAN_ROUNDS = 50
AHEAD = 4  # the queue may be at most AHEAD * concurrency draws ahead of the caller
COST_TOLERANCE = 1e-12  # USD; a smaller difference is a rounding error


class SampleQueue:
    """Draws samples in a background thread until it is closed.

    `find_known` returns samples that already exist and need no draw. The queue calls `on_drawn` in
    its thread for each drawn sample. At the end, it awaits the functions in `closing`, which close
    gateways. `board` shares the draws with other processes. It is None if only this process draws.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        find_known: Callable[[Sequence[Name]], dict[Name, Sample]] = lambda _: {},
        on_drawn: Callable[[Draw, Sample], None] = lambda _, __: None,
        closing: Sequence[Callable[[], Awaitable[None]]] = (),
        board: DrawBoard | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._find_known = find_known
        self._on_drawn = on_drawn
        self._board = board
        self._loop = BackgroundLoop(
            began=self._begin, changed=self._pump, ended=self._end, closing=closing
        )
        self._outages = ProviderOutages()
        self._futures: dict[Name, Future[Sample]] = {}
        self._places: dict[Name, int] = {}
        self._waiting: deque[Draw] = deque()
        self._urgent: deque[Draw] = deque()  # the draws that the caller waits for
        self._begun: set[Name] = set()
        self._claimed_elsewhere: dict[Name, Draw] = {}
        self._seconds: dict[Name, float] = {}
        self._limit = AHEAD * concurrency
        self._limit_reached = False  # true if a draw waits until `take` increases `_limit`
        self._running = 0
        self._stopping = False
        self._end_error: BaseException | None = None  # set at the end of the loop

    # -- for the caller

    def plan(self, draws: Iterable[Draw]) -> None:
        """Add draws to the end of the queue. Draws that are already in the queue are ignored."""
        fresh = list({d.name: d for d in draws if d.name not in self._futures}.values())
        known = self._find_known([draw.name for draw in fresh])
        added = []
        for draw in fresh:
            future: Future[Sample] = Future()
            self._futures[draw.name] = future
            self._places[draw.name] = len(self._places)
            if draw.name in known:
                future.set_result(replace(known[draw.name], reused=True))
            elif self._end_error is not None:
                _fail(future, self._end_error)
            else:
                added.append(draw)
        if added:
            self._loop.call(lambda: self._waiting.extend(added))

    def take(self, draw: Draw) -> Sample:
        """Wait for the sample of a draw, and return it. A draw that is not planned is added
        first."""
        if draw.name not in self._futures:
            self.plan([draw])
        future = self._futures[draw.name]
        self._limit = max(self._limit, self._places[draw.name] + AHEAD * self._concurrency)
        if not future.done():
            self._loop.start()
            if draw.name not in self._begun:
                self._loop.call(lambda: self._hurry(draw))
        if self._limit_reached and self._loop.is_started:
            self._limit_reached = False
            self._loop.call(lambda: None)
        return future.result()

    def start(self) -> None:
        """Start the planned draws."""
        if any(not future.done() for future in self._futures.values()):
            self._loop.start()

    def seconds(self, name: Name) -> float | None:
        """Return the duration of a draw in seconds.

        The result is None if no draw was needed, or if another process made the draw.
        """
        return self._seconds.get(name)

    def apply(self, function: Callable[[], T]) -> T:
        """Call a function in the queue's thread, and return its result.

        No other code runs in this thread during the call.
        """
        result: Future[T] = Future()

        def call() -> None:
            try:
                result.set_result(function())
            except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                result.set_exception(error)

        self._loop.call(call)
        return result.result()

    @property
    def denied(self) -> Denied | None:
        """The error of a provider that denies all calls until a person fixes the cause, or None."""
        return self._outages.denied

    def outage(self, party: str) -> str:
        """Return the reason why the queue stopped the draws of a party, or "" if they continue.

        A party is a group of draws that call the same provider.
        """
        return self._outages.reason(party)

    def close(self, *, wait: bool = True) -> None:
        """Start no more draws. If `wait` is true, wait until the current draws have finished.

        Raises LoomError if a gateway could not save its recordings.
        """
        self._stopping = True
        if self._loop.is_started:
            self._loop.call(lambda: None)
            if wait:
                self._loop.join()
        self._loop.raise_fault()

    def __enter__(self) -> SampleQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- methods that run in the thread of the event loop

    def _begin(self) -> None:
        if self._board is not None:
            self._loop.spawn(self._watch(self._board))
        self._pump()

    def _end(self, error: BaseException | None) -> None:
        if error is not None and self._board is not None:
            self._board.leave()
        # The error must be set before the loop below. `plan` may add a future in another thread
        # and then reads the error. Therefore, if the loop misses the future, `plan` makes it fail.
        self._end_error = error or RuntimeError("the queue is closed")
        for future in list(self._futures.values()):
            _fail(future, self._end_error)

    def _pump(self) -> None:
        """Start as many draws as the concurrency allows. End the loop if the queue is closed."""
        if not self._loop.accepts_tasks:
            return
        while self._running < self._concurrency and (draw := self._next()) is not None:
            self._running += 1
            self._loop.spawn(self._make_draws(draw))
        if self._stopping:
            self._loop.finish()

    async def _make_draws(self, draw: Draw | None) -> None:
        """Make this draw, then the next draws in the queue, until `_next` returns None."""
        try:
            while draw is not None:
                if self._board is None:
                    self._settle(draw.name, await self._make_draw(draw))
                elif self._board.claim(draw.name):
                    sample = await self._make_draw(draw)
                    self._board.settle(draw.name, sample)
                    self._settle(draw.name, sample)
                else:
                    self._claimed_elsewhere[draw.name] = draw
                draw = self._next()
        except BaseException:
            self._stopping = True  # a bug in Loom ends the whole queue
            raise
        finally:
            self._running -= 1

    def _settle(self, name: Name, sample: Sample) -> None:
        if not self._futures[name].done():
            self._futures[name].set_result(sample)

    def _next(self) -> Draw | None:
        """Return the next draw, urgent draws first, or None if no draw may begin now."""
        if self._stopping:
            return None
        for draws in (self._urgent, self._waiting):
            while draws:
                if draws is self._waiting and self._is_beyond_limit(draws[0]):
                    return None
                draw = draws.popleft()
                if draw.name not in self._begun:
                    self._begun.add(draw.name)
                    return draw
        return None

    def _is_beyond_limit(self, draw: Draw) -> bool:
        """Whether a draw is too far ahead of the last draw that the caller took."""
        place = self._places[draw.name]
        if place < self._limit:
            return False
        # Set the flag first, then read the limit again. `take` runs in another thread: it increases
        # the limit first, then reads the flag. Thus, one of the two always notices the other.
        self._limit_reached = True
        return place >= self._limit

    def _hurry(self, draw: Draw) -> None:
        if draw.name not in self._begun:
            self._urgent.append(draw)

    async def _watch(self, board: DrawBoard) -> None:
        """Receive the samples of other processes, and take over the draws of dead processes."""
        rounds = 0
        while not self._stopping:
            await asyncio.sleep(POLL)
            rounds += 1
            for name, sample in board.look(list(self._claimed_elsewhere)).items():
                self._claimed_elsewhere.pop(name)
                self._settle(name, sample)
            if rounds % ORPHAN_ROUNDS == 0 and self._claimed_elsewhere:
                for name, draw in self._claimed_elsewhere.items():
                    self._begun.discard(name)
                    self._urgent.append(draw)
                self._claimed_elsewhere.clear()
                self._pump()

    async def _make_draw(self, draw: Draw) -> Sample:
        reason = self.outage(draw.party)
        trouble: Trouble = "infrastructure"
        bill = Bill()
        if not reason:
            began = time.perf_counter()
            try:
                with billed_to(bill):
                    sample = _with_whole_cost(await draw.call(), bill)
            except BudgetExceeded as error:
                # Continue with the other draws: a cheaper or cached call can still succeed.
                reason, trouble = describe(error), "budget"
            except (Denied, UserError) as error:  # UserError: an unset variable or invalid URL
                reason = self._outages.deny(draw.party, error)
            else:
                self._seconds[draw.name] = time.perf_counter() - began
                self._outages.record(draw.party, sample)
                self._on_drawn(draw, sample)
                return sample
        lost = Sample(draw.index, {}, "", "", trouble=trouble, failure=reason)
        return replace(
            lost, usage=bill.usage, calls=bill.calls, judge_cost=bill.judging, cost=bill.cost
        )


def _fail(future: Future[Sample], error: BaseException) -> None:
    with suppress(InvalidStateError):  # the future is already done
        future.set_exception(error)


def _with_whole_cost(sample: Sample, bill: Bill) -> Sample:
    """Return the sample with the cost of all its calls, including failed calls."""
    if sample.cost is None and not sample.lost:
        return sample
    if (sample.cost or 0.0) + COST_TOLERANCE >= bill.known and sample.cost is not None:
        return sample
    return replace(sample, cost=bill.cost, calls=max(sample.calls, bill.calls))
