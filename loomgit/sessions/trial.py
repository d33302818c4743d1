"""A trial: the prompt tests of one project in a session, from the suites to their verdicts.

It knows nothing of pytest; the plugin, the fixture and the hooks drive it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.comparison import Limits
from loomgit.domain.samples import CaseSamples, TestResult
from loomgit.domain.suites import (
    Drift,
    HallucinationRate,
    IntegrationCase,
    Regression,
    UnitCase,
    group_of,
)
from loomgit.errors import BudgetExceeded, Denied, LoomError, UserError
from loomgit.harness import unit
from loomgit.harness.entry import Entry
from loomgit.sessions.confirming import Confirming
from loomgit.sessions.subjects import Subjects
from loomgit.sessions.suite_changes import SuiteChanges
from loomgit.sessions.supply import Supply

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.records import Record
    from loomgit.domain.samples import Sample, Verdict
    from loomgit.domain.suites import AnyTest, Distributional, Suite
    from loomgit.domain.values import JsonObject
    from loomgit.harness.cases import TestCase
    from loomgit.harness.choices import Options
    from loomgit.harness.session import Draw, Name
    from loomgit.sessions.standard import Standards
    from loomgit.sessions.subjects import Asked
    from loomgit.wiring.bench import Bench, Subject
    from loomgit.wiring.project import Wiring


class Judged(Struct, frozen=True):
    """One test's outcome: the entry that is kept, the result that is shown, the prompt with its
    version; the seconds that its own samples took (the slowest of them), and those that were waited
    for them; whether calls were refused since the budget is spent."""

    entry: Entry
    result: TestResult
    prompt: str = ""
    seconds: float = 0.0
    waited: float = 0.0
    refused: bool = False


class Regressed(Struct, frozen=True):
    """In one line each: how cases score `worse` than under a baseline, or why that is `unknown`;
    both are empty where they do not."""

    worse: str = ""
    unknown: str = ""


class Trial:
    """Judges tests one after the other while their samples are drawn in the background."""

    def __init__(
        self,
        wiring: Wiring,
        options: Options,
        supply: Supply | None = None,
        *,
        project: str = "",
    ) -> None:
        """`supply` is shared with the trials of other projects, which `project` tells from them;
        None: one of its own."""
        self._wiring = wiring
        self.project = project
        self._supply = Supply(options) if supply is None else supply
        self.options = options
        self.changes = SuiteChanges(wiring, self._find_base, counts=options.is_stricter)
        policy = self.changes.evaluate
        self._subjects = Subjects(wiring, self._supply, store=options.store, policy=policy)

    def _find_base(self) -> Bench | None:
        return self.standards.find_base()

    @cached_property
    def standards(self) -> Standards:
        """What tests against a baseline are measured by."""
        from loomgit.sessions.standard import Standards  # noqa: PLC0415 - few sessions compare

        return Standards(self._wiring, self.options.baseline)

    @property
    def samples(self) -> dict[Name, Sample]:
        """The samples that were taken."""
        return self._supply.samples

    # -- before the first test

    def start(self, tests: Sequence[tuple[Suite, AnyTest]]) -> None:
        """Begin to draw what these tests take, in their order."""
        draws = [draw for suite, test in tests for draw in self.draws(suite, test)]
        self._supply.start(draws, self.concurrency)

    def draws(self, suite: Suite, test: AnyTest) -> list[Draw]:
        """What a test takes at least; nothing where it cannot be asked: its turn will tell."""
        if isinstance(test, IntegrationCase):
            return []
        try:
            test = self.changes.stricter(suite, test)
            asked = self._ask(suite, test)
            return [
                asked.draw(case, index)
                for case, samples in self._first(asked, suite, test)
                for index in range(samples)
            ]
        except LoomError:
            return []

    @property
    def concurrency(self) -> int:
        """How many calls may be in flight, as the pipelines that are asked have it."""
        return self._subjects.concurrency()

    def _first(
        self, asked: Asked, suite: Suite, test: UnitCase | Distributional
    ) -> Iterable[tuple[TestCase, int]]:
        """The cases that a test takes at least, each with its number of samples."""
        if isinstance(test, UnitCase):
            return [(asked.unit(suite, test), first_samples(test))]
        from loomgit.harness.drawing import first_cases  # noqa: PLC0415 - as above

        records = self._records(asked, suite)
        count = first_cases(test.sample_size, test.policy, len(records))
        return ((asked.case(record), test.policy.samples) for record in records[:count])

    # -- one test

    def judge(self, suite: Suite, test: AnyTest) -> Judged:
        """The verdict on one test, waiting for the samples that it takes."""
        blank = Entry(
            suite.path, test.name, group_of(test), suite.pipeline, "error",
            test.policy.model, project=self.project,
        )  # fmt: skip
        try:
            test = self.changes.stricter(suite, test)
            if isinstance(test, IntegrationCase):
                return self._integrate(blank, suite, test)
            return self._judge_samples(blank, suite, test)
        except LoomError as error:
            message = str(error) if not error.hint else f"{error}\nhint: {error.hint}"
            unmeasured = isinstance(error, Denied) and not isinstance(error, BudgetExceeded)
            verdict: Verdict = "unverified" if unmeasured else "error"
            result = TestResult(test.name, verdict, message=message)
            entry = _entered(blank, result)
            return Judged(replace(entry, unanswered="denied" if unmeasured else ""), result)

    def _judge_samples(self, blank: Entry, suite: Suite, test: UnitCase | Distributional) -> Judged:
        before = self._supply.waited
        asked = self._ask(suite, test)
        cases, result, again = self._judge(asked, suite, test)
        used = [sample for case in cases for sample in case.samples]
        drawn = [sample for sample in (*used, *again) if not sample.reused]
        known = [sample.cost for sample in drawn if sample.cost is not None]
        extra = self._extra(suite, test)
        entry = replace(
            _entered(blank, result),
            fingerprint=asked.fingerprint,
            extra=extra.name if extra else "",
            unanswered=self._supply.unanswered if result.verdict == "unverified" else "",
            cost=sum(known) if len(known) == len(drawn) else None,
            cases=tuple(
                (c.id, c.key, c.definition, tuple(s.index for s in c.samples)) for c in cases
            ),
        )
        took = (self._supply.seconds((c.key, s.index)) for c in cases for s in c.samples)
        return Judged(
            entry,
            result,
            asked.prompt,
            seconds=max(took, default=0.0),
            waited=self._supply.waited - before,
            refused=any(sample.trouble == "budget" for sample in drawn),
        )

    def _integrate(self, blank: Entry, suite: Suite, test: IntegrationCase) -> Judged:
        from loomgit.harness import integration  # noqa: PLC0415 - a run takes sources and sinks
        from loomgit.sessions.integration import run_integration  # noqa: PLC0415 - the same

        pipeline = self._subjects.tested(suite)
        gateway = self._supply.elsewhere()
        run = run_integration(self._subjects.bench, pipeline, test, gateway=gateway)
        result = integration.judge(test, run)
        entry = replace(
            _entered(blank, result),
            cost=run.cost.total,
            calls=run.cost.calls,
            cached=run.cost.cached,
        )
        return Judged(entry, result, f"{pipeline.transform.prompt} ({run.config.prompt_version})")

    def _judge(
        self, asked: Asked, suite: Suite, test: UnitCase | Distributional
    ) -> tuple[list[CaseSamples], TestResult, Iterable[Sample]]:
        """The test's cases, the verdict on them, and what was drawn to confirm it."""
        options = self.options
        if isinstance(test, UnitCase):
            case = self._take_unit(asked, suite, test)
            result = unit.judge(test, case, entrance=options.on_inconclusive, strict=options.strict)
            return [case], result, ()
        if isinstance(test, Regression | Drift):
            return self._against_baseline(asked, suite, test)
        from loomgit.harness import distributional  # noqa: PLC0415 - only these need statistics

        cases: list[CaseSamples] = []
        records = self._records(asked, suite)
        drawing = distributional.start(test, len(records), asked.evaluators)
        while drawing.wanted:
            batch = [
                self._take(asked, asked.case(record), test.policy.samples)
                for record in records[len(cases) : len(cases) + drawing.wanted]
            ]
            drawing.take(batch)
            cases += batch
        result = distributional.judge(
            test,
            cases,
            evaluators=asked.evaluators,
            entrance=options.on_inconclusive,
            strict=options.strict,
        )
        return cases, result, ()

    def _against_baseline(
        self, asked: Asked, suite: Suite, test: Regression | Drift
    ) -> tuple[list[CaseSamples], TestResult, Iterable[Sample]]:
        from loomgit.sessions.baseline_tests import BaselineTests  # noqa: PLC0415 - as above

        records = self._records(asked, suite)[: test.sample_size]
        cases = [self._take(asked, asked.case(record), test.policy.samples) for record in records]
        confirming = Confirming(self._subjects, self._supply)
        tests = BaselineTests(self.standards, confirming, self.options)
        change = self.changes.of(suite.pipeline)
        not_own = {*change.cases.added, *change.cases.changed} if change is not None else ()
        result, fresh = tests.judge(asked, test, records, cases, not_own)
        return cases, result, fresh

    def _take_unit(self, asked: Asked, suite: Suite, test: UnitCase) -> CaseSamples:
        """The samples of a unit test, no more than it takes to decide."""
        case = asked.unit(suite, test)
        taken = self._take(asked, case, first_samples(test))
        while len(taken.samples) < test.policy.samples and not unit.decided(test, taken):
            taken = self._take(asked, case, len(taken.samples) + 1)
        return taken

    def _take(self, asked: Asked, case: TestCase, samples: int) -> CaseSamples:
        drawn = tuple(self._supply.take(asked.draw(case, index)) for index in range(samples))
        return CaseSamples(case.id, case.key, case.definition, case.record.input, drawn)

    def _records(self, asked: Asked, suite: Suite) -> list[Record]:
        """The records that a test file's cases are made of. Raises LoomError, of a data set of its
        own with the place where that is named."""
        pipeline = asked.subject.plan.pipeline
        try:
            return self._subjects.records(pipeline, suite.dataset)
        except UserError as error:
            place = suite.places.get("dataset")
            if place is None or error.message.startswith(str(place.path)):
                raise
            raise UserError(f"{place}: {error.message}", hint=error.hint) from error

    # -- what tests are about

    def _ask(self, suite: Suite, test: UnitCase | Distributional) -> Asked:
        """The subject that a test asks. Raises LoomError."""
        self._subjects.tested(suite)
        return self._subjects.ask(suite.pipeline, test.policy.model, self._extra(suite, test))

    def _extra(self, suite: Suite, test: UnitCase | Distributional) -> EvaluatorSpec | None:
        """The evaluator that a hallucination test brings and the pipeline does not have."""
        if not isinstance(test, HallucinationRate):
            return None
        from loomgit.harness import distributional  # noqa: PLC0415 - only these need statistics

        evaluators = self._subjects.tested(suite).evaluate.evaluators
        found = distributional.find_evaluator(test, evaluators)
        return None if found in evaluators else found

    # -- what the fixture asks

    def subject(self, pipeline: str, model: str | None = None) -> Subject:
        """A pipeline as it is asked now. Raises UserError or ProblemsFound."""
        return self._subjects.ask(pipeline, model).subject

    def ask(
        self, pipeline: str, model: str | None, identity: str, fields: JsonObject, samples: int
    ) -> CaseSamples:
        """A pipeline's samples of one case, drawn now. Raises LoomError."""
        asked = self._subjects.ask(pipeline, model)
        return self._take(asked, asked.input(identity, fields), samples)

    def regression(
        self,
        pipeline: str,
        model: str | None,
        cases: Sequence[CaseSamples],
        *,
        max_drop: float,
        baseline: str | None,
    ) -> Regressed:
        """Whether these cases score worse than under the baseline. Raises LoomError."""
        from loomgit.harness.comparison import compare_sides, decide  # noqa: PLC0415 - as above
        from loomgit.sessions.measured import measured_now, part_of  # noqa: PLC0415 - the same

        subject = self.subject(pipeline, model)
        names = {case.id for case in cases}
        standard, measured = self.standards.measured(subject, baseline, names)
        if standard.fault is not None:
            raise standard.fault
        if standard.same:
            return Regressed()
        if measured is None:
            return Regressed(unknown=standard.note)
        held = {name: c for name, c in measured.cases.items() if name in names}
        if not held:
            return Regressed(unknown=f"{standard.name} has no results of these cases")
        base, now = part_of(measured, held), measured_now(subject.plan, cases)
        (found,) = decide([compare_sides(pipeline, base, now, Limits(max_drop=max_drop))])
        if found.outcome in ("inconclusive", "not_comparable"):
            reasons = [metric.reason for metric in found.metrics if metric.gated and metric.reason]
            why = [*map(str, found.differs), *found.notes, *reasons]
            return Regressed(unknown="; ".join(dict.fromkeys(why)) or f"{len(held)} cases are few")
        if found.outcome != "degraded":
            return Regressed()
        lines = [
            f"{metric.name}: {metric.base:.3f} -> {metric.head:.3f}, p = {metric.adjusted:.3f}"
            for metric in found.metrics
            if metric.outcome == "degraded"
        ]
        return Regressed(f"{pipeline} got worse than {standard.name}: {'; '.join(lines)}")

    def is_modified(self, suite: Suite) -> bool:
        """Whether anything that the tests of a suite rest on differs from the baseline's."""
        try:
            subject = self._subjects.bench.subject(suite.pipeline)
        except LoomError:
            return True  # said when the tests run
        return self.standards.is_modified(subject, suite)

    # -- the end

    def close(self, *, wait: bool = True) -> None:
        """Draw nothing more, and let what is in flight end, unless nobody waits for that.

        Raises LoomError where something that was recorded could not be kept.
        """
        if "standards" in self.__dict__:
            self.standards.close()
        self._supply.close(wait=wait)


def _entered(blank: Entry, result: TestResult) -> Entry:
    return replace(
        blank,
        verdict=result.verdict,
        message=result.message,
        score=result.score,
        checks=result.checks,
    )


def first_samples(test: UnitCase) -> int:
    """How many samples of a unit test are asked for at once: as many as must pass."""
    return test.policy.samples if test.min_pass is None else test.min_pass
