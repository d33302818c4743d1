"""Judges regression and drift tests, which compare new samples with those of a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.comparison.differences import question_differences
from loomgit.comparison.gate import (
    compare_sides,
    confirm,
    decide,
    with_own_cases,
    without_confirmation,
)
from loomgit.domain.comparison import with_changed_question
from loomgit.domain.samples import is_data_case
from loomgit.domain.suites import Drift, Regression
from loomgit.harness.distributional import limit_samples
from loomgit.harness.drift import judge_drift
from loomgit.harness.overrides import Options
from loomgit.harness.policies import policy_limits
from loomgit.harness.regression import judge_regression, not_comparable
from loomgit.harness.samples import missing_replies
from loomgit.harness.sampling_plan import drawn_cases
from loomgit.harness.verdicts import inconclusive_policy
from loomgit.workflows.measured_side import measured_now, sample_amounts
from loomgit.workflows.testing.baseline import TestBaselines
from loomgit.workflows.testing.remeasure import Remeasurer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.comparison import Limits, MeasuredSide, PipelineComparison
    from loomgit.domain.records import Record
    from loomgit.domain.runs import Case
    from loomgit.domain.samples import CaseSamples, Sample, TestResult
    from loomgit.wiring.revision import PipelineVersion
    from loomgit.workflows.testing.baseline import TestBaseline
    from loomgit.workflows.testing.case_lists import CaseLists
    from loomgit.workflows.testing.sampled_pipelines import SampledPipeline


def compare_with_baseline(
    version: PipelineVersion,
    baseline: TestBaseline,
    base: MeasuredSide | None,
    cases: Sequence[CaseSamples],
    limits: Limits,
) -> PipelineComparison:
    """Apply the regression gate to the samples in `cases` and the baseline's results in `base`."""
    head = measured_now(version.plan, cases)
    (comparison,) = decide([compare_sides(version.plan.pipeline.name, base, head, limits)])
    if baseline.version is None:
        return comparison
    # An added evaluator also counts as a change: it may be more lenient than the existing ones.
    parts = question_differences(baseline.version.plan.judging(), version.plan.judging())
    return with_changed_question(comparison, parts)


class BaselineTests(Struct, frozen=True):
    """Judges tests that compare samples with a baseline.

    `remeasurer` measures both sides again, to confirm a degradation.
    """

    baselines: TestBaselines
    remeasurer: Remeasurer
    options: Options

    def judge(
        self,
        sampled: SampledPipeline,
        test: Regression | Drift,
        records: Sequence[Record],
        cases: Sequence[CaseSamples],
        changed: CaseLists | None = None,
    ) -> tuple[TestResult, Iterable[Sample]]:
        """Return the result of a test, and the samples that were drawn to confirm the result.

        `cases` contains the samples for `records`. `changed` lists the cases that differ between
        the tests of baseline and head. Cases that the head added or changed are not compared, even
        if the baseline has results for them. Raises LoomError.
        """
        baseline = self.baselines.find(sampled.version, test.baseline)
        if baseline.fault is not None:
            raise baseline.fault
        used = limit_samples(cases, test.policy)
        base = self._base_side(sampled, test, baseline, used, changed)
        limits = policy_limits(test.policy)
        comparison = compare_with_baseline(sampled.version, baseline, base, used, limits)
        confirming: Iterable[Sample] = ()
        if isinstance(test, Drift):
            result = self._judge_drift(test, used, baseline, base, comparison)
        else:
            if base is not None and comparison.outcome == "degraded" and limits.confirm:
                comparison, confirming = self._confirm(
                    sampled, test, records, baseline, base, comparison, limits
                )
            options = self.options
            inconclusive = inconclusive_policy(
                test.policy, options.on_inconclusive, strict=options.strict
            )
            result = judge_regression(
                test, used, comparison, inconclusive=inconclusive, same=baseline.same
            )
        if base is None:
            checks = tuple(replace(check, note=baseline.note) for check in result.checks)
            verdict, note = missing_replies(cases, test.policy) or (result.verdict, baseline.note)
            result = replace(result, verdict=verdict, checks=checks, message=note)
        return result, confirming

    @staticmethod
    def _base_side(
        sampled: SampledPipeline,
        test: Regression | Drift,
        baseline: TestBaseline,
        cases: Sequence[CaseSamples],
        changed: CaseLists | None,
    ) -> MeasuredSide | None:
        """Return the baseline's results for the cases that the test compares, or None if there are
        no results."""
        if baseline.same:
            return measured_now(sampled.version.plan, cases)
        if baseline.measured is None:
            return None
        base = baseline.measured
        if changed is not None:
            base = with_own_cases(base, added=changed.added, changed=changed.changed)
        definitions = {case.id: case.definition for case in cases}
        data: dict[str, Case] = {}
        for case in base.cases.values():
            # If cases of two test files have the same id, prefer the case that this test has.
            is_own = case.definition == definitions.get(case.id)
            if is_data_case(case.id) and (is_own or case.id not in data):
                data[case.id] = case
        drawn = drawn_cases(definitions, data, test.sample_size)
        return replace(
            base,
            cases={name: case for name, case in data.items() if name in drawn},
            amounts=sample_amounts(baseline.cases),
        )

    @staticmethod
    def _judge_drift(
        test: Drift,
        cases: Sequence[CaseSamples],
        baseline: TestBaseline,
        base: MeasuredSide | None,
        comparison: PipelineComparison,
    ) -> TestResult:
        if comparison.differs:
            return not_comparable(
                test, f"not comparable: {'; '.join(map(str, comparison.differs))}"
            )
        for metric in comparison.metrics:
            if metric.outcome == "not_comparable":
                return not_comparable(test, f"not comparable: {metric.name}: {metric.reason}")
        if base is None:
            return judge_drift(test, cases, None)
        compared = {(case.id, case.definition) for case in base.cases.values()}
        samples = cases if baseline.same else baseline.cases
        base_samples = [case for case in samples if (case.id, case.definition) in compared]
        return judge_drift(test, cases, base_samples)

    def _confirm(
        self,
        sampled: SampledPipeline,
        test: Regression,
        records: Sequence[Record],
        baseline: TestBaseline,
        base: MeasuredSide,
        comparison: PipelineComparison,
        limits: Limits,
    ) -> tuple[PipelineComparison, Iterable[Sample]]:
        """Measure the compared cases again, on both sides.

        Return the corrected comparison and the new samples. A degradation is confirmed only if both
        measurements show it.
        """
        definitions = {case.id: case.definition for case in base.cases.values()}
        compared = [
            record
            for record in records
            if (case := sampled.case(record)).definition == definitions.get(case.id)
        ]
        measured = self.remeasurer.draw(sampled, compared, test.policy, baseline)
        if measured.why:
            return without_confirmation(comparison, measured.why), measured.samples
        plan = sampled.version.plan
        sides = measured_now(plan, measured.baseline), measured_now(plan, measured.candidate)
        second = compare_sides(comparison.pipeline, *sides, limits)
        return confirm(comparison, second), measured.samples
