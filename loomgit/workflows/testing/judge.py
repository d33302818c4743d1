"""Judges the prompt tests of one project, and draws the samples that the tests need.

This module does not depend on pytest. The pytest plugin, its fixture and the Git hooks call it.
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
from loomgit.harness import distributional, integration, unit
from loomgit.harness.outcome import TestOutcome
from loomgit.harness.sampling_plan import initial_count
from loomgit.workflows.testing.baseline import TestBaselines
from loomgit.workflows.testing.baseline_tests import BaselineTests, compare_with_baseline
from loomgit.workflows.testing.integration import run_integration
from loomgit.workflows.testing.remeasure import Remeasurer
from loomgit.workflows.testing.sample_pool import SamplePool
from loomgit.workflows.testing.sampled_pipelines import SampledPipelines
from loomgit.workflows.testing.suite_changes import SuiteChanges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.records import Record
    from loomgit.domain.samples import Sample, Verdict
    from loomgit.domain.suites import AnyTest, Distributional, Suite
    from loomgit.domain.values import JsonObject
    from loomgit.harness.cases import TestCase
    from loomgit.harness.draws import Draw, Name
    from loomgit.harness.overrides import Options
    from loomgit.wiring.project import Wiring
    from loomgit.wiring.revision import PipelineVersion, ProjectRevision
    from loomgit.workflows.testing.sampled_pipelines import SampledPipeline


class JudgedTest(Struct, frozen=True):
    """The outcome of one test, and the result that is displayed for the test.

    `outcome` is stored and sent between processes. `prompt` is the path and version of the prompt.
    `seconds` is the duration of the slowest draw among the test's samples, and `waited_seconds` is
    the time that the test waited for samples. `refused` is true if calls were refused because the
    budget was spent.
    """

    outcome: TestOutcome
    result: TestResult
    prompt: str = ""
    seconds: float = 0.0
    waited_seconds: float = 0.0
    refused: bool = False


class RegressionCheck(Struct, frozen=True):
    """The result of a comparison of cases with the baseline.

    `worse` is a line with the degraded metrics. `unknown` is a line with the reason if the
    comparison is impossible or inconclusive. Both are empty if the cases do not score worse.
    """

    worse: str = ""
    unknown: str = ""


class TestJudge:
    """Judges tests one after the other while their samples are drawn in the background."""

    def __init__(
        self,
        wiring: Wiring,
        options: Options,
        pool: SamplePool | None = None,
        *,
        project: str = "",
    ) -> None:
        """Create the judge. The judges of several projects share a `pool`, and `project` identifies
        the project. If `pool` is None, the judge creates a pool."""
        self._wiring = wiring
        self.project = project
        self._pool = SamplePool(options) if pool is None else pool
        self.options = options
        self.changes = SuiteChanges(wiring, self._find_base, counts=options.is_stricter)
        policy = self.changes.evaluate
        self._pipelines = SampledPipelines(wiring, self._pool, store=options.store, policy=policy)

    def _find_base(self) -> ProjectRevision | None:
        return self.baselines.find_base()

    @cached_property
    def baselines(self) -> TestBaselines:
        """The baselines that tests are compared with."""
        return TestBaselines(self._wiring, self.options.baseline)

    @property
    def samples(self) -> dict[Name, Sample]:
        """The samples that tests have taken."""
        return self._pool.samples

    # -- before the first test

    def start(self, tests: Sequence[tuple[Suite, AnyTest]]) -> None:
        """Start to draw the samples that these tests need, in the order of the tests."""
        draws = [draw for suite, test in tests for draw in self.draws(suite, test)]
        self._pool.start(draws, self.concurrency)

    def draws(self, suite: Suite, test: AnyTest) -> list[Draw]:
        """Return the draws that a test always needs, independent of its results. If the test cannot
        be prepared, the list is empty, and `judge` reports the error later."""
        if isinstance(test, IntegrationCase):
            return []
        try:
            test = self.changes.stricter(suite, test)
            sampled = self._sampled(suite, test)
            return [
                sampled.draw(case, index)
                for case, samples in self._first_cases(sampled, suite, test)
                for index in range(samples)
            ]
        except LoomError:
            return []

    @property
    def concurrency(self) -> int:
        """The maximum number of concurrent calls that the tests' pipelines allow."""
        return self._pipelines.concurrency()

    def _first_cases(
        self, sampled: SampledPipeline, suite: Suite, test: UnitCase | Distributional
    ) -> Iterable[tuple[TestCase, int]]:
        """Return the cases that a test always needs, each with its number of samples."""
        if isinstance(test, UnitCase):
            return [(sampled.unit(suite, test), first_samples(test))]
        records = self._records(sampled, suite)
        count = initial_count(test.sample_size, test.policy, len(records))
        return ((sampled.case(record), test.policy.samples) for record in records[:count])

    # -- one test

    def judge(self, suite: Suite, test: AnyTest) -> JudgedTest:
        """Judge one test, after waiting for its samples. A LoomError becomes part of the
        outcome."""
        outcome = TestOutcome(
            suite.path, test.name, group_of(test), suite.pipeline, "error",
            test.policy.model, project=self.project,
        )  # fmt: skip
        try:
            test = self.changes.stricter(suite, test)
            if isinstance(test, IntegrationCase):
                return self._judge_integration(outcome, suite, test)
            return self._judge_samples(outcome, suite, test)
        except LoomError as error:
            message = str(error) if not error.hint else f"{error}\nhint: {error.hint}"
            unmeasured = isinstance(error, Denied) and not isinstance(error, BudgetExceeded)
            verdict: Verdict = "unverified" if unmeasured else "error"
            result = TestResult(test.name, verdict, message=message)
            outcome = _with_result(outcome, result)
            return JudgedTest(replace(outcome, unanswered="denied" if unmeasured else ""), result)

    def _judge_samples(
        self, outcome: TestOutcome, suite: Suite, test: UnitCase | Distributional
    ) -> JudgedTest:
        waited_before = self._pool.waited
        sampled = self._sampled(suite, test)
        cases, result, confirming = self._judge(sampled, suite, test)
        samples = [sample for case in cases for sample in case.samples]
        drawn = [sample for sample in (*samples, *confirming) if not sample.reused]
        costs = [sample.cost for sample in drawn if sample.cost is not None]
        extra = self._extra(suite, test)
        outcome = replace(
            _with_result(outcome, result),
            fingerprint=sampled.fingerprint,
            extra=extra.name if extra else "",
            unanswered=self._pool.unanswered if result.verdict == "unverified" else "",
            cost=sum(costs) if len(costs) == len(drawn) else None,
            cases=tuple(
                (c.id, c.key, c.definition, tuple(s.index for s in c.samples)) for c in cases
            ),
        )
        seconds = (self._pool.seconds((c.key, s.index)) for c in cases for s in c.samples)
        return JudgedTest(
            outcome,
            result,
            sampled.prompt,
            seconds=max(seconds, default=0.0),
            waited_seconds=self._pool.waited - waited_before,
            refused=any(sample.trouble == "budget" for sample in drawn),
        )

    def _judge_integration(
        self, outcome: TestOutcome, suite: Suite, test: IntegrationCase
    ) -> JudgedTest:
        pipeline = self._pipelines.tested(suite)
        gateway = self._pool.open_separately()
        revision = self._pipelines.revision
        given = revision.given(suite)
        run = run_integration(revision, pipeline, test, given, gateway=gateway)
        result = integration.judge(test, run)
        outcome = replace(
            _with_result(outcome, result),
            cost=run.cost.total,
            calls=run.cost.calls,
            cached=run.cost.cached,
        )
        prompt = f"{pipeline.transform.prompt} ({run.config.prompt_version})"
        return JudgedTest(outcome, result, prompt)

    def _judge(
        self, sampled: SampledPipeline, suite: Suite, test: UnitCase | Distributional
    ) -> tuple[list[CaseSamples], TestResult, Iterable[Sample]]:
        """Return the cases of the test, its result, and the samples that were drawn to confirm the
        result."""
        options = self.options
        if isinstance(test, UnitCase):
            case = self._take_unit(sampled, suite, test)
            result = unit.judge(
                test, case, default_policy=options.on_inconclusive, strict=options.strict
            )
            return [case], result, ()
        if isinstance(test, Regression | Drift):
            return self._judge_against_baseline(sampled, suite, test)
        cases: list[CaseSamples] = []
        records = self._records(sampled, suite)
        plan = distributional.plan_sampling(test, len(records), sampled.evaluators)
        while plan.next_count:
            batch = [
                self._take(sampled, sampled.case(record), test.policy.samples)
                for record in records[len(cases) : len(cases) + plan.next_count]
            ]
            plan.take(batch)
            cases += batch
        result = distributional.judge(
            test,
            cases,
            evaluators=sampled.evaluators,
            default_policy=options.on_inconclusive,
            strict=options.strict,
        )
        return cases, result, ()

    def _judge_against_baseline(
        self, sampled: SampledPipeline, suite: Suite, test: Regression | Drift
    ) -> tuple[list[CaseSamples], TestResult, Iterable[Sample]]:
        records = self._records(sampled, suite)[: test.sample_size]
        samples = test.policy.samples
        cases = [self._take(sampled, sampled.case(record), samples) for record in records]
        remeasurer = Remeasurer(self._pipelines, self._pool)
        tests = BaselineTests(self.baselines, remeasurer, self.options)
        change = self.changes.of(suite.pipeline)
        changed = None if change is None else change.cases
        result, confirming = tests.judge(sampled, test, records, cases, changed)
        return cases, result, confirming

    def _take_unit(self, sampled: SampledPipeline, suite: Suite, test: UnitCase) -> CaseSamples:
        """Return the samples of a unit test. Takes only as many samples as the verdict needs."""
        case = sampled.unit(suite, test)
        taken = self._take(sampled, case, first_samples(test))
        while len(taken.samples) < test.policy.samples and not unit.is_decided(test, taken):
            taken = self._take(sampled, case, len(taken.samples) + 1)
        return taken

    def _take(self, sampled: SampledPipeline, case: TestCase, samples: int) -> CaseSamples:
        drawn = tuple(self._pool.take(sampled.draw(case, index)) for index in range(samples))
        return CaseSamples(case.id, case.key, case.definition, case.record.input, drawn)

    def _records(self, sampled: SampledPipeline, suite: Suite) -> list[Record]:
        """Return the records of a test file's data set. Raises LoomError. If the data set causes
        the error, the message contains the position of the data set's name in the test file."""
        pipeline = sampled.version.plan.pipeline
        try:
            return self._pipelines.records(pipeline, suite)
        except UserError as error:
            place = suite.places.get("dataset")
            if place is None or error.message.startswith(str(place.path)):
                raise
            raise UserError(f"{place}: {error.message}", hint=error.hint) from error

    # -- the pipelines of tests

    def _sampled(self, suite: Suite, test: UnitCase | Distributional) -> SampledPipeline:
        """Return the prepared pipeline that a test samples. Raises LoomError."""
        self._pipelines.tested(suite)
        extra = self._extra(suite, test)
        return self._pipelines.get(suite.pipeline, test.policy.model, extra, suite)

    def _extra(self, suite: Suite, test: UnitCase | Distributional) -> EvaluatorSpec | None:
        """Return the evaluator that the test adds to the pipeline, or None. Only a hallucination
        test adds one, and only if the pipeline does not have it already."""
        if not isinstance(test, HallucinationRate):
            return None
        evaluators = self._pipelines.tested(suite).evaluate.evaluators
        evaluator = distributional.find_evaluator(test, evaluators)
        return None if evaluator in evaluators else evaluator

    # -- for the pytest fixture

    def version(self, pipeline: str, model: str | None = None) -> PipelineVersion:
        """Return the current version of a pipeline. Raises UserError or ProblemsFound."""
        return self._pipelines.get(pipeline, model).version

    def draw_case(
        self, pipeline: str, model: str | None, identity: str, fields: JsonObject, samples: int
    ) -> CaseSamples:
        """Draw samples of a pipeline for one input (`fields`). `identity` is the id of the case.
        Raises LoomError."""
        sampled = self._pipelines.get(pipeline, model)
        return self._take(sampled, sampled.input(identity, fields), samples)

    def check_regression(
        self,
        pipeline: str,
        model: str | None,
        cases: Sequence[CaseSamples],
        *,
        max_drop: float,
        baseline: str | None,
    ) -> RegressionCheck:
        """Check whether these cases score worse than the baseline's results. Raises LoomError."""
        version = self.version(pipeline, model)
        names = {case.id for case in cases}
        test_baseline, measured = self.baselines.measured(version, baseline, names)
        if test_baseline.fault is not None:
            raise test_baseline.fault
        if test_baseline.same:
            return RegressionCheck()
        if measured is None:
            return RegressionCheck(unknown=test_baseline.note)
        common = {name: c for name, c in measured.cases.items() if name in names}
        if not common:
            return RegressionCheck(unknown=f"{test_baseline.name} has no results of these cases")
        base = replace(measured, cases=common)
        limits = Limits(max_drop=max_drop)
        comparison = compare_with_baseline(version, test_baseline, base, cases, limits)
        if comparison.outcome in ("inconclusive", "not_comparable"):
            reasons = [m.reason for m in comparison.metrics if m.gated and m.reason]
            differences = map(str, (*comparison.differs, *comparison.requestioned))
            lines = dict.fromkeys([*differences, *comparison.notes, *reasons])
            few = f"{len(common)} case{'s are' if len(common) > 1 else ' is'} too few"
            return RegressionCheck(unknown="; ".join(lines) or few)
        if comparison.outcome != "degraded":
            return RegressionCheck()
        changes = [
            f"{metric.name}: {metric.base:.3f} -> {metric.head:.3f}, p = {metric.adjusted:.3f}"
            for metric in comparison.metrics
            if metric.gated and metric.outcome == "degraded"
        ]
        return RegressionCheck(
            f"{pipeline} got worse than {test_baseline.name}: {'; '.join(changes)}"
        )

    def is_modified(self, suite: Suite) -> bool:
        """Return whether any input of the tests in a suite differs from the baseline."""
        try:
            revision = self._pipelines.revision
            version = revision.version(suite.pipeline, given=revision.given(suite))
        except LoomError:
            return True  # the tests must run, because they report the error
        return self.baselines.is_modified(version, suite)

    # -- the end

    def close(self, *, wait: bool = True) -> None:
        """Start no more draws. If `wait` is true, wait until the current draws have finished.

        Raises LoomError if a recording could not be saved.
        """
        if "baselines" in self.__dict__:
            self.baselines.close()
        self._pool.close(wait=wait)


def _with_result(outcome: TestOutcome, result: TestResult) -> TestOutcome:
    return replace(
        outcome,
        verdict=result.verdict,
        message=result.message,
        score=result.score,
        checks=result.checks,
    )


def first_samples(test: UnitCase) -> int:
    """Return how many samples a unit test draws first. This is the number that must pass."""
    return test.policy.samples if test.min_pass is None else test.min_pass
