"""Converts newly drawn samples to one side of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.comparison import CaseAmounts, MeasuredSide, Side
from loomgit.harness.results import judge_models, served_models, side_cases

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.samples import CaseSamples
    from loomgit.pipeline.plan import Plan


def measured_now(plan: Plan, cases: Sequence[CaseSamples], commit: str = "") -> MeasuredSide:
    """Return new samples as one side of a comparison.

    `cases` contains the samples. They must have been drawn for `plan`.
    """
    side = Side(commit, plan.fingerprint(), plan.prompt.name, plan.model, measured=True)
    judges = {name: tuple(models) for name, models in judge_models(cases).items()}
    return MeasuredSide(
        side,
        side_cases(cases),
        plan.question(),
        judges,
        tuple(served_models(cases)),
        sample_amounts(cases),
    )


def sample_amounts(cases: Iterable[CaseSamples]) -> dict[tuple[str, str], CaseAmounts]:
    """Return the costs (USD) and latencies (seconds) of the samples of each case.

    The keys are (case id, case definition). The cost and latency of a lost sample are None.
    """
    return {
        (case.id, case.definition): CaseAmounts(
            cost=tuple(None if sample.lost else sample.cost for sample in case.samples),
            latency=tuple(None if sample.lost else sample.latency for sample in case.samples),
        )
        for case in cases
    }
