"""Finds the baselines that tests are compared with: results of an earlier version."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.comparison import MeasuredSide
from loomgit.domain.judging import apply_policy
from loomgit.domain.samples import CaseSamples, Judgement, Sample
from loomgit.errors import LoomError, UserError
from loomgit.history.baselines import Baselines, ComparedRevisions
from loomgit.history.samples import load_samples
from loomgit.history.stored_results import StoredResults
from loomgit.wiring.changed_inputs import changed_inputs
from loomgit.wiring.project import Wiring
from loomgit.wiring.revision import PipelineVersion, ProjectRevision, try_load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from loomgit.domain.definitions import Evaluate
    from loomgit.domain.runs import Case
    from loomgit.domain.suites import Suite

OFF = "none"  # the value of `baseline` that turns comparisons off


class TestBaseline(Struct, frozen=True):
    """The baseline of a test. `name` is its display name.

    `same` is true if the baseline's version equals the current version, so that no results are
    needed. Otherwise, `measured` contains the baseline's results, and `cases` contains their
    samples. If `measured` is None, `note` is the reason. `version` is the baseline's version, which
    can be measured again. `fault` is the error if the test names a revision that does not exist.
    """

    measured: MeasuredSide | None = None
    cases: tuple[CaseSamples, ...] = ()
    same: bool = False
    note: str = ""
    name: str = ""
    version: PipelineVersion | None = None
    fault: UserError | None = None


class TestBaselines(Struct):
    """Finds each baseline once. If `override` is given, it replaces the tests' own setting
    `baseline`."""

    wiring: Wiring
    override: str | None = None
    _baselines: dict[tuple[str, str | None], TestBaseline] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _revisions: dict[str, ProjectRevision] = field(default_factory=dict)

    def find(self, today: PipelineVersion, revision: str | None) -> TestBaseline:
        """Return the baseline with which the version `today` is compared.

        Errors are not raised, but become the `note` or `fault` of the result. `revision` is the
        revision that the test names. If it is None, the default baseline is used.
        """
        chosen = self.override if self.override is not None else revision
        name = today.fingerprint, chosen
        if name not in self._baselines:
            try:
                self._baselines[name] = self._find(today, chosen)
            except LoomError as error:
                fault = error if isinstance(error, UserError) and chosen is not None else None
                self._baselines[name] = TestBaseline(note=error.message, fault=fault)
        return self._baselines[name]

    def measured(
        self, today: PipelineVersion, revision: str | None, wanted: Collection[str]
    ) -> tuple[TestBaseline, MeasuredSide | None]:
        """Return the baseline and its results, or (baseline, None) if there are no results.

        `wanted` contains case ids. If a wanted case is missing in the results, it is taken from
        another run with the same fingerprint.
        """
        baseline = self.find(today, revision)
        if baseline.measured is None:
            return baseline, None
        stored = StoredResults(self.wiring.store, today.plan.pipeline.name)
        return baseline, stored.completed(baseline.measured, wanted, "test")

    def find_base(self) -> ProjectRevision | None:
        """Return the project at the baseline's commit, or None if there is no comparison.

        There is no comparison if comparisons are off, if there is no baseline, or if the baseline
        is the head. Raises UserError.
        """
        if self.override == OFF:
            return None
        revisions = self._compared_revisions(self._revision_chooser(), self.override)
        if revisions.base is None or revisions.base == revisions.head:
            return None
        return self._project_revision(revisions.base)

    def is_modified(self, today: PipelineVersion, suite: Suite) -> bool:
        """Return whether the version's inputs, the test file or its data set differ from the
        baseline. True if there is no baseline."""
        override = None if self.override == OFF else self.override
        revisions = self._compared_revisions(self._revision_chooser(), override)
        if revisions.base is None:
            return True
        bases = self._project_revision(revisions.base)
        base = try_load(bases, today.plan.pipeline.name, today.given)
        if isinstance(base, str) or changed_inputs(base, today):
            return True
        paths = [suite.path, *([suite.dataset] if suite.dataset else [])]
        return self.wiring.tree.entries(paths) != bases.wiring.tree.entries(paths)

    def close(self) -> None:
        """Remove the exported files of the baselines."""
        self._stack.close()

    def _revision_chooser(self) -> Baselines:
        wiring = self.wiring
        return Baselines(wiring.repository, wiring.settings.baseline, wiring.variables)

    def _find(self, today: PipelineVersion, revision: str | None) -> TestBaseline:
        if revision == OFF:
            return TestBaseline(note="comparisons are off")
        chooser = self._revision_chooser()
        revisions = self._compared_revisions(chooser, revision)
        if revisions.base is None:
            return TestBaseline(note=f"there is no baseline: {revisions.why}")
        pipeline, name = today.plan.pipeline.name, revisions.base_name
        base = try_load(self._project_revision(revisions.base), pipeline, today.given)
        if isinstance(base, str):
            return TestBaseline(note=f"the baseline's pipeline cannot be used: {base}")
        if base.fingerprint == today.fingerprint:
            return TestBaseline(same=True, name=name, note=f"unchanged since {name}")
        stored = StoredResults(self.wiring.store, pipeline)
        evaluate = today.plan.pipeline.evaluate
        with_question = ProjectRevision(self.wiring).with_question_of(base, today)
        fingerprints = dict.fromkeys((with_question.fingerprint, base.fingerprint))
        # Prefer incomplete results of the baseline to complete results of its ancestors.
        for whole in (True, False):
            for fingerprint in fingerprints:
                measured = stored.find(fingerprint, "test", whole=whole)
                if measured is not None:
                    return self._make_baseline(measured, name, base, evaluate)
        variables = base.plan.variables
        measured = stored.find_at(chooser.ancestors(revisions.base), "test", variables=variables)
        if measured is not None:
            older = f"{name}, {measured.side.behind} commits older"
            return self._make_baseline(measured, older, base, evaluate)
        return TestBaseline(note=f"there are no results of {name}: run the tests there")

    @staticmethod
    def _compared_revisions(baselines: Baselines, revision: str | None) -> ComparedRevisions:
        """Return the revisions to compare: the baseline and the head. The baseline is `revision`.
        If `revision` is None or the head, the default baseline is used."""
        if revision is None:
            return baselines.choose()
        revisions = baselines.choose(revision)
        return revisions if revisions.base != revisions.head else baselines.choose()

    def _project_revision(self, commit: str) -> ProjectRevision:
        if commit not in self._revisions:
            wiring = self.wiring.at(commit)
            self._stack.callback(wiring.close)
            self._revisions[commit] = ProjectRevision(wiring)
        return self._revisions[commit]

    def _make_baseline(
        self, measured: MeasuredSide, name: str, base: PipelineVersion, evaluate: Evaluate
    ) -> TestBaseline:
        """Return the baseline with its samples.

        The samples come from the records files of the runs. If these files do not contain a case,
        its samples are created from the scores in the run file. The thresholds, weights and gate in
        `evaluate` decide which samples pass.
        """
        store = self.wiring.store
        files = (store.records_path(uid) for uid in measured.side.runs)
        keys = {case.key for case in measured.cases.values()}
        samples = load_samples(files, keys)
        cases = tuple(
            CaseSamples(
                case.id,
                case.key,
                case.definition,
                {},
                tuple(
                    apply_policy(samples[case.key][i], evaluate) for i in sorted(samples[case.key])
                )
                if case.key in samples
                else tuple(apply_policy(sample, evaluate) for sample in samples_of(case)),
            )
            for case in measured.cases.values()
        )
        return TestBaseline(measured, cases, name=name, version=base)


def samples_of(case: Case) -> Iterable[Sample]:
    """Yield samples without outputs, made from the stored scores of a case."""
    for index in range(case.samples):
        values = {name: row[index] for name, row in case.scores.items() if index < len(row)}
        known = [value for value in values.values() if value is not None]
        yield Sample(
            index,
            {},
            "",
            "",
            judgements={name: Judgement(value, "") for name, value in values.items()},
            score=sum(known) / len(known) if known and len(known) == len(values) else None,
            passed=index < case.passed,
            trouble="" if known or not values else "infrastructure",
            cost=case.cost,
            latency=case.latency,
        )
