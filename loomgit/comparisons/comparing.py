"""A comparison, from its two revisions to its verdict: finds the results of both, measures what is
missing where that is asked for, and has them compared."""
# ruff: noqa: PLC0415 - who compares what is stored does not pay for what measures

from __future__ import annotations

from contextlib import ExitStack, suppress
from threading import Thread
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.comparisons.deciding import blank, doubted, set_limits, with_own_cases
from loomgit.comparisons.pairs import TEST, Pair, Wanted
from loomgit.domain.comparison import (
    Comparison,
    Measured,
    PipelineComparison,
    Revision,
    worst,
)
from loomgit.errors import LoomError, Untrusted
from loomgit.harness.acceptance import accept, needs_acceptance
from loomgit.history.baselines import Baselines, Ends
from loomgit.history.evidence import KINDS, Evidence
from loomgit.sessions.accepting import acceptances
from loomgit.sessions.questions import (
    CaseLists,
    compare_questions,
    first_line,
    question_files,
)
from loomgit.wiring.bench import Bench, changed_files, readable
from loomgit.wiring.catalog import raise_or_warn
from loomgit.wiring.modified import changed_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.comparisons.completing import Completing
    from loomgit.domain.runs import RunSummary
    from loomgit.harness.comparison import Draft
    from loomgit.wiring.project import Wiring


