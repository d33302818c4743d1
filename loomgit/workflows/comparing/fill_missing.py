"""Measures the missing results of a comparison, on both sides at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.samples import CaseSamples
from loomgit.errors import ProblemsFound, UserError
from loomgit.history.store import commit_folder
from loomgit.wiring.revision import changed_files
from loomgit.workflows.comparing.measure import MeasurementPlan, measure
from loomgit.workflows.testing.case_lists import own_cases, question_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.domain.comparison import MeasuredSide
    from loomgit.domain.versions import Commit
    from loomgit.wiring.revision import PipelineVersion, ProjectRevision, SampledCase
    from loomgit.workflows.comparing.request import ComparisonRequest, PipelinePair


class MissingResults:
    """Measures the missing results of pipeline pairs.

    `heads` is the revision of the head, and `bases` is the revision of the baseline. Both sides are
    measured with the cases and the evaluation settings (evaluators, judge, gate) of the head.
    """

    def __init__(
        self,
        heads: ProjectRevision,
        bases: ProjectRevision,
        request: ComparisonRequest,
        progress: Callable[[int, int], None],
    ) -> None:
        self._heads = heads
        self._bases = bases
        self._request = request
        self._progress = progress

    def compare_aa(self, pair: PipelinePair) -> None:
        """Measure one version twice with different samples, and set the pair's results.

        In such an A/A comparison, both sides of the pair are the baseline.
        """
        heads = self._heads
        cases = heads.cases(pair.head, heads.questions(pair.head.plan.pipeline, pair.suites))
        _check_cases(heads, pair.head, cases)
        plans = [
            MeasurementPlan(pair.head, pair.head, cases, first=self._request.aa_from, second=second)
            for second in (False, True)
        ]
        base, head = self._measure(plans, reuse=False)
        pair.results = base, head

    def _measure(
        self, plans: Sequence[MeasurementPlan], *, reuse: bool = True
    ) -> list[MeasuredSide]:
        return measure(
            self._heads,
            plans,
            reuse=reuse,
            replay=self._request.replay,
            budget=self._request.budget,
            outage=self._request.outage,
            progress=self._progress,
        )

    def complete(self, pair: PipelinePair) -> None:
        """Measure the missing results of both sides, and set the pair's results.

        If the baseline needs an input field that no case has, the baseline is not measured, and the
        pair gets a note.
        """
        heads, bases = self._heads, self._bases
        if pair.by_runs and None not in pair.results:
            return
        assert pair.base is not None
        questions = list(heads.questions(pair.head.plan.pipeline, pair.suites))
        base = heads.with_question_of(pair.base, pair.head)
        base_cases, head_cases = (heads.cases(side, questions) for side in (base, pair.head))
        _check_cases(heads, pair.head, head_cases)
        if faults := heads.unanswerable(base, base_cases):
            pair.notes.append(f"the baseline cannot be measured with these cases: {faults[0]}")
            pair.results = None, pair.results[1]
            return
        results = pair.results
        if pair.by_runs and pair.head.plan.pipeline.load.on_failure in ("retry", "fallback"):
            results = None, None  # a pipeline run retries failed records, a measurement does not
        plans: dict[int, MeasurementPlan] = {}
        if not _covers(results[0], base_cases):
            removed = tuple(self._removed_cases(pair))
            commit = self._storage_commit(bases.wiring.tree.commit)
            plans[0] = MeasurementPlan(
                base, pair.head, base_cases, commit, stored=bool(results[0]),
                removed=removed, question_from=self._question_from(pair, base),
            )  # fmt: skip
        if not _covers(results[1], head_cases):
            commit = self._storage_commit(lambda: heads.commit(pair.head))
            plans[1] = MeasurementPlan(
                pair.head, pair.head, head_cases, commit, stored=bool(results[1])
            )
        if plans:
            measured = dict(zip(plans, self._measure(list(plans.values())), strict=True))
            results = measured.get(0, results[0]), measured.get(1, results[1])
        pair.results = results

    def _storage_commit(self, commit: Callable[[], Commit]) -> Commit | None:
        """Return `commit()` if the results are stored, else None, because no commit is needed."""
        return commit() if self._request.keep else None

    def remeasure(self, pair: PipelinePair) -> tuple[MeasuredSide, MeasuredSide]:
        """Measure both sides again with new samples. Return (base, head). Nothing is stored."""
        heads = self._heads
        assert pair.base is not None
        questions = list(heads.questions(pair.head.plan.pipeline, pair.suites))
        base = heads.with_question_of(pair.base, pair.head)
        plans = [
            MeasurementPlan(version, pair.head, heads.cases(version, questions), second=True)
            for version in (base, pair.head)
        ]
        base_side, head_side = self._measure(plans)
        return base_side, head_side

    def _question_from(self, pair: PipelinePair, version: PipelineVersion) -> str:
        """Return the commit of the head if the cases or evaluation settings of the sides differ.

        Return "" if they are the same. `version` is the version that is measured for the baseline:
        the baseline's pipeline with the head's evaluation settings. The result has the form of
        `commit_folder`: the id of the commit, and `-dirty` if there are uncommitted changes.
        """
        base = pair.base
        assert base is not None
        files = [*question_files(base, pair.before), *question_files(pair.head, pair.suites)]
        same = version.fingerprint == base.fingerprint
        if same and not changed_files(self._heads, self._bases, files):
            return ""
        return commit_folder(self._heads.commit(pair.head))

    def _removed_cases(self, pair: PipelinePair) -> Iterable[CaseSamples]:
        """Yield each case that the head removed from the tests, but without its samples.

        If the cases of both sides could not be compared, add the reason to the notes of the pair.
        """
        base, bases = pair.base, self._bases
        assert base is not None
        if pair.cases.fault:
            pair.notes.append(pair.cases.fault)
        if not pair.cases.removed:
            return
        for case in (sampled.case for sampled in own_cases(bases, base, pair.before, warn=False)):
            if case.id in pair.cases.removed:
                yield CaseSamples(case.id, case.key, case.definition, case.record.input)


def _check_cases(
    heads: ProjectRevision, version: PipelineVersion, cases: Sequence[SampledCase]
) -> None:
    """Raise UserError if there are no cases. Raise ProblemsFound if the prompt or the search needs
    a field that no case has."""
    if not cases:
        raise UserError(f"{version.plan.pipeline.name}: there are no cases to measure")
    if faults := heads.unanswerable(version, cases):
        raise ProblemsFound(faults)


def _covers(side: MeasuredSide | None, cases: Sequence[SampledCase]) -> bool:
    """Return whether a side has results of all `cases`, each with the minimum number of samples."""
    if side is None:
        return False
    counts = {case.key: case.samples for case in side.cases.values()}
    return all(counts.get(sampled.case.key, 0) >= sampled.least for sampled in cases)
