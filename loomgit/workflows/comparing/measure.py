"""Measures one or two pipeline versions for a comparison.

A draw is a request for one sample. The draws of both versions alternate, case by case, so that a
change at a provider during the measurement affects both versions equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.comparison import MeasuredSide, Side
from loomgit.domain.samples import CaseSamples
from loomgit.domain.versions import Commit
from loomgit.errors import BudgetExceeded, WorldError
from loomgit.harness.draws import Draw
from loomgit.harness.results import judge_models, served_models, side_cases
from loomgit.harness.sample_queue import SampleQueue
from loomgit.wiring.revision import PipelineVersion, SampledCase
from loomgit.wiring.shared_gateways import SharedGateways, shared_settings
from loomgit.workflows.testing.run_writer import TestRunWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Gateway
    from loomgit.domain.runs import Cause, Status
    from loomgit.domain.samples import Sample
    from loomgit.domain.settings import Replay
    from loomgit.gateway.budget import Budget
    from loomgit.harness.cases import TestCase
    from loomgit.harness.draws import Name
    from loomgit.wiring.revision import ProjectRevision


class MeasurementPlan(Struct, frozen=True):
    """The plan to measure one pipeline version.

    `today` is the head's version of the pipeline. The judge is configured by the files of `today`.

    The samples of a case have consecutive indices, which normally start at `first`. If `second` is
    true, this plan repeats an earlier measurement. The indices of that measurement started at
    `first`, and this plan continues after its last index.

    If `commit` is given, the results are stored as a run at that commit. If `stored` is true, the
    store already has a run, and the results are stored only if a new sample was drawn. `removed`
    are the cases that the head removed from the tests; they are stored without samples.
    If the cases and evaluation settings do not come from `commit`, `question_from` is the commit
    that they come from.
    """

    version: PipelineVersion
    today: PipelineVersion
    cases: Sequence[SampledCase]
    commit: Commit | None = None
    first: int = 0
    second: bool = False
    stored: bool = False
    removed: tuple[CaseSamples, ...] = ()
    question_from: str = ""


def measure(
    revision: ProjectRevision,
    plans: Sequence[MeasurementPlan],
    *,
    reuse: bool = True,
    replay: Replay = "off",
    budget: Budget | None = None,
    outage: float | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[MeasuredSide]:
    """Execute the measurement plans. Return one measured side for each plan.

    All plans have the same number of cases. If `reuse` is true, samples of earlier runs are used
    instead of new draws. If a model does not answer for `outage` seconds, Loom stops calling it.
    After Ctrl-C or a refused call, the drawn samples are stored, so that the next measurement can
    reuse them.

    Raises ProblemsFound or UserError before the first call if an evaluator cannot be created.
    Raises BudgetExceeded if the budget is too small for all samples, Denied if a provider refused a
    call, and WorldError if a plan received no reply.
    """
    gateways = SharedGateways(replay, budget, outage=outage)
    rows = [_Measurement(revision, plan, gateways) for plan in plans]
    earlier = revision.earlier_samples(*_sample_keys(rows)) if reuse else {}
    fresh: dict[Name, Sample] = {}

    def find(names: Sequence[Name]) -> dict[Name, Sample]:
        return {(k, i): earlier[k][i] for k, i in names if i in earlier.get(k, {})}

    count = len(plans[0].cases)
    try:
        with SampleQueue(
            concurrency=revision.assembly.concurrency(plans[0].version.plan.pipeline),
            find_known=find,
            on_drawn=lambda draw, sample: fresh.update({draw.name: sample}),
            closing=[gateways.close],
        ) as queue:
            queue.plan(draw for at in range(count) for row in rows for draw in row.draws(at))
            queue.start()
            for at in range(count):
                for row in rows:
                    row.take(queue, at)
                progress(at + 1, count)
    except KeyboardInterrupt:
        saved = sum(row.save_partial(revision, fresh) for row in rows)
        if saved:
            revision.wiring.warn(
                f"{saved} samples were saved: run the same command again to continue"
            )
        raise
    sides = [row.finish(revision) for row in rows]
    if queue.denied is not None:
        raise queue.denied
    for row in rows:
        row.check_replies()
    return sides


def _sample_keys(rows: Sequence[_Measurement]) -> tuple[Pipeline, set[str], set[str]]:
    """Return (pipeline, fingerprints, case keys) of the earlier samples that can be reused."""
    pipeline = rows[0].plan.version.plan.pipeline
    keys = {sampled.case.key for row in rows for sampled in row.plan.cases}
    return pipeline, {row.plan.version.fingerprint for row in rows}, keys


def _gateways_of(plan: MeasurementPlan, gateways: SharedGateways) -> tuple[Gateway, Gateway]:
    """Return (gateway to the model, gateway to the judge).

    The settings of the model come from the tree of the measured version. The settings of the judge
    come from the tree of `plan.today`.
    """
    today = plan.today
    judging = gateways.get(today.assembly, today.plan)
    assembly, version_plan = plan.version.assembly, plan.version.plan
    if assembly is today.assembly:
        return judging, judging
    # A separate gateway is opened without the judge, because the settings in the version's own tree
    # may lack today's judge or its key.
    if shared_settings(assembly, version_plan) != shared_settings(today.assembly, today.plan):
        version_plan = replace(version_plan, judge=None)
    return gateways.get(assembly, version_plan), judging


class _Measurement:
    """Executes one measurement plan."""

    def __init__(
        self, revision: ProjectRevision, plan: MeasurementPlan, gateways: SharedGateways
    ) -> None:
        self.plan = plan
        gateway, judging = _gateways_of(plan, gateways)
        self._sampler = revision.sampler(plan.version, gateway, judging)
        self._taken: list[CaseSamples] = []
        self._started = datetime.now(UTC)

    def draws(self, at: int) -> list[Draw]:
        """Return the draws for the case at position `at` of the plan."""
        sampled = self.plan.cases[at]
        first = self.plan.first + (sampled.samples if self.plan.second else 0)

        def draw(index: int) -> Draw:
            call = partial(self._sampler.draw, sampled.case.record, index)
            return Draw(sampled.case.key, index, call)

        return [draw(index) for index in range(first, first + sampled.samples)]

    def take(self, queue: SampleQueue, at: int) -> None:
        """Wait for the samples of one case, and keep them. `at` is its index in the plan."""
        drawn = tuple(queue.take(draw) for draw in self.draws(at))
        self._taken.append(_case_samples(self.plan.cases[at].case, drawn))

    def finish(self, revision: ProjectRevision) -> MeasuredSide:
        """Return the results as a side of the comparison. The results are also stored if the plan
        requires it."""
        plan, version_plan = self.plan, self.plan.version.plan
        cases = [*self._taken, *plan.removed]
        new = not all(sample.reused for case in self._taken for sample in case.samples)
        runs = (self._save(revision, cases),) if plan.commit and (new or not plan.stored) else ()
        side = Side(
            commit=plan.commit.id if plan.commit else "",
            fingerprint=version_plan.fingerprint(),
            prompt_version=version_plan.prompt.name,
            model=version_plan.model,
            runs=runs,
            measured=new,
            program=None if version_plan.program is None else version_plan.program.title,
        )
        judges = {name: tuple(models) for name, models in judge_models(cases).items()}
        served = tuple(served_models(cases))
        return MeasuredSide(side, side_cases(cases), version_plan.question(), judges, served)

    def save_partial(self, revision: ProjectRevision, fresh: Mapping[Name, Sample]) -> int:
        """Store the drawn samples of an interrupted measurement if the plan has a commit.

        Return the number of stored samples. `fresh` contains the drawn samples of all plans.
        """
        cases = [
            _case_samples(sampled.case, drawn)
            for at, sampled in enumerate(self.plan.cases)
            if (drawn := [fresh[d.name] for d in self.draws(at) if d.name in fresh])
        ]
        if cases and self.plan.commit is not None:
            self._save(revision, cases, "stopped")
            return sum(len(case.samples) for case in cases)
        return 0

    def check_replies(self) -> None:
        """Raise BudgetExceeded if the budget refused a draw. Raise WorldError if all samples were
        lost."""
        samples = [sample for case in self._taken for sample in case.samples]
        refused = [sample.failure for sample in samples if sample.trouble == "budget"]
        name = self.plan.version.plan.pipeline.name
        if refused:
            count = f"{len(refused):,} of {len(samples):,}"
            raise BudgetExceeded(f"{name}: {count} samples were not drawn: {refused[0]}")
        if all(sample.lost for sample in samples):
            raise WorldError(f"{name}: no call returned a reply: {samples[0].failure}")

    def _save(
        self, revision: ProjectRevision, cases: Sequence[CaseSamples], cause: Cause = ""
    ) -> str:
        """Store the cases as a run, and return the run's uid. `cause` is the reason if the
        measurement was interrupted."""
        assert self.plan.commit is not None
        writer = TestRunWriter(
            revision.wiring.store, self.plan.version, self.plan.commit, self._started
        )
        sampled = [case for case in cases if case.samples]
        for case in sampled:
            for sample in case.samples:
                writer.add(case, sample)
        lost = sum(sample.lost for case in sampled for sample in case.samples)
        message = "stopped before the end" if cause else ""
        if lost and not cause:
            cause, message = "world", f"{lost} samples were lost to outages"
        status: Status = "partial" if cause else "success"
        writer.save(
            cases, status=status, cause=cause, message=message, complete=not cause,
            selected=len(sampled), total=len(self.plan.cases),
            question_from=self.plan.question_from,
        )  # fmt: skip
        return writer.uid


def _case_samples(case: TestCase, drawn: Iterable[Sample]) -> CaseSamples:
    return CaseSamples(case.id, case.key, case.definition, case.record.input, tuple(drawn))
