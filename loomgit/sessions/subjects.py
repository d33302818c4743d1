"""What the tests of one project ask: each subject once, with its cases and what draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.definitions import Evaluate, EvaluatorSpec
from loomgit.domain.records import Record
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.harness.cases import TestCase, data_case, unit_case
from loomgit.harness.session import Draw
from loomgit.pipeline.plan import identify
from loomgit.pipeline.sampling import Sampler
from loomgit.sessions.supply import party_of
from loomgit.wiring.bench import Bench, Subject

if TYPE_CHECKING:
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.suites import Suite, UnitCase
    from loomgit.domain.values import JsonObject
    from loomgit.sessions.supply import Supply
    from loomgit.wiring.project import Wiring

Found = TypeVar("Found")


class Asked(Struct):
    """One subject at work: what draws its samples, and its cases as they are made."""

    subject: Subject
    sampler: Sampler
    evaluators: tuple[EvaluatorSpec, ...]
    fingerprint: str
    identify: Callable[[Record], tuple[str, str]]
    party: str
    cases: dict[tuple[str, str], TestCase] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """The prompt with its version, as a failure shows it."""
        prompt = self.subject.plan.prompt
        return f"{prompt.path} ({prompt.name})"

    def unit(self, suite: Suite, test: UnitCase) -> TestCase:
        """The case of a unit test."""
        name = suite.path, test.name
        if name not in self.cases:
            self.cases[name] = unit_case(test, self.evaluators, self.identify)
        return self.cases[name]

    def case(self, record: Record) -> TestCase:
        """The case of a record of a data set."""
        name = "", record.key
        if name not in self.cases or self.cases[name].record.input != record.input:
            self.cases[name] = data_case(record, self.identify)
        return self.cases[name]

    def input(self, identity: str, fields: JsonObject) -> TestCase:
        """A case of anything."""
        return data_case(Record(0, identity, fields), self.identify)

    def draw(self, case: TestCase, index: int) -> Draw:
        """The draw of a case's sample at `index`."""
        return Draw(
            case.key,
            index,
            lambda: self.sampler.draw(case.record, index),
            party=self.party,
        )


class Subjects:
    """Makes subjects of the pipelines of one project; what cannot be made fails every time."""

    def __init__(
        self,
        wiring: Wiring,
        supply: Supply,
        *,
        store: bool = True,
        policy: Callable[[str], Evaluate | None] = lambda _: None,
    ) -> None:
        """`policy` gives a pipeline, by name, other thresholds, weights and a gate; None: its
        own."""
        self.bench = Bench(wiring)
        self._policy = policy
        self._supply = supply
        self._store = store
        self._pipelines: dict[str, Pipeline | LoomError] = {}
        self._made: list[tuple[str, str | None, EvaluatorSpec | None, Asked | LoomError]] = []
        self._records: dict[tuple[str, str | None], list[Record] | LoomError] = {}

    def pipeline(self, name: str) -> Pipeline:
        """A pipeline's definition. Raises UserError or ProblemsFound."""
        if name not in self._pipelines:
            try:
                pipeline = self.bench.catalog.pipeline(name)
                evaluate = self._policy(name) or pipeline.evaluate
                self._pipelines[name] = replace(pipeline, evaluate=evaluate)
            except LoomError as error:
                self._pipelines[name] = error
        return _known(self._pipelines[name])

    def tested(self, suite: Suite) -> Pipeline:
        """The pipeline that a test file names. Raises UserError, with the place of the name, or
        ProblemsFound."""
        try:
            return self.pipeline(suite.pipeline)
        except ProblemsFound:
            raise
        except UserError as error:
            place = suite.places.get("pipeline") or suite.path
            raise UserError(f"{place}: {error.message}", hint=error.hint) from error

    def ask(self, name: str, model: str | None = None, extra: EvaluatorSpec | None = None) -> Asked:
        """A pipeline as `model` is asked it (None: its own), with an evaluator more where a test
        brings one. Raises LoomError."""
        for known, asked, more, found in self._made:
            if (known, asked, more) == (name, model, extra):
                return _known(found)
        try:
            made: Asked | LoomError = self._make(self.pipeline(name), model, extra)
        except LoomError as error:
            made = error
        self._made.append((name, model, extra, made))
        return _known(made)

    def _make(self, pipeline: Pipeline, model: str | None, extra: EvaluatorSpec | None) -> Asked:
        if extra is not None:
            evaluators = (*pipeline.evaluate.evaluators, extra)
            evaluate = replace(pipeline.evaluate, evaluators=evaluators)
            pipeline = replace(pipeline, evaluate=evaluate)
        subject = self.bench.prepare(pipeline, model=model)
        sampler = self.bench.sampler(
            subject, self._supply.billed(self._supply.gateway(subject), subject)
        )
        fingerprint = subject.fingerprint
        if self._store:
            self._supply.hold(self.bench.held(pipeline, [fingerprint]))
        evaluators = pipeline.evaluate.evaluators
        return Asked(
            subject, sampler, evaluators, fingerprint, identify(subject.plan), party_of(subject)
        )

    def ask_baseline(self, base: Subject, today: Asked) -> Asked:
        """A baseline's version, asked by its own tree's settings and judged as today. Raises
        LoomError."""
        subject = self.bench.asked_as(base, today.subject)
        # Its own tree may know neither the judge of today nor the key to it.
        unjudged = replace(subject, plan=replace(subject.plan, judge=None))
        gateway = self._supply.gateway(unjudged, today.subject)
        gateway = self._supply.billed(gateway, today.subject)
        judging = self._supply.billed(self._supply.gateway(today.subject), today.subject)
        return Asked(
            subject,
            self.bench.sampler(subject, gateway, judging),
            today.evaluators,
            subject.fingerprint,
            identify(subject.plan),
            party_of(subject),
        )

    def records(self, pipeline: Pipeline, dataset: str | None) -> list[Record]:
        """The records of a data set, shuffled. Raises LoomError."""
        name = pipeline.name, dataset
        if name not in self._records:
            try:
                self._records[name] = self.bench.records(pipeline, dataset, None)
            except LoomError as error:
                self._records[name] = error
        return _known(self._records[name])

    def concurrency(self) -> int:
        """How many calls may be in flight, as those who were asked so far have it."""
        ready = [asked for *_, asked in self._made if isinstance(asked, Asked)]
        wanted = (self.bench.concurrency(asked.subject.plan.pipeline) for asked in ready)
        return max(wanted, default=1)


def _known(found: Found | LoomError) -> Found:
    if isinstance(found, LoomError):
        raise found
    return found
