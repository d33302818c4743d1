"""Quality gates: from the assessments of one record to passed or not, with the reason."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.definitions import Gate
    from loomgit.domain.records import Assessment


class Decision(Struct, frozen=True):
    """A gate's answer for one record; `reason` is empty when it passed."""

    passed: bool
    reason: str = ""


PASSED = Decision(passed=True)
ROUNDING = 1e-12  # a mean that is the threshold but for binary fractions passes


def decide(gate: Gate, assessments: Sequence[Assessment]) -> Decision:
    """Apply `gate`; no assessments pass any gate.

    An evaluator that erred has no score: it counts as not passed, and under `weighted` the record
    fails, since a mean without it would answer another question.
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
    value, threshold = show_pair(assessment.score.value, assessment.threshold, 2)
    return f"{assessment.name} {value} < {threshold}"


def _weighted(threshold: float, assessments: Sequence[Assessment]) -> Decision:
    erred = [a for a in assessments if a.score is None]
    if erred:
        return Decision(False, "; ".join(_fault(a) for a in erred))
    weights = math.fsum(a.weight for a in assessments)
    mean = math.fsum(a.score.value * a.weight for a in assessments if a.score) / weights
    if mean >= threshold - ROUNDING:
        return PASSED
    value, limit = show_pair(mean, threshold, 3)
    return Decision(False, f"weighted average {value} < {limit}")


def show_pair(value: float, limit: float, digits: int) -> tuple[str, str]:
    """Both numbers with just as many digits as it takes to tell them apart, `digits` at least.

    The limit keeps two digits where those say it whole (`0.729 < 0.75`).
    """
    shown = digits
    while f"{value:.{shown}f}" == f"{limit:.{shown}f}" and value != limit and shown < 12:
        shown += 1
    exact = 2
    while round(limit, exact) != limit and exact < 12:
        exact += 1
    return f"{value:.{shown}f}", f"{limit:.{exact}f}"
