"""A session of draws: samples are asked for concurrently, in the background, each of them once,
while the caller takes them one after the other.

Draws go out in their order, and only a bounded number ahead of what was taken last, so that who
stops at the first failure has not paid for everything.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.bills import Bill, billed_to
from loomgit.domain.samples import Sample
from loomgit.errors import BudgetExceeded, Denied, LoomError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.records import Trouble

Answer = TypeVar("Answer")
Name: TypeAlias = tuple[str, int]  # a case's key and a sample's index
POLL = 0.01  # seconds between two looks at what other processes drew
ORPHAN_ROUNDS = 50  # looks after which one tries to take over what nobody settled
AHEAD = 4  # draws beyond the last one taken, times the concurrency
OUTAGE = 3  # draws of a party that are lost in a row, where none ever came to anything
NOTHING = 1e-12  # USD: a rounding error
COLLAPSE = 10  # the same, where some did


class Draw(Struct, frozen=True):
    """One sample to be drawn: the `index`-th of the case with this `key`; `call` draws it.

    Draws of one `party` ask the same provider: what it denies one it denies them all, and when it
    is not there nobody need find out anew.
    """

    key: str
    index: int
    call: Callable[[], Awaitable[Sample]]
    party: str = ""

    @property
    def name(self) -> Name:
        """What makes two draws the same."""
        return self.key, self.index


class Board(Protocol):
    """Where sessions of several processes agree who draws what."""

    def claim(self, name: Name) -> bool:
        """Whether the draw is this process's from now on: nobody has it, or its process is gone."""
        ...

    def look(self, names: Sequence[Name]) -> dict[Name, Sample]:
        """Those of these draws that are settled."""
        ...

    def settle(self, name: Name, sample: Sample) -> None:
        """Publish what was drawn."""
        ...

    def leave(self) -> None:
        """Give up what was claimed here and is not settled."""
        ...


