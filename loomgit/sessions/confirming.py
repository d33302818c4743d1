"""A regression test that failed, measured once more: both sides draw samples that neither had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.samples import CaseSamples
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.sessions.subjects import Subjects
from loomgit.sessions.supply import Supply
from loomgit.wiring.bench import Sampled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.records import Record
    from loomgit.domain.samples import Sample
    from loomgit.domain.suites import Policy
    from loomgit.harness.cases import TestCase
    from loomgit.harness.session import Draw
    from loomgit.sessions.standard import Standard
    from loomgit.sessions.subjects import Asked


class Fresh(Struct, frozen=True):
    """Both sides drawn again; `why` says what of that could not be, and is empty where it was."""

    candidate: tuple[CaseSamples, ...] = ()
    baseline: tuple[CaseSamples, ...] = ()
    why: str = ""

    @property
    def samples(self) -> Iterator[Sample]:
        """All samples of both sides."""
        for case in (*self.candidate, *self.baseline):
            yield from case.samples

    @property
    def sides(self) -> tuple[Sequence[CaseSamples], Sequence[CaseSamples]] | None:
        """Candidate and baseline, where they may be judged by."""
        return None if self.why else (self.candidate, self.baseline)


class Confirming(Struct, frozen=True):
    """Draws both sides of a comparison again, the baseline's as its own tree has it."""

    subjects: Subjects
    supply: Supply

    def draw(
        self, asked: Asked, records: Sequence[Record], policy: Policy, standard: Standard
    ) -> Fresh:
        """As many samples of each case again, of those that were compared."""
        if standard.subject is None:
            return Fresh(why="the baseline cannot be asked")
        try:
            before = self.subjects.ask_baseline(standard.subject, asked)
            pairs = list(_pairs(asked, before, records, standard))
            cases = [Sampled(case, policy.samples, policy.samples) for _, case, _ in pairs]
            if faults := self.subjects.bench.unanswerable(before.subject, cases):
                raise ProblemsFound(faults)
        except LoomError as error:
            line = str(error.problems[0]) if isinstance(error, ProblemsFound) else error.message
            return Fresh(why=f"the baseline cannot be asked: {line}")
        count = policy.samples
        rows = [
            (side, case, [side.draw(case, index) for index in range(first, first + count)])
            for now, then, used in pairs
            for side, case, first in ((asked, now, count), (before, then, used))
        ]
        try:
            return self._take(asked, rows, policy.max_error_rate)
        except UserError as error:
            return Fresh(why=error.message)

    def _take(
        self, asked: Asked, rows: Sequence[tuple[Asked, TestCase, list[Draw]]], most: float
    ) -> Fresh:
        everything = [draw for _, _, draws in rows for draw in draws]
        self.supply.start(everything, self.subjects.concurrency())
        sides: tuple[list[CaseSamples], list[CaseSamples]] = [], []
        for side, case, draws in rows:
            taken = tuple(self.supply.take(draw) for draw in draws)
            made = CaseSamples(case.id, case.key, case.definition, case.record.input, taken)
            sides[side is not asked].append(made)
        lost = [sample for side in sides for case in side for sample in case.samples if sample.lost]
        why = lost[0].failure if len(lost) > most * len(everything) else ""
        return Fresh(tuple(sides[0]), tuple(sides[1]), why)


def _pairs(
    asked: Asked, before: Asked, records: Sequence[Record], standard: Standard
) -> Iterator[tuple[TestCase, TestCase, int]]:
    """The cases that the baseline has results of, as both sides ask them, and the first index that
    it has no sample at."""
    held = {case.id: case for case in standard.cases}
    for record in records:
        now = asked.case(record)
        known = held.get(now.id)
        if known is not None and known.definition == now.definition:
            first = 1 + max((sample.index for sample in known.samples), default=-1)
            yield now, before.case(record), first
