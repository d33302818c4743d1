"""Sets the limits for comparing a pipeline, and compares pairs that need no measurement.

A pair needs no measurement if it has only one side, or if both sides give the same results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.comparison.differences import changed_parts
from loomgit.domain.comparison import (
    MAX_LOST_SHARE,
    Limits,
    PipelineComparison,
    Side,
    lost_note,
    with_changed_question,
)
from loomgit.domain.suites import Regression
from loomgit.harness.policies import (
    policy_limits,
    stricter_evaluate,
    stricter_limits,
    stricter_suite,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.suites import Suite
    from loomgit.workflows.comparing.request import ComparisonRequest, PipelinePair


def mark_changed_evaluators(
    comparison: PipelineComparison, pair: PipelinePair
) -> PipelineComparison:
    """Return the comparison. If the head changed the evaluators, a good outcome is not kept.

    It becomes `inconclusive`, because the head's evaluators judge both sides, and they may be
    more lenient than the baseline's evaluators.
    """
    if pair.base is None or comparison.outcome == "not_comparable":
        return comparison
    parts = changed_parts(pair.base.plan.judging(), pair.head.plan.judging())
    return with_changed_question(comparison, parts)


def without_results(pair: PipelinePair) -> PipelineComparison:
    """Return the comparison of a pair that needs no measurement.

    Such a pair has equal versions, or the baseline has no usable version of the pipeline.
    """
    if not pair.same:
        return PipelineComparison(pair.name, "inconclusive")
    plan, cases = pair.head.plan, pair.cases
    side = Side("", pair.head.fingerprint, plan.prompt.name, plan.model)
    comparison = PipelineComparison(
        pair.name,
        "unchanged",
        base=side,
        head=side,
        removed=cases.removed,
        changed=cases.changed,
        added=cases.added,
        compared=max(0, cases.total - len(cases.removed) - len(cases.changed)),
        may_lose=pair.limits.allow_removed,
        strict=pair.limits.strict,
    )
    if cases.lost <= MAX_LOST_SHARE or pair.limits.allow_removed:
        return comparison
    note = cases.fault or lost_note(cases.lost)
    return replace(comparison, outcome="inconclusive", notes=(note,))


def set_limits(pair: PipelinePair, base: Sequence[Suite], request: ComparisonRequest) -> None:
    """Set the limits, thresholds and test files of a pair.

    Each setting gets the stricter of its two values at base and head. Limits in the request replace
    the limits of the tests. `base` contains the baseline's test files.
    """
    limits = limits_of(pair.suites)
    name = pair.name
    if pair.base is not None:
        evaluates = (side.plan.pipeline.evaluate for side in (pair.base, pair.head))
        pair.evaluate, pair.looser = stricter_evaluate(name, *evaluates)
    if pair.base is not None and base:
        versions = [stricter_suite(base, suite) for suite in pair.suites]
        pair.suites = [suite for suite, _ in versions]
        loosened = [setting for _, settings in versions for setting in settings]
        limits, looser = stricter_limits(name, limits_of(base), limits_of(pair.suites))
        pair.looser = (*loosened, *looser, *pair.looser)
    pair.limits = replace(
        limits,
        unpaired=request.unpaired,
        max_drop=limits.max_drop if request.max_drop is None else request.max_drop,
        max_rise=limits.max_rise if request.max_rise is None else request.max_rise,
        allow_removed=limits.allow_removed or request.allow_removed,
    )


def limits_of(suites: Sequence[Suite]) -> Limits:
    """Return the limits of the first regression test in the test files.

    If there is no regression test, return the default limits of the first file. If there are no
    files, return Loom's default limits.
    """
    regressions = [
        test.policy
        for suite in suites
        for test in suite.distributional_tests
        if isinstance(test, Regression)
    ]
    for policy in (*regressions, *(suite.defaults for suite in suites)):
        return policy_limits(policy)
    return Limits()
