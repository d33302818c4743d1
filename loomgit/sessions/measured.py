"""What was measured just now, or a part of what is stored, as the side of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.comparison import Measured, Side
from loomgit.harness.results import by_case, judges_of, served_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.runs import Case
    from loomgit.domain.samples import CaseSamples
    from loomgit.pipeline.plan import Plan


def measured_now(plan: Plan, cases: Sequence[CaseSamples], commit: str = "") -> Measured:
    """The samples of a plan as a side."""
    side = Side(commit, plan.fingerprint(), plan.prompt.name, plan.model, measured=True)
    judges = {name: tuple(models) for name, models in judges_of(cases).items()}
    return Measured(side, by_case(cases), plan.question(), judges, tuple(served_of(cases)))


def part_of(measured: Measured, cases: Mapping[str, Case]) -> Measured:
    """The same side with some of its cases."""
    return replace(measured, cases=dict(cases))
