"""Completing a comparison: what has no results yet is measured, on both sides at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.comparisons.measuring import Line, measure
from loomgit.domain.samples import CaseSamples
from loomgit.errors import ProblemsFound, UserError
from loomgit.history.store import commit_folder
from loomgit.sessions.questions import own_cases, question_files
from loomgit.wiring.bench import changed_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.comparisons.pairs import Pair, Wanted
    from loomgit.domain.comparison import Measured
    from loomgit.domain.versions import Commit
    from loomgit.wiring.bench import Bench, Sampled, Subject


class Completing:
    """Measures pairs of a pipeline's versions; `heads` says what is asked today."""

    def __init__(
        self, heads: Bench, bases: Bench, wanted: Wanted, progress: Callable[[int, int], None]
    ) -> None:
        self._heads = heads
        self._bases = bases
        self._wanted = wanted
        self._progress = progress

    def against_itself(self, pair: Pair) -> None:
        """Draw the baseline twice, other samples each time."""
        heads = self._heads
        cases = heads.cases(pair.head, heads.questions(pair.head.plan.pipeline, pair.suites))
        _ask(heads, pair.head, cases)
        lines = [
            Line(pair.head, pair.head, cases, first=self._wanted.aa_from, second=second)
            for second in (False, True)
        ]
        one, two = self._measure(lines, reuse=False)
        pair.found = one, two

    def _measure(self, lines: Sequence[Line], *, reuse: bool = True) -> list[Measured]:
        return measure(
            self._heads,
            lines,
            reuse=reuse,
            replay=self._wanted.replay,
            budget=self._wanted.budget,
            outage=self._wanted.outage,
            progress=self._progress,
        )

    def complete(self, pair: Pair) -> None:
        """Draw what is missing of both sides, with today's question."""
        heads, bases = self._heads, self._bases
        if pair.by_runs and None not in pair.found:
            return
        assert pair.base is not None
        questions = list(heads.questions(pair.head.plan.pipeline, pair.suites))
        asked = heads.asked_as(pair.base, pair.head)
        before, after = (heads.cases(subject, questions) for subject in (asked, pair.head))
        _ask(heads, pair.head, after)
        if faults := heads.unanswerable(asked, before):
            pair.notes.append(f"the baseline cannot answer today's cases: {faults[0]}")
            pair.found = None, pair.found[1]
            return
        found = pair.found
        if pair.by_runs and pair.head.plan.pipeline.load.on_failure in ("retry", "fallback"):
            found = None, None  # a run asks again where a test does not
        drawn: dict[int, Line] = {}
        if not _covers(found[0], before):
            gone = tuple(self._gone(pair))
            commit = self._kept_at(bases.wiring.tree.commit)
            drawn[0] = Line(
                asked, pair.head, before, commit, stored=bool(found[0]),
                gone=gone, question_from=self._question_from(pair, asked),
            )  # fmt: skip
        if not _covers(found[1], after):
            commit = self._kept_at(lambda: heads.commit(pair.head))
            drawn[1] = Line(pair.head, pair.head, after, commit, stored=bool(found[1]))
        if drawn:
            measured = dict(zip(drawn, self._measure(list(drawn.values())), strict=True))
            found = measured.get(0, found[0]), measured.get(1, found[1])
        pair.found = found

    def _kept_at(self, commit: Callable[[], Commit]) -> Commit | None:
        """The commit at which results are stored; None if they are not."""
        return commit() if self._wanted.keep else None

    def again(self, pair: Pair) -> tuple[Measured, Measured]:
        """Both sides drawn once more, other samples than before: none of it is stored."""
        heads = self._heads
        assert pair.base is not None
        questions = list(heads.questions(pair.head.plan.pipeline, pair.suites))
        asked = heads.asked_as(pair.base, pair.head)
        lines = [
            Line(subject, pair.head, heads.cases(subject, questions), second=True)
            for subject in (asked, pair.head)
        ]
        before, after = self._measure(lines)
        return before, after

    def _question_from(self, pair: Pair, asked: Subject) -> str:
        """The head's commit, where its question or its cases are not those of the baseline's
        commit."""
        base = pair.base
        assert base is not None
        suites, _ = self._bases.catalog.sound_suites()
        before = [suite for suite in suites if suite.pipeline == pair.name]
        files = [*question_files(base, before), *question_files(pair.head, pair.suites)]
        same = asked.fingerprint == base.fingerprint
        if same and not changed_files(self._heads, self._bases, files):
            return ""
        return commit_folder(self._heads.commit(pair.head))

    def _gone(self, pair: Pair) -> Iterable[CaseSamples]:
        """The cases of the baseline's own tree that are removed."""
        base, bases = pair.base, self._bases
        assert base is not None
        if pair.cases.fault:
            pair.notes.append(pair.cases.fault)
        if not pair.cases.removed:
            return
        for case in (each.case for each in own_cases(bases, base)):
            if case.id in pair.cases.removed:
                yield CaseSamples(case.id, case.key, case.definition, case.record.input)


def _ask(heads: Bench, subject: Subject, cases: Sequence[Sampled]) -> None:
    """Raise where there is nothing to ask, or the prompt wants what no case has."""
    if not cases:
        raise UserError(f"{subject.plan.pipeline.name}: there are no cases to measure")
    if faults := heads.unanswerable(subject, cases):
        raise ProblemsFound(faults)


def _covers(found: Measured | None, cases: Sequence[Sampled]) -> bool:
    """Whether results answer all of these cases, as often as it takes."""
    if found is None:
        return False
    held = {case.key: case.samples for case in found.cases.values()}
    return all(held.get(each.case.key, 0) >= each.least for each in cases)
