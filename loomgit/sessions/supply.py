"""The supply of samples for one session of tests: one queue of draws, one budget, and gateways that
pipelines which are configured alike share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from loomgit.errors import Denied
from loomgit.harness.session import Session
from loomgit.sessions.accounts import Accounts, BilledGateway
from loomgit.wiring.assembly import AUTO_CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.bills import Bill
    from loomgit.domain.ports import Gateway
    from loomgit.domain.samples import Sample
    from loomgit.gateway.budget import Budget
    from loomgit.gateway.reply_store import ReplyStore
    from loomgit.harness.choices import Options
    from loomgit.harness.session import Draw, Name
    from loomgit.history.board import Board
    from loomgit.pipeline.plan import Plan
    from loomgit.wiring.bench import Subject


class Supply:
    """Where the tests of all projects of a session take their samples from.

    `workers` processes share the work and the budget by the `board`. A `budget` that is given is
    shared with other work, and takes the place of the one in `options`. `samples` are those that
    were taken; `waited` is how many seconds tests waited for them.
    """

    def __init__(
        self,
        options: Options,
        board: Board | None = None,
        *,
        workers: int = 1,
        budget: Budget | None = None,
    ) -> None:
        self._options = options
        self._board = board
        self._workers = workers
        self._accounts = Accounts(options.budget, board, workers)
        self._budget = budget or self._accounts.budget
        self._gateways: list[tuple[object, Gateway]] = []
        self._replies: dict[Path, ReplyStore] = {}
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._held: dict[str, dict[int, Sample]] = {}
        self._session: Session | None = None
        self.samples: dict[Name, Sample] = {}
        self.waited = 0.0

    @property
    def bills(self) -> dict[tuple[str, str], Bill]:
        """What was spent in this process, by project and pipeline; empty if there is a board."""
        return self._accounts.bills

    def billed(self, gateway: Gateway, subject: Subject) -> Gateway:
        """The gateway, with its costs on the bill of the subject's pipeline."""
        project = str(subject.assembly.wiring.root)
        payer = self._accounts.payer(project, subject.plan.pipeline.name)
        return BilledGateway(gateway, payer)

    def gateway(self, subject: Subject, today: Subject | None = None) -> Gateway:
        """The gateway to a subject's model and judge; for a baseline that is asked anew, `today` is
        the subject in whose cassette that is recorded, behind what the baseline's own tree holds.

        Raises UserError for a budget with a model of unknown price, ProblemsFound for a damaged
        cassette.
        """
        wanted = self._alike(subject, is_baseline=today is not None)
        for known, gateway in self._gateways:
            if known == wanted:
                return gateway
        assembly, replay = subject.assembly, self._options.replay
        folder = assembly.wiring.store.folder
        if folder not in self._replies:
            self._replies[folder] = assembly.replies()
        recording = None
        if today is not None and replay != "off":
            held = assembly.recorded(subject.plan)
            recording = today.assembly.recording(today.plan, replay, held)
        made = assembly.gateway(
            self._paced(subject.plan),
            replay=replay,
            recording=recording,
            budget=self._budget,
            check_keys=False,
            claims=self._board,
            replies=self._replies[folder],
            outage=self._options.outage,
        )
        self._gateways.append((wanted, made))
        self._closing.append(made.close)
        return made

    def _alike(self, subject: Subject, *, is_baseline: bool) -> tuple[object, ...]:
        """What makes a gateway another one; each pipeline has a cassette of its own, and behind it
        that of a baseline's tree."""
        plan, wiring = subject.plan, subject.assembly.wiring
        settings, transform = wiring.settings, plan.pipeline.transform
        recorded = plan.pipeline.name, wiring if is_baseline else None
        cassette = None if self._options.replay == "off" else recorded
        served = plan.model, plan.sampling.model, plan.judge, transform.fallback_models
        return (
            wiring.store.folder, cassette, settings.models, settings.defaults,
            *served, transform.cache, transform.concurrency,
        )  # fmt: skip

    def _paced(self, plan: Plan) -> Plan:
        if self._options.concurrency is None:
            return plan
        transform = replace(plan.pipeline.transform, concurrency=self._options.concurrency)
        return replace(plan, pipeline=replace(plan.pipeline, transform=transform))

    def hold(self, samples: Mapping[str, Mapping[int, Sample]]) -> None:
        """Let samples of earlier runs stand for draws: by case key and index."""
        for key, by_index in samples.items():
            self._held.setdefault(key, {}).update(by_index)

    def start(self, draws: Sequence[Draw], concurrency: int) -> None:
        """Begin to draw, in this order, so many at once."""
        session = self._open(concurrency)
        session.plan(draws)
        session.start()

    def take(self, draw: Draw) -> Sample:
        """The sample of a draw; waits until it is there."""
        began = time.perf_counter()
        sample = self._open().take(draw)
        self.waited += time.perf_counter() - began
        if self._board is not None and sample.reused and draw.name not in self.samples:
            self._board.show(draw.name, sample)
        self.samples[draw.name] = sample
        return sample

    def seconds(self, name: Name) -> float:
        """How long a draw took, of one that is taken; 0 of what an earlier run drew."""
        assert self._session is not None
        sample = self.samples[name]
        if sample.reused:
            return 0.0
        return self._session.seconds(name) or sample.latency or 0.0

    def elsewhere(self) -> Callable[[Subject], Gateway]:
        """Gateways for a run of its own: with the same replies and the same budget. They raise
        Denied if the model is known to be out of reach.
        """
        session = self._open()

        def write_replies() -> None:
            for replies in self._replies.values():
                replies.close()

        session.apply(write_replies)

        def gateway(subject: Subject) -> Gateway:
            reason = session.outage(party_of(subject))
            if reason:
                raise Denied(reason)
            made = subject.assembly.gateway(
                self._paced(subject.plan),
                replay=self._options.replay,
                budget=self._budget,
                check_keys=False,
                claims=self._board,
                outage=self._options.outage,
            )
            return self.billed(made, subject)

        return gateway

    @property
    def unanswered(self) -> Literal["denied", "lost"]:
        """Why replies are missing: a key is missing or refused, or calls were lost."""
        is_denied = self._session is not None and self._session.denied is not None
        return "denied" if is_denied else "lost"

    def close(self, *, wait: bool = True) -> None:
        """Draw nothing more, and let what is in flight end, unless nobody waits for that.

        Raises LoomError where something that was recorded could not be kept.
        """
        if self._session is not None:
            self._session.close(wait=wait)

    def _open(self, concurrency: int = AUTO_CONCURRENCY) -> Session:
        if self._session is None:
            wanted = self._options.concurrency or concurrency
            self._session = Session(
                concurrency=max(1, wanted // self._workers),
                held=self._find_held,
                closing=self._closing,
                board=self._board,
            )
        return self._session

    def _find_held(self, names: Sequence[Name]) -> dict[Name, Sample]:
        held = self._held
        return {(k, i): held[k][i] for k, i in names if i in held.get(k, {})}


def party_of(subject: Subject) -> str:
    """Whom a subject's draws ask."""
    return subject.plan.sampling.model
