"""Measures both sides of a failed regression test again, with new samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.samples import CaseSamples
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.wiring.revision import SampledCase
from loomgit.workflows.testing.sample_pool import SamplePool
from loomgit.workflows.testing.sampled_pipelines import SampledPipelines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.records import Record
    from loomgit.domain.samples import Sample
    from loomgit.domain.suites import Policy
    from loomgit.harness.cases import TestCase
    from loomgit.harness.draws import Draw
    from loomgit.workflows.testing.baseline import TestBaseline
    from loomgit.workflows.testing.sampled_pipelines import SampledPipeline


class Remeasurement(Struct, frozen=True):
    """The new samples of both sides. `candidate` contains those of the changed version.

    `why` says why the measurement is incomplete; it is empty if the measurement is complete.
    """

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
        """The samples of the candidate and of the baseline, or None if the measurement is
        incomplete."""
        return None if self.why else (self.candidate, self.baseline)


class Remeasurer(Struct, frozen=True):
    """Measures both sides of a comparison again. The baseline is sampled with the settings of its
    own tree."""

    pipelines: SampledPipelines
    pool: SamplePool

    def draw(
        self,
        sampled: SampledPipeline,
        records: Sequence[Record],
        policy: Policy,
        baseline: TestBaseline,
    ) -> Remeasurement:
        """Draw new samples for each record that has results in the baseline.

        `policy` defines the number of samples. If the baseline cannot be measured, or a draw raises
        UserError, the result contains the reason.
        """
        if baseline.version is None:
            return Remeasurement(why="the baseline cannot be measured again")
        try:
            base = self.pipelines.get_baseline(baseline.version, sampled)
            pairs = list(_pairs(sampled, base, records, baseline))
            cases = [SampledCase(case, policy.samples, policy.samples) for _, case, _ in pairs]
            if faults := self.pipelines.revision.unanswerable(base.version, cases):
                raise ProblemsFound(faults)
        except LoomError as error:
            why = f"the baseline cannot be measured again: {error.first_problem}"
            return Remeasurement(why=why)
        count = policy.samples
        rows = [
            (side, case, [side.draw(case, index) for index in range(first, first + count)])
            for head_case, base_case, base_first in pairs
            for side, case, first in (
                (sampled, head_case, count),
                (base, base_case, base_first),
            )
        ]
        try:
            return self._take(sampled, rows, policy.max_error_rate)
        except UserError as error:
            return Remeasurement(why=error.message)

    def _take(
        self,
        sampled: SampledPipeline,
        rows: Sequence[tuple[SampledPipeline, TestCase, list[Draw]]],
        max_error_rate: float,
    ) -> Remeasurement:
        all_draws = [draw for _, _, draws in rows for draw in draws]
        self.pool.start(all_draws, self.pipelines.concurrency())
        sides: tuple[list[CaseSamples], list[CaseSamples]] = [], []
        for side, case, draws in rows:
            taken = tuple(self.pool.take(draw) for draw in draws)
            samples = CaseSamples(case.id, case.key, case.definition, case.record.input, taken)
            sides[side is not sampled].append(samples)
        why = next(filter(None, (_loss(side, max_error_rate) for side in sides)), "")
        return Remeasurement(tuple(sides[0]), tuple(sides[1]), why)


def _loss(side: Sequence[CaseSamples], max_error_rate: float) -> str:
    """Return the failure of the first lost sample if a side lost too many samples, else ""."""
    samples = [sample for case in side for sample in case.samples]
    lost = [sample for sample in samples if sample.lost]
    return lost[0].failure if len(lost) > max_error_rate * len(samples) else ""


def _pairs(
    sampled: SampledPipeline,
    base: SampledPipeline,
    records: Sequence[Record],
    baseline: TestBaseline,
) -> Iterator[tuple[TestCase, TestCase, int]]:
    """Yield (head case, base case, index) for each record that has results in the baseline.

    `index` is the index for the first new sample of the base case. It is one more than the highest
    sample index of the case in the baseline's results.
    """
    measured = {(case.id, case.definition): case for case in baseline.cases}
    for record in records:
        head_case = sampled.case(record)
        known = measured.get((head_case.id, head_case.definition))
        if known is not None:
            first = 1 + max((sample.index for sample in known.samples), default=-1)
            yield head_case, base.case(record), first