class Session:
    """Draws samples in a thread of its own until it is closed.

    `held` are samples that need no drawing; `settled` hears of every sample that was drawn, in the
    session's thread; `closing` is awaited at the end (gateways).
    """

    def __init__(
        self,
        *,
        concurrency: int,
        held: Callable[[Sequence[Name]], dict[Name, Sample]] = lambda _: {},
        settled: Callable[[Draw, Sample], None] = lambda _, __: None,
        closing: Sequence[Callable[[], Awaitable[None]]] = (),
        board: Board | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._held = held
        self._settled = settled
        self._closing = closing
        self._board = board
        self._futures: dict[Name, Future[Sample]] = {}
        self._places: dict[Name, int] = {}
        self._waiting: deque[Draw] = deque()
        self._urgent: deque[Draw] = deque()
        self._begun: set[Name] = set()
        self._elsewhere: dict[Name, Draw] = {}
        self._seconds: dict[Name, float] = {}
        self._limit = AHEAD * concurrency
        self._reached = False  # the limit, with more behind it
        self._running = 0
        self._denied: dict[str, Denied] = {}
        self._answered: set[str] = set()
        self._lost: dict[str, int] = {}
        self._out: dict[str, str] = {}
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        self._ready = threading.Event()
        self._broken: BaseException | None = None
        self._fault: LoomError | None = None

    # -- what the caller does

    def plan(self, draws: Iterable[Draw]) -> None:
        """Add draws behind those that are planned; one that is planned already is the same one."""
        fresh = list({d.name: d for d in draws if d.name not in self._futures}.values())
        held = self._held([draw.name for draw in fresh])
        added = []
        for draw in fresh:
            future: Future[Sample] = Future()
            self._futures[draw.name] = future
            self._places[draw.name] = len(self._places)
            if draw.name in held:
                future.set_result(replace(held[draw.name], reused=True))
            else:
                added.append(draw)
        if added:
            self._later(lambda: self._waiting.extend(added))

    def take(self, draw: Draw) -> Sample:
        """The sample of a draw, planned before or not; waits until it is there."""
        if draw.name not in self._futures:
            self.plan([draw])
        future = self._futures[draw.name]
        self._limit = max(self._limit, self._places[draw.name] + AHEAD * self._concurrency)
        if not future.done():
            self._start()
            if draw.name not in self._begun:
                self._later(lambda: self._want(draw))
        if self._reached and self._thread is not None:
            self._reached = False
            self._later(lambda: None)
        return future.result()

    def start(self) -> None:
        """Begin to draw what is planned."""
        if any(not future.done() for future in self._futures.values()):
            self._start()

    def seconds(self, name: Name) -> float | None:
        """How long a draw took; None of what was held or drawn by another process."""
        return self._seconds.get(name)

    def apply(self, change: Callable[[], Answer]) -> Answer:
        """What a function returns that is called where draws are made, between two of their
        steps."""
        answer: Future[Answer] = Future()
        self._later(lambda: answer.set_result(change()))
        return answer.result()

    @property
    def denied(self) -> Denied | None:
        """Why no call can succeed until a person acts, where a provider said so."""
        return next(iter(self._denied.values()), None)

    def outage(self, party: str) -> str:
        """Why draws of a party are not made any more; empty while they are."""
        denied = self._denied.get(party)
        return self._out.get(party, "") if denied is None else _words(denied)

    def close(self, *, wait: bool = True) -> None:
        """Draw nothing more; let what is in flight end, and wait for that (not `wait`: leave it).

        Raises LoomError where a gateway could not keep what it should.
        """
        self._stopping = True
        if self._thread is not None:
            self._later(lambda: None)
            if wait:
                self._thread.join()
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the thread

    def _start(self) -> None:
        if self._thread is not None:
            return
        # Its calls are on the bills that are open here.
        self._context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=self._context.copy().run, args=(self._run,), name="loom-session", daemon=True
        )
        self._thread.start()
        self._ready.wait()

    def _later(self, change: Callable[[], object]) -> None:
        """Make a change where draws are made, and see what it lets begin."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it ended meanwhile
                loop.call_soon_threadsafe(self._apply, change, context=self._context)
                return
        change()

    def _apply(self, change: Callable[[], object]) -> None:
        change()
        self._pump()

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, in its own thread
            self._broken = error
        finally:
            self._ready.set()
            if self._broken is not None and self._board is not None:
                self._board.leave()
            for future in list(self._futures.values()):
                if not future.done():
                    future.set_exception(self._broken or RuntimeError("the session is closed"))

    async def _work(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as self._group:
                if self._board is not None:
                    self._group.create_task(self._watch(self._board))
                self._pump()
                self._ready.set()
                await self._ended.wait()
        finally:
            self._group = None
            for close in self._closing:
                try:
                    await close()
                except LoomError as error:
                    self._fault = error

    def _pump(self) -> None:
        """Let as many draws run as may."""
        if self._group is None:
            return
        while self._running < self._concurrency and (draw := self._next()) is not None:
            self._running += 1
            self._group.create_task(self._draw_on(draw))
        if self._stopping:
            self._ended.set()

    async def _draw_on(self, draw: Draw | None) -> None:
        """Draw, and draw what comes next, until nothing does."""
        try:
            while draw is not None:
                if self._board is None:
                    self._settle(draw.name, await self._draw(draw))
                elif self._board.claim(draw.name):
                    sample = await self._draw(draw)
                    self._board.settle(draw.name, sample)
                    self._settle(draw.name, sample)
                else:
                    self._elsewhere[draw.name] = draw
                draw = self._next()
        except BaseException:
            self._stopping = True  # a fault of ours: all end with it
            raise
        finally:
            self._running -= 1

    def _settle(self, name: Name, sample: Sample) -> None:
        if not self._futures[name].done():
            self._futures[name].set_result(sample)

    def _next(self) -> Draw | None:
        """The next draw to begin, an urgent one first; None where there is none for now."""
        if self._stopping:
            return None
        for draws in (self._urgent, self._waiting):
            while draws:
                if draws is self._waiting and self._is_far(draws[0]):
                    return None
                draw = draws.popleft()
                if draw.name not in self._begun:
                    self._begun.add(draw.name)
                    return draw
        return None

    def _is_far(self, draw: Draw) -> bool:
        """Whether a draw is too far ahead of what was taken."""
        place = self._places[draw.name]
        if place < self._limit:
            return False
        self._reached = True  # said before looking again: `take` may have moved the limit meanwhile
        return place >= self._limit

    def _want(self, draw: Draw) -> None:
        if draw.name not in self._begun:
            self._urgent.append(draw)

    async def _watch(self, board: Board) -> None:
        """Take over what other processes drew, and what those that are gone left undone."""
        rounds = 0
        while not self._stopping:
            await asyncio.sleep(POLL)
            rounds += 1
            for name, sample in board.look(list(self._elsewhere)).items():
                self._elsewhere.pop(name)
                self._settle(name, sample)
            if rounds % ORPHAN_ROUNDS == 0 and self._elsewhere:
                for name, draw in self._elsewhere.items():
                    self._begun.discard(name)
                    self._urgent.append(draw)
                self._elsewhere.clear()
                self._pump()

    async def _draw(self, draw: Draw) -> Sample:
        reason = self.outage(draw.party)
        trouble: Trouble = "infrastructure"
        bill = Bill()
        if not reason:
            began = time.perf_counter()
            try:
                with billed_to(bill):
                    sample = _whole_cost(await draw.call(), bill)
            except BudgetExceeded as error:
                # A cheaper call, or one whose reply is kept, may still be made.
                reason, trouble = _words(error), "budget"
            except Denied as error:
                self._denied[draw.party] = error
                reason = _words(error)
            except UserError as error:  # a variable that is not set, an address that is none
                self._denied[draw.party] = Denied(error.message, hint=error.hint)
                reason = _words(error)
            else:
                self._seconds[draw.name] = time.perf_counter() - began
                self._note(draw.party, sample)
                self._settled(draw, sample)
                return sample
        lost = Sample(draw.index, {}, "", "", trouble=trouble, failure=reason)
        return replace(
            lost, usage=bill.usage, calls=bill.calls, judge_cost=bill.judging, cost=bill.cost
        )

    def _note(self, party: str, sample: Sample) -> None:
        """Give a party up when too much of it is lost in a row."""
        if sample.trouble != "infrastructure":
            self._answered.add(party)
            self._lost[party] = 0
            return
        self._lost[party] = self._lost.get(party, 0) + 1
        if self._lost[party] >= (COLLAPSE if party in self._answered else OUTAGE):
            self._out[party] = sample.failure


def _whole_cost(sample: Sample, bill: Bill) -> Sample:
    """The sample with the cost of all calls behind it, those that failed as well."""
    if sample.cost is None and not sample.lost:
        return sample
    if (sample.cost or 0.0) + NOTHING >= bill.known and sample.cost is not None:
        return sample
    return replace(sample, cost=bill.cost, calls=max(sample.calls, bill.calls))


def _words(error: LoomError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
