"""Quality gates: decide whether a record passes, from the results of its evaluators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.definitions import Gate
    from loomgit.domain.records import Assessment


class Decision(Struct, frozen=True):
    """The decision of a gate about one record. `reason` is empty if the record passed."""

    passed: bool
    reason: str = ""


PASSED = Decision(passed=True)
ROUNDING = 1e-12  # a mean also passes if only a rounding error puts it below the threshold


def decide(gate: Gate, assessments: Sequence[Assessment]) -> Decision:
    """Decide whether a record passes `gate`. A record without assessments passes every gate.

    An evaluator that failed has no score and does not pass. If the gate is `weighted`, such a
    failure rejects the record, because the weighted mean must include the scores of all evaluators.
    """
    if not assessments:
        return PASSED
    if gate.type == "weighted":
        return _weighted(gate.threshold, assessments)
    passed = sum(assessment.passed for assessment in assessments)
    total = len(assessments)
    faults = "; ".join(_fault(a) for a in assessments if not a.passed)
    if gate.type == "all_pass":
        return PASSED if passed == total else Decision(False, faults)
    if gate.type == "any_pass":
        return PASSED if passed else Decision(False, f"no evaluator passed: {faults}")
    if 2 * passed > total:
        return PASSED
    share = f"majority not reached: {passed}/{total} ({passed / total:.0%})"
    return Decision(False, f"{share}: {faults}")


def _fault(assessment: Assessment) -> str:
    if assessment.score is None:
        return f"{assessment.name} failed: {assessment.error}"
    value, threshold = render_comparison(assessment.score.value, assessment.threshold, 2)
    return f"{assessment.name} {value} < {threshold}"


def _weighted(threshold: float, assessments: Sequence[Assessment]) -> Decision:
    failed = [a for a in assessments if a.score is None]
    if failed:
        return Decision(False, "; ".join(_fault(a) for a in failed))
    weights = math.fsum(a.weight for a in assessments)
    mean = math.fsum(a.score.value * a.weight for a in assessments if a.score) / weights
    if mean >= threshold - ROUNDING:
        return PASSED
    value, limit = render_comparison(mean, threshold, 3)
    return Decision(False, f"weighted average {value} < {limit}")


def render_comparison(value: float, limit: float, digits: int) -> tuple[str, str]:
    """Render both numbers with enough decimal places to show the difference between them.

    `value` gets `digits` places, or more if both numbers would otherwise look equal. `limit` gets
    two places, or more if its exact value has more. Example: `0.729 < 0.75`.
    """
    value_digits = digits
    while (
        f"{value:.{value_digits}f}" == f"{limit:.{value_digits}f}"
        and value != limit
        and value_digits < 12
    ):
        value_digits += 1
    limit_digits = 2
    while round(limit, limit_digits) != limit and limit_digits < 12:
        limit_digits += 1
    return f"{value:.{value_digits}f}", f"{limit:.{limit_digits}f}"
