"""Measuring for a comparison: the cases of one or two subjects drawn in one session, interleaved,
so that what changes at a provider meanwhile meets both alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.comparison import Measured, Side
from loomgit.domain.samples import CaseSamples
from loomgit.domain.versions import Commit
from loomgit.errors import BudgetExceeded, WorldError
from loomgit.harness.results import by_case, judges_of, served_of
from loomgit.harness.session import Draw, Session
from loomgit.sessions.keeping import Keeper
from loomgit.wiring.bench import Sampled, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Gateway
    from loomgit.domain.runs import Cause, Status
    from loomgit.domain.samples import Sample
    from loomgit.domain.settings import Replay
    from loomgit.gateway.budget import Budget
    from loomgit.harness.cases import TestCase
    from loomgit.harness.session import Name
    from loomgit.pipeline.plan import Plan
    from loomgit.wiring.assembly import Assembly
    from loomgit.wiring.bench import Bench


class Line(Struct, frozen=True):
    """What is to be measured of one subject, judged as `today`'s tree says: of each case its
    samples, from `first` on; `second` leaves out as many before.

    With a `commit` it is kept as a run there, unless a whole run is `stored` and nothing had to be
    drawn. `gone` are cases that are not asked any more: kept, so that a reader sees them missing.
    `question_from` is the commit whose question and cases were asked, where it is not `commit`.
    """

    subject: Subject
    today: Subject
    cases: Sequence[Sampled]
    commit: Commit | None = None
    first: int = 0
    second: bool = False
    stored: bool = False
    gone: tuple[CaseSamples, ...] = ()
    question_from: str = ""


def measure(
    bench: Bench,
    lines: Sequence[Line],
    *,
    reuse: bool = True,
    replay: Replay = "off",
    budget: Budget | None = None,
    outage: float | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[Measured]:
    """Draw the cases of all lines, taking what earlier runs drew where `reuse` allows it.

    Each line has as many cases as the first; a model that is out for `outage` seconds is given up.
    What was drawn before Ctrl-C, or before a provider refused, is kept and needs no second call.
    Raises ProblemsFound or UserError before the first call where an evaluator cannot be made;
    BudgetExceeded if the budget did not last for all of it; Denied or WorldError where no reply was
    to be had.
    """
    gateways = _Gateways(replay, budget, outage)
    rows = [_Row(bench, line, gateways) for line in lines]
    held = bench.held(*_known(rows)) if reuse else {}
    fresh: dict[Name, Sample] = {}

    def find(names: Sequence[Name]) -> dict[Name, Sample]:
        return {(k, i): held[k][i] for k, i in names if i in held.get(k, {})}

    count = len(lines[0].cases)
    try:
        with Session(
            concurrency=bench.concurrency(lines[0].subject.plan.pipeline),
            held=find,
            settled=lambda draw, sample: fresh.update({draw.name: sample}),
            closing=[gateway.close for gateway in gateways.made],
        ) as session:
            session.plan(draw for at in range(count) for row in rows for draw in row.draws(at))
            session.start()
            for at in range(count):
                for row in rows:
                    row.take(session, at)
                progress(at + 1, count)
    except KeyboardInterrupt:
        kept = sum(row.rescue(bench, fresh) for row in rows)
        if kept:
            bench.wiring.warn(f"{kept} samples are kept: the same command goes on from there")
        raise
    measured = [row.measured(bench) for row in rows]
    if session.denied is not None:
        raise session.denied
    for row in rows:
        row.complain()
    return measured


def _known(rows: Sequence[_Row]) -> tuple[Pipeline, set[str], set[str]]:
    pipeline = rows[0].line.subject.plan.pipeline
    keys = {each.case.key for row in rows for each in row.line.cases}
    return pipeline, {row.line.subject.fingerprint for row in rows}, keys


class _Gateways:
    """One gateway for all that is configured alike, so that both sides share its pace."""

    def __init__(self, replay: Replay, budget: Budget | None, outage: float | None) -> None:
        self._made: list[tuple[object, Gateway]] = []
        self._replay: Replay = replay
        self._budget = budget
        self._outage = outage

    @property
    def made(self) -> list[Gateway]:
        """Those that were made, to be closed."""
        return [gateway for _, gateway in self._made]

    def of(self, line: Line) -> tuple[Gateway, Gateway]:
        """The gateway to a line's model, as its own tree configures it, and that to its judge."""
        today = line.today
        judging = self._get(today.assembly, today.plan)
        if line.subject.assembly is today.assembly:
            return judging, judging
        # Its own tree may know neither the judge of today nor the key to it.
        plan = line.subject.plan
        if self._name(line.subject.assembly, plan) != self._name(today.assembly, today.plan):
            plan = replace(plan, judge=None)
        return self._get(line.subject.assembly, plan), judging

    @staticmethod
    def _name(assembly: Assembly, plan: Plan) -> tuple[object, ...]:
        settings, transform = assembly.wiring.settings, plan.pipeline.transform
        served = (plan.model, plan.sampling.model, plan.judge, transform.fallback_models)
        return settings.models, settings.defaults, *served, transform.cache, transform.concurrency

    def _get(self, assembly: Assembly, plan: Plan) -> Gateway:
        # A recording belongs to its own tree.
        tree = None if self._replay == "off" else assembly
        wanted = (tree, *self._name(assembly, plan))
        for known, gateway in self._made:
            if known == wanted:
                return gateway
        made = assembly.gateway(plan, replay=self._replay, budget=self._budget, outage=self._outage)
        self._made.append((wanted, made))
        return made


