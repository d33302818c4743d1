"""Compares two revisions: reads their stored results, measures missing results if requested, and
applies the regression gate."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from threading import Thread
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.comparison.acceptance import accept, needs_acceptance
from loomgit.comparison.gate import (
    ComparisonDraft,
    compare_sides,
    confirm,
    decide,
    with_own_cases,
)
from loomgit.domain.comparison import (
    Comparison,
    MeasuredSide,
    PipelineComparison,
    Revision,
    worst_outcome,
)
from loomgit.domain.variables import GivenValues
from loomgit.errors import LoomError, Untrusted
from loomgit.history.baselines import Baselines, ComparedRevisions
from loomgit.history.stored_results import KINDS, StoredResults
from loomgit.stats.lazy_numpy import np
from loomgit.wiring.catalog import raise_or_warn
from loomgit.wiring.revision import ProjectRevision, changed_files
from loomgit.wiring.selection import PipelineSelector
from loomgit.workflows.comparing.limits import (
    mark_changed_evaluators,
    without_results,
)
from loomgit.workflows.comparing.pairs import PairMaker
from loomgit.workflows.comparing.request import TEST, ComparisonRequest, PipelinePair
from loomgit.workflows.testing.accepted_losses import load_acceptances
from loomgit.workflows.testing.case_lists import (
    CaseLists,
    compare_questions,
    question_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.domain.runs import RunSummary
    from loomgit.wiring.project import Wiring
    from loomgit.workflows.comparing.fill_missing import MissingResults
    from loomgit.workflows.comparing.request import CompareOptions


def compare_revisions(
    wiring: Wiring, options: CompareOptions, progress: Callable[[int, int], None]
) -> Comparison:
    """Compare the results of two revisions; see `loomgit.api.Project.compare`."""
    return CompareWorkflow(wiring, ComparisonRequest(**options), progress).compare()


def resolve_revisions(wiring: Wiring, options: CompareOptions) -> tuple[Revision, Revision, str]:
    """Return (base, head, reason): the revisions that `compare_revisions` compares. `reason` says
    why there is no base; it is "" if there is a base."""
    workflow = CompareWorkflow(wiring, ComparisonRequest(**options))
    revisions = workflow.revisions()
    tip = revisions.head or wiring.repository.head().id
    base = Revision(revisions.base_name, revisions.base or "")
    return base, Revision(revisions.head_name, tip), revisions.why


class CompareWorkflow:
    """Compares the pipelines of a project at two revisions."""

    def __init__(
        self,
        wiring: Wiring,
        request: ComparisonRequest,
        progress: Callable[[int, int], None] = lambda *_: None,
        *,
        quiet: bool = False,
    ) -> None:
        """Create the workflow.

        If `quiet` is true, warnings and hints to use `--run-missing` are left out, and an untrusted
        revision raises Untrusted instead of only adding a note. A caller sets `quiet` if it reports
        invalid test files itself and does not have the option `--run-missing`.
        """
        if request.given != GivenValues():
            wiring = wiring.with_given(request.given)
        self._wiring = wiring
        self._request = request
        self._progress = progress
        self._quiet = quiet
        self._baselines = Baselines(wiring.repository, wiring.settings.baseline, wiring.variables)
        self._missing: MissingResults | None = None  # created at the first measurement

    def revisions(self) -> ComparedRevisions:
        """Return the two revisions. Raises UserError if they cannot be determined."""
        request = self._request
        if request.merged is not None:
            return self._baselines.merged(*request.merged)
        return self._baselines.choose(request.expression, request.head)

    def compare(self) -> Comparison:
        """Compare the pipelines. Raises UserError, ProblemsFound or WorldError."""
        if self._request.trust_revision:
            self._wiring.trust.add_all()
        revisions = self.revisions()
        base = Revision(revisions.base_name, revisions.base or "")
        tip = revisions.head or self._wiring.repository.head().id
        head = Revision(revisions.head_name, tip)
        if revisions.base is None:
            note = f"no baseline: {revisions.why}"
            return Comparison(base, head, "inconclusive", (), True, (note,))
        if revisions.base != revisions.head:
            Thread(target=_load_numpy).start()
        with ExitStack() as stack:
            heads = self._project_revision(revisions.head, stack)
            bases = self._project_revision(revisions.base, stack)
            if self._request.aa:
                heads, head = bases, base
            pairs = self._pairs(heads, bases, revisions)
            results = self._compare_pairs(pairs, heads, bases, revisions.base)
            removed = self._removed_pipelines(heads, bases)
            notes = self._notes(revisions, removed)
        missing = any(result.base is None and not result.new for result in results)
        outcome = worst_outcome([result.outcome for result in results if not result.new])
        comparison = Comparison(base, head, outcome, tuple(results), missing, notes)
        return self._accept(comparison, removed, revisions)

    def _compare_pairs(
        self,
        pairs: Sequence[PipelinePair],
        heads: ProjectRevision,
        bases: ProjectRevision,
        base: str,
    ) -> list[PipelineComparison]:
        """Return the comparison of each pair. The p-values of all pairs are adjusted together.
        `base` is the baseline's commit."""
        aa = self._request.aa
        comparable = [p for p in pairs if p.base is not None and (aa or not p.same)]
        if not aa:
            rows = self._wiring.store.all() if comparable else []
            for pair in comparable:
                self._find_results(pair, base, [row for row in rows if row.pipeline == pair.name])
            for pair in pairs:
                if pair.base is not None:
                    self._compare_questions(pair, heads, bases)
        if comparable and (aa or self._request.run_missing):
            self._measure(comparable, heads, bases)
        drafts = [_draft(pair, *pair.results) for pair in comparable]
        for pair, decided in zip(comparable, decide(drafts) if drafts else (), strict=True):
            pair.decided = decided
        self._confirm([p for p in comparable if p.limits.confirm], heads, bases)
        results = []
        for pair in pairs:
            result = self._annotate(pair.decided or without_results(pair), pair)
            results.append(mark_changed_evaluators(result, pair))
        return results

    def _accept(
        self, comparison: Comparison, removed: set[str], revisions: ComparedRevisions
    ) -> Comparison:
        """Return the comparison with outcomes that ignore the accepted losses. If a pipeline was
        removed and no commit accepts its removal, the outcome is at best inconclusive."""
        needed = bool(removed) or any(map(needs_acceptance, comparison.pipelines))
        if self._request.aa or not needed:
            return comparison
        warn = (lambda _: None) if self._quiet else self._wiring.warn
        accepted = load_acceptances(self._wiring, revisions.base, revisions.head, warn)
        comparison = accept(comparison, accepted)
        if not removed - {acceptance.subject for acceptance in accepted}:
            return comparison
        return replace(comparison, outcome=worst_outcome([comparison.outcome, "inconclusive"]))

    def _confirm(
        self, pairs: Sequence[PipelinePair], heads: ProjectRevision, bases: ProjectRevision
    ) -> None:
        """Measure degraded pairs again, and update their comparisons."""
        for pair in pairs:
            result = pair.decided
            assert result is not None  # all comparable pairs are decided
            if result.outcome != "degraded" or self._request.aa:
                continue
            if not self._request.run_missing:
                pair.notes.append("not confirmed by a second measurement: --run-missing makes one")
                continue
            try:
                sides = self._missing_results(heads, bases).remeasure(pair)
            except Untrusted as error:
                pair.notes.append(f"not confirmed by a second measurement: {error.message}")
                continue
            pair.decided = confirm(result, _draft(pair, *sides))

    def _measure(
        self, pairs: Sequence[PipelinePair], heads: ProjectRevision, bases: ProjectRevision
    ) -> None:
        missing = self._missing_results(heads, bases)
        for pair in pairs:
            try:
                if self._request.aa:
                    missing.compare_aa(pair)
                else:
                    missing.complete(pair)
            except Untrusted as error:
                if self._quiet:
                    raise
                pair.notes += [error.message, error.hint or ""]

    def _missing_results(self, heads: ProjectRevision, bases: ProjectRevision) -> MissingResults:
        if self._missing is None:
            from loomgit.workflows.comparing.fill_missing import (  # noqa: PLC0415 - slow, only for measuring
                MissingResults,
            )

            self._missing = MissingResults(heads, bases, self._request, self._progress)
        return self._missing

    def _project_revision(self, tree: str | None, stack: ExitStack) -> ProjectRevision:
        if tree is None:
            return ProjectRevision(self._wiring, lazy=True)
        wiring = self._wiring.at(tree)
        stack.callback(wiring.close)
        return ProjectRevision(wiring, lazy=True)

    def _removed_pipelines(self, heads: ProjectRevision, bases: ProjectRevision) -> set[str]:
        """Return the names of the pipelines that only the baseline has. The result is empty if the
        request selects pipelines."""
        if self._request.pipelines or self._request.select:
            return set()
        return set(bases.catalog.pipeline_names()) - set(heads.catalog.pipeline_names())

    def _notes(self, revisions: ComparedRevisions, removed: Iterable[str]) -> tuple[str, ...]:
        notes = []
        if revisions.base == revisions.head and not self._request.aa:
            notes.append("both sides are the same commit")
        notes += [f"pipeline {name} is gone" for name in sorted(removed)]
        return tuple(notes)

    # -- both sides of each pipeline, and their stored results

    def _pairs(
        self, heads: ProjectRevision, bases: ProjectRevision, revisions: ComparedRevisions
    ) -> list[PipelinePair]:
        assert revisions.base is not None
        request = self._request
        names = heads.catalog.pipeline_names()
        if request.pipelines or request.select:
            selector = PipelineSelector(heads.wiring, lambda: revisions)
            chosen = selector.choose(request.pipelines, request.select).chosen
            names = [selected.name for selected in chosen]
        suites, broken = heads.catalog.readable_suites()
        raise_or_warn(
            broken,
            lambda file: file.pipeline in names or bool(changed_files(heads, bases, [file.path])),
            (lambda _: None) if self._quiet else self._wiring.warn,
        )
        maker = PairMaker(heads, bases, request, suites)
        return [pair for name in names for pair in maker.pairs(name)]

    def _compare_questions(
        self, pair: PipelinePair, heads: ProjectRevision, bases: ProjectRevision
    ) -> None:
        """Set `pair.cases` to the cases that differ between the tests of the two sides."""
        assert pair.base is not None
        before = pair.before
        if not before and not pair.same:
            try:
                bases.suites(pair.name)
            except LoomError as error:
                pair.notes.append(f"the baseline's own cases cannot be read: {error.first_problem}")
            return  # if the baseline has no tests, no case is reported as added
        files = [*question_files(pair.base, before), *question_files(pair.head, pair.suites)]
        if not changed_files(heads, bases, files):
            return
        try:
            bases.suites(pair.name)  # raises an error if a test file of the baseline is invalid
            sides = (bases, pair.base, heads, pair.head)
            pair.cases = compare_questions(*sides, pair.suites, before)
        except LoomError as error:
            pair.cases = CaseLists(fault=f"the cases cannot be compared: {error.first_problem}")

    def _find_results(self, pair: PipelinePair, base: str, rows: Sequence[RunSummary]) -> None:
        """Set `pair.results` to the stored results of both sides. `rows` are the pipeline's runs.

        For the baseline, results are searched in this order: results with the head's evaluation
        settings (evaluators and judge), results with the baseline's own settings, and results of
        the baseline's ancestors. The first results found are used.
        """
        assert pair.base is not None
        run_missing = self._request.run_missing
        stored = StoredResults(self._wiring.store, pair.name, rows)
        today = ProjectRevision(self._wiring).with_question_of(pair.base, pair.head)
        fingerprints = [today.fingerprint]
        if not run_missing:
            fingerprints.append(pair.base.fingerprint)
        kinds = [TEST] if run_missing and pair.suites else KINDS
        results: list[tuple[MeasuredSide | None, MeasuredSide | None]] = []
        for kind in kinds:
            head = stored.find(pair.head.fingerprint, kind, whole=run_missing)
            # Prefer incomplete results of the baseline to complete results of its ancestors.
            searches = [(fingerprint, True) for fingerprint in fingerprints]
            searches += (
                [] if run_missing else [(fingerprint, False) for fingerprint in fingerprints]
            )
            sides = (stored.find(fingerprint, kind, whole=whole) for fingerprint, whole in searches)
            results.append((next((side for side in sides if side is not None), None), head))
        best = max(results, key=_count_sides)
        pair.kind = kinds[results.index(best)]
        if best[0] is None and not run_missing:
            commits = self._baselines.ancestors(base)
            model, variables = pair.base.plan.model, pair.base.plan.variables
            older = [
                (stored.find_at(commits, kind, model, variables), head)
                for kind, (_, head) in zip(kinds, results, strict=True)
            ]
            best = max(older, key=lambda sides: (sides[1] is not None, _count_sides(sides)))
            if best[0] is not None and (behind := best[0].side.behind):
                pair.notes.append(f"baseline: {behind} commit{'s' if behind > 1 else ''} older")
        pair.results = best
        if best[1] is None:
            pair.head.compiled()  # report an invalid prompt rather than missing results

    def _annotate(self, result: PipelineComparison, pair: PipelinePair) -> PipelineComparison:
        """Return the comparison with the notes and changes of the pair, and with the current names
        of the prompt versions."""
        notes = (*pair.notes, *result.notes)
        is_incomplete = None in (result.base, result.head)
        if (
            pair.base is not None
            and is_incomplete
            and not (self._request.run_missing or self._quiet)
        ):
            hint = "run the tests there, or use --run-missing to measure the missing results"
            notes = (*notes, hint)
        base, head = result.base, result.head
        if base is not None and pair.base is not None and not base.behind:
            base = replace(base, prompt_version=pair.base.plan.prompt.name)
        if head is not None:
            head = replace(head, prompt_version=pair.head.plan.prompt.name)
        looser = tuple(map(str, pair.looser))
        return replace(
            result,
            vars=dict(pair.variables),
            new=pair.new,
            base=base,
            head=head,
            inputs=pair.inputs,
            notes=notes,
            looser=looser,
        )


def _draft(
    pair: PipelinePair, base: MeasuredSide | None, head: MeasuredSide | None
) -> ComparisonDraft:
    """Compare the two sides of a pair. The outcome is decided later, for all pairs together."""
    if base is not None and not pair.limits.unpaired:
        base = with_own_cases(base, added=pair.cases.added, changed=pair.cases.changed)
    return compare_sides(pair.name, base, head, pair.limits, pair.evaluate)


def _load_numpy() -> None:
    """Import NumPy, which takes a tenth of a second, while the main thread waits for Git."""
    with suppress(ImportError):  # the main thread raises the error when it uses NumPy
        np.empty(0)


def _count_sides(results: tuple[MeasuredSide | None, MeasuredSide | None]) -> int:
    return sum(side is not None for side in results)