class Comparing:
    """Compares the pipelines of a project at two revisions."""

    def __init__(
        self,
        wiring: Wiring,
        wanted: Wanted,
        progress: Callable[[int, int], None] = lambda *_: None,
        *,
        quiet: bool = False,
    ) -> None:
        """`quiet`: who asks tells of test files that are broken and do not matter, and has no flag
        that would measure what is missing."""
        self._wiring = wiring
        self._wanted = wanted
        self._progress = progress
        self._quiet = quiet
        self._baselines = Baselines(wiring.repository, wiring.settings.baseline, wiring.variables)
        self._made: Completing | None = None  # one budget for all that is measured

    def ends(self) -> Ends:
        """The two revisions. Raises UserError."""
        wanted = self._wanted
        if wanted.merged is not None:
            return self._baselines.merged(*wanted.merged)
        return self._baselines.choose(wanted.expression, wanted.head)

    def compare(self) -> Comparison:
        """The comparison. Raises UserError, ProblemsFound or WorldError."""
        if self._wanted.trust_revision:
            self._wiring.trust.add_all()
        ends = self.ends()
        base = Revision(ends.base_name, ends.base or "")
        head = Revision(ends.head_name, ends.head or self._wiring.repository.head().id)
        if ends.base is None:
            return Comparison(base, head, "inconclusive", (), True, (f"no baseline: {ends.why}",))
        if ends.base != ends.head:
            Thread(target=_load_statistics).start()
        with ExitStack() as stack:
            heads, bases = (self._bench(tree, stack) for tree in (ends.head, ends.base))
            if self._wanted.aa:
                heads, head = bases, base
            pairs = self._pairs(heads, bases, ends)
            asked = [p for p in pairs if p.base is not None and (self._wanted.aa or not p.same)]
            self._read_suites(pairs, heads, bases)
            if not self._wanted.aa:
                rows = self._wiring.store.all() if asked else []
                for pair in asked:
                    own = [row for row in rows if row.pipeline == pair.name]
                    self._find(pair, ends.base, own)
                for pair in pairs:
                    if pair.base is not None:
                        self._compare_questions(pair, heads, bases)
            if asked and (self._wanted.aa or self._wanted.run_missing):
                self._measure(asked, heads, bases)
            gone = self._gone(heads, bases)
            notes = self._notes(ends, gone)
            judged = self._judge(asked) if asked else {}
            self._confirm([p for p in asked if p.limits.confirm], judged, heads, bases)
        decided = [self._told(judged.get(pair.name) or blank(pair), pair) for pair in pairs]
        decided = [doubted(found, pair) for found, pair in zip(decided, pairs, strict=True)]
        missing = any(found.base is None and not found.new for found in decided)
        counted = [found.outcome for found in decided if not found.new]
        found = Comparison(base, head, worst(counted), tuple(decided), missing, notes)
        if self._wanted.aa or not (gone or any(map(needs_acceptance, found.pipelines))):
            return found
        warn = (lambda _: None) if self._quiet else self._wiring.warn
        accepted = acceptances(self._wiring, ends.base, ends.head, warn)
        found = accept(found, accepted)
        if not gone - {each.subject for each in accepted}:
            return found
        return replace(found, outcome=worst([found.outcome, "inconclusive"]))

    def _confirm(
        self,
        pairs: Sequence[Pair],
        judged: dict[str, PipelineComparison],
        heads: Bench,
        bases: Bench,
    ) -> None:
        """Draw both sides again of what degraded, where its tests want that."""
        for pair in pairs:
            found = judged[pair.name]
            if found.outcome != "degraded" or self._wanted.aa:
                continue
            if not self._wanted.run_missing:
                pair.notes.append("not confirmed by a second measurement: --run-missing makes one")
                continue
            from loomgit.harness.comparison import confirmed, decide

            try:
                fresh = self._completing(heads, bases).again(pair)
            except Untrusted as error:
                pair.notes.append(f"not confirmed by a second measurement: {error.message}")
                continue
            (again,) = decide([_draft(pair, *fresh)])
            judged[pair.name] = confirmed(found, again)

    def _measure(self, pairs: Sequence[Pair], heads: Bench, bases: Bench) -> None:
        completing = self._completing(heads, bases)
        for pair in pairs:
            try:
                if self._wanted.aa:
                    completing.against_itself(pair)
                else:
                    completing.complete(pair)
            except Untrusted as error:
                if self._quiet:
                    raise
                pair.notes += [error.message, error.hint or ""]

    def _completing(self, heads: Bench, bases: Bench) -> Completing:
        from loomgit.comparisons.completing import Completing

        if self._made is None:
            self._made = Completing(heads, bases, self._wanted, self._progress)
        return self._made

    def _bench(self, tree: str | None, stack: ExitStack) -> Bench:
        if tree is None:
            return Bench(self._wiring, lazy=True)
        there = self._wiring.at(tree)
        stack.callback(there.close)
        return Bench(there, lazy=True)

    def _gone(self, heads: Bench, bases: Bench) -> set[str]:
        """The pipelines that only the baseline has; with a selection nobody asked for them."""
        if self._wanted.pipelines or self._wanted.select:
            return set()
        return set(bases.catalog.pipeline_names()) - set(heads.catalog.pipeline_names())

    def _notes(self, ends: Ends, gone: Iterable[str]) -> tuple[str, ...]:
        notes = []
        if ends.base == ends.head and not self._wanted.aa:
            notes.append("both sides are the same commit")
        notes += [f"pipeline {name} is gone" for name in sorted(gone)]
        return tuple(notes)

    # -- both sides of each pipeline, and what is stored of them

    def _pairs(self, heads: Bench, bases: Bench, ends: Ends) -> list[Pair]:
        assert ends.base is not None
        wanted = self._wanted
        names = heads.catalog.pipeline_names()
        if wanted.pipelines or wanted.select:
            from loomgit.wiring.selection import Selecting

            selecting = Selecting(heads.wiring, lambda: ends, wanted.variables)
            chosen = selecting.choose(wanted.pipelines, wanted.select).chosen
            names = [selected.name for selected in chosen]
        return [self._pair(name, heads, bases) for name in names]

    def _pair(self, name: str, heads: Bench, bases: Bench) -> Pair:
        variables = self._wanted.variables
        head = heads.subject(name, variables=variables)
        if self._wanted.aa:
            return Pair(head, head, ["the baseline against itself"])
        if name not in bases.catalog.pipeline_names():
            return Pair(head, notes=["the baseline has no such pipeline"], new=True)
        base = readable(bases, name, variables)
        if isinstance(base, str):
            return Pair(head, notes=[f"the baseline's pipeline cannot be used: {base}"])
        return Pair(head, base, inputs=changed_inputs(base, head))

    def _read_suites(self, pairs: Sequence[Pair], heads: Bench, bases: Bench) -> None:
        """The test files of the pipelines, and what decides by them."""
        suites, broken = heads.catalog.sound_suites()
        names = {pair.name for pair in pairs}
        raise_or_warn(
            broken,
            lambda each: each.pipeline in names or bool(changed_files(heads, bases, [each.path])),
            (lambda _: None) if self._quiet else self._wiring.warn,
        )
        before = bases.catalog.sound_suites()[0]
        for pair in pairs:
            pair.suites = [suite for suite in suites if suite.pipeline == pair.name]
            own = [suite for suite in before if suite.pipeline == pair.name]
            set_limits(pair, own, self._wanted)

    def _compare_questions(self, pair: Pair, heads: Bench, bases: Bench) -> None:
        """Find the cases of a pipeline that are not the same on both sides."""
        assert pair.base is not None
        before = [suite for suite in bases.catalog.sound_suites()[0] if suite.pipeline == pair.name]
        if not before and not pair.same:
            try:
                bases.suites(pair.name)
            except LoomError as error:
                pair.notes.append(f"the baseline's own cases cannot be read: {first_line(error)}")
            return  # the first tests of a pipeline: what they ask is no new case
        files = [*question_files(pair.base, before), *question_files(pair.head, pair.suites)]
        if not changed_files(heads, bases, files):
            return
        try:
            pair.cases = compare_questions(bases, pair.base, heads, pair.head, pair.suites)
        except LoomError as error:
            pair.cases = CaseLists(fault=f"the cases cannot be compared: {first_line(error)}")

    def _find(self, pair: Pair, base: str, rows: Sequence[RunSummary]) -> None:
        """What is stored: of today's question first, then of the baseline's own, then older."""
        assert pair.base is not None
        evidence = Evidence(self._wiring.store, pair.name, rows)
        prints = [Bench(self._wiring).asked_as(pair.base, pair.head).fingerprint]
        if not self._wanted.run_missing:
            prints.append(pair.base.fingerprint)
        kinds = [TEST] if self._wanted.run_missing and pair.suites else KINDS
        found: list[tuple[Measured | None, Measured | None]] = []
        for kind in kinds:
            head = evidence.find(pair.head.fingerprint, kind, whole=self._wanted.run_missing)
            # A part of the answers to the very same content says more than all of another's.
            sought = [(p, True) for p in prints]
            sought += [] if self._wanted.run_missing else [(p, False) for p in prints]
            sides = (evidence.find(p, kind, whole=whole) for p, whole in sought)
            found.append((next((one for one in sides if one is not None), None), head))
        best = max(found, key=_sides)
        pair.kind = kinds[found.index(best)]
        if best[0] is None and not self._wanted.run_missing:
            commits = self._baselines.ancestors(base)
            model, asked = pair.base.plan.model, self._wanted.variables
            older = [(evidence.find_at(commits, kind, model, asked), two) for kind, (_, two) in
                     zip(kinds, found, strict=True)]  # fmt: skip
            best = max(older, key=lambda sides: (sides[1] is not None, _sides(sides)))
            if best[0] is not None and (behind := best[0].side.behind):
                pair.notes.append(f"baseline: {behind} commit{'s' if behind > 1 else ''} older")
        pair.found = best
        if best[1] is None:
            pair.head.compiled()  # a prompt that is none is said, and not that it has no results

    def _judge(self, pairs: Sequence[Pair]) -> dict[str, PipelineComparison]:
        from loomgit.harness.comparison import decide

        drafts = [_draft(pair, *pair.found) for pair in pairs]
        return {found.pipeline: found for found in decide(drafts)}

    def _told(self, found: PipelineComparison, pair: Pair) -> PipelineComparison:
        """The comparison with what is known of the pair; versions as they are called now."""
        notes = (*pair.notes, *found.notes)
        absent = None in (found.base, found.head)
        if pair.base is not None and absent and not (self._wanted.run_missing or self._quiet):
            notes = (*notes, "run the tests there, or say --run-missing to measure what is missing")
        base, head = found.base, found.head
        if base is not None and pair.base is not None and not base.behind:
            base = replace(base, prompt_version=pair.base.plan.prompt.name)
        if head is not None:
            head = replace(head, prompt_version=pair.head.plan.prompt.name)
        looser = tuple(map(str, pair.looser))
        return replace(
            found,
            new=pair.new,
            base=base,
            head=head,
            inputs=pair.inputs,
            notes=notes,
            looser=looser,
        )


def _draft(pair: Pair, base: Measured | None, head: Measured | None) -> Draft:
    """The comparison of both sides of a pair, before the pipelines are decided together."""
    from loomgit.harness.comparison import compare_sides

    own = with_own_cases(base, pair)
    return compare_sides(pair.name, own, head, pair.limits, pair.evaluate)


def _load_statistics() -> None:
    """Imports them while the main thread waits for Git: that takes each of them a tenth of a
    second."""
    with suppress(ImportError):  # the main thread will meet it, and say so
        import loomgit.harness.comparison  # noqa: F401


def _sides(found: tuple[Measured | None, Measured | None]) -> int:
    return sum(side is not None for side in found)
