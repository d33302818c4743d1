"""Tests against a baseline, regression and drift: today's samples against those of the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.suites import Drift, Regression
from loomgit.harness import regression
from loomgit.harness.choices import Options
from loomgit.harness.differences import question_differences
from loomgit.harness.samples import loss
from loomgit.harness.verdicts import way_to_decide
from loomgit.sessions.confirming import Confirming, Fresh
from loomgit.sessions.standard import Standards

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from loomgit.domain.comparison import Difference
    from loomgit.domain.records import Record
    from loomgit.domain.samples import CaseSamples, Sample, TestResult
    from loomgit.sessions.standard import Standard
    from loomgit.sessions.subjects import Asked


class BaselineTests(Struct, frozen=True):
    """Judges tests against a baseline; `confirming` draws both sides again."""

    standards: Standards
    confirming: Confirming
    options: Options

    def judge(
        self,
        asked: Asked,
        test: Regression | Drift,
        records: Sequence[Record],
        cases: Sequence[CaseSamples],
        not_own: Collection[str] = (),
    ) -> tuple[TestResult, Iterable[Sample]]:
        """The verdict on the cases of these records, and what was drawn to confirm it. Raises
        LoomError.

        `not_own` are the ids of the cases that the baseline's own tests do not have, or have in
        another form: they are not compared, also if the baseline was measured with them.
        """
        standard = self.standards.find(asked.subject, test.baseline)
        if standard.fault is not None:
            raise standard.fault
        question = asked.subject.plan.question()
        if standard.measured is not None and (
            why := regression.why_not_comparable(cases, question, standard.measured)
        ):
            return regression.not_comparable(test, why), ()
        base = standard.samples(cases)
        if base is not None and not standard.same:
            base = [case for case in base if case.id not in not_own]
        fresh = Fresh(why="not measured again")
        if isinstance(test, Drift):
            result = regression.judge_drift(test, cases, base)
        else:
            if test.policy.confirm and regression.is_degraded(test, cases, base or ()):
                fresh = self.confirming.draw(asked, records, test.policy, standard)
            result = regression.judge_regression(
                test, cases, base, fresh=fresh.sides, unconfirmed=fresh.why,
                entrance=self.options.on_inconclusive, strict=self.options.strict,
                same=standard.same,
            )  # fmt: skip
            if (parts := _changed_parts(standard, asked)) and result.verdict == "pass":
                options = self.options
                how = way_to_decide(test.policy, options.on_inconclusive, strict=options.strict)
                result = regression.doubted(result, parts, how)
        if base is None:
            checks = tuple(replace(check, note=standard.note) for check in result.checks)
            verdict, note = loss(cases, test.policy) or (result.verdict, standard.note)
            result = replace(result, verdict=verdict, checks=checks, message=note)
        return result, fresh.samples


def _changed_parts(standard: Standard, asked: Asked) -> list[Difference]:
    """The parts in which today's question is not the baseline's. An evaluator that is added counts
    as well: the test takes the mean over all of them."""
    if standard.subject is None:
        return []
    return question_differences(standard.subject.plan.judging(), asked.subject.plan.judging())