class _Row:
    """One line at work."""

    def __init__(self, bench: Bench, line: Line, gateways: _Gateways) -> None:
        self.line = line
        gateway, judging = gateways.of(line)
        self._sampler = bench.sampler(line.subject, gateway, judging)
        self._taken: list[CaseSamples] = []
        self._started = datetime.now(UTC)

    def draws(self, at: int) -> list[Draw]:
        """The draws of one case."""
        each = self.line.cases[at]
        first = self.line.first + (each.samples if self.line.second else 0)

        def draw(index: int) -> Draw:
            call = partial(self._sampler.draw, each.case.record, index)
            return Draw(each.case.key, index, call)

        return [draw(index) for index in range(first, first + each.samples)]

    def take(self, session: Session, at: int) -> None:
        """Wait for the samples of one case."""
        drawn = tuple(session.take(draw) for draw in self.draws(at))
        self._taken.append(_samples(self.line.cases[at].case, drawn))

    def measured(self, bench: Bench) -> Measured:
        """What was drawn, kept as a run where the line says at which commit."""
        line, plan = self.line, self.line.subject.plan
        cases = [*self._taken, *line.gone]
        new = not all(sample.reused for case in self._taken for sample in case.samples)
        runs = (self._keep(bench, cases),) if line.commit and (new or not line.stored) else ()
        side = Side(
            commit=line.commit.id if line.commit else "",
            fingerprint=plan.fingerprint(),
            prompt_version=plan.prompt.name,
            model=plan.model,
            runs=runs,
            measured=new,
        )
        judges = {name: tuple(models) for name, models in judges_of(cases).items()}
        return Measured(side, by_case(cases), plan.question(), judges, tuple(served_of(cases)))

    def rescue(self, bench: Bench, fresh: Mapping[Name, Sample]) -> int:
        """Keep what was drawn before the end came too soon; returns how many samples that is."""
        found = [
            _samples(each.case, drawn)
            for at, each in enumerate(self.line.cases)
            if (drawn := [fresh[d.name] for d in self.draws(at) if d.name in fresh])
        ]
        if found and self.line.commit is not None:
            self._keep(bench, found, "stopped")
            return sum(len(case.samples) for case in found)
        return 0

    def complain(self) -> None:
        """Raise BudgetExceeded if samples were not drawn for lack of money, WorldError where all
        samples were lost: there is no result to speak of."""
        samples = [sample for case in self._taken for sample in case.samples]
        refused = [sample.failure for sample in samples if sample.trouble == "budget"]
        if refused:
            name = self.line.subject.plan.pipeline.name
            count = f"{len(refused):,} of {len(samples):,}"
            raise BudgetExceeded(f"{name}: {count} samples were not drawn: {refused[0]}")
        if all(sample.lost for sample in samples):
            name = self.line.subject.plan.pipeline.name
            raise WorldError(f"{name}: no reply was to be had: {samples[0].failure}")

    def _keep(self, bench: Bench, cases: Sequence[CaseSamples], cause: Cause = "") -> str:
        assert self.line.commit is not None
        keeper = Keeper(bench.wiring.store, self.line.subject, self.line.commit, self._started)
        asked = [case for case in cases if case.samples]
        for case in asked:
            for sample in case.samples:
                keeper.add(case, sample)
        lost = sum(sample.lost for case in asked for sample in case.samples)
        message = "stopped before the end" if cause else ""
        if lost and not cause:
            cause, message = "world", f"{lost} samples were lost to outages"
        status: Status = "partial" if cause else "success"
        keeper.save(
            cases, status=status, cause=cause, message=message, complete=not cause,
            selected=len(asked), total=len(self.line.cases),
            question_from=self.line.question_from,
        )  # fmt: skip
        return keeper.uid


def _samples(case: TestCase, drawn: Iterable[Sample]) -> CaseSamples:
    return CaseSamples(case.id, case.key, case.definition, case.record.input, tuple(drawn))
