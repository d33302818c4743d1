"""What decides about the two versions of a pipeline, and what their comparison cannot prove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.comparison import (
    MOST_LOST,
    Limits,
    PipelineComparison,
    Side,
    lost_note,
)
from loomgit.domain.suites import Regression
from loomgit.harness.differences import changed_parts
from loomgit.harness.policies import stricter_evaluate, stricter_limits, stricter_suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.comparisons.pairs import Pair, Wanted
    from loomgit.domain.comparison import Measured
    from loomgit.domain.suites import Suite


def doubted(found: PipelineComparison, pair: Pair) -> PipelineComparison:
    """The comparison; it is inconclusive at best if the change has changed the evaluators.

    Both sides are judged by the head's evaluators, which may be more lenient.
    """
    if pair.base is None or found.outcome == "not_comparable":
        return found
    parts = tuple(changed_parts(pair.base.plan.judging(), pair.head.plan.judging()))
    good = found.outcome in ("unchanged", "improved", "no_worse")
    return replace(
        found,
        outcome="inconclusive" if parts and good else found.outcome,
        requestioned=parts,
    )


def with_own_cases(base: Measured | None, pair: Pair) -> Measured | None:
    """The results of the baseline with the cases of its own tests only.

    A case that the head has added leaves the gate: many easy new cases would hide what the others
    lost. A case that the head has changed keeps its results under no question, so that it is listed
    as changed. Nothing is left out if the comparison is unpaired.
    """
    if base is None or pair.limits.unpaired:
        return base
    added, changed = set(pair.cases.added), set(pair.cases.changed)
    cases = {
        name: replace(case, definition="") if name in changed else case
        for name, case in base.cases.items()
        if name not in added
    }
    return replace(base, cases=cases)


def blank(pair: Pair) -> PipelineComparison:
    """The comparison of a pipeline that needs no results: nothing differs, or the baseline has no
    such pipeline."""
    if not pair.same:
        return PipelineComparison(pair.name, "inconclusive")
    plan, cases = pair.head.plan, pair.cases
    side = Side("", pair.head.fingerprint, plan.prompt.name, plan.model)
    found = PipelineComparison(
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
    if cases.lost <= MOST_LOST or pair.limits.allow_removed:
        return found
    note = cases.fault or lost_note(cases.lost)
    return replace(found, outcome="inconclusive", notes=(note,))


def set_limits(pair: Pair, base: Sequence[Suite], wanted: Wanted) -> None:
    """Set what decides about a pair, and which cases are asked: the stricter of what both versions
    of the tests say, unless the command says otherwise. `base` are the test files of the
    baseline."""
    limits = limits_of(pair.suites)
    name = pair.name
    if pair.base is not None:
        evaluates = (side.plan.pipeline.evaluate for side in (pair.base, pair.head))
        pair.evaluate, pair.looser = stricter_evaluate(name, *evaluates)
    if pair.base is not None and base:
        versions = [stricter_suite(base, suite) for suite in pair.suites]
        pair.suites = [suite for suite, _ in versions]
        loosened = [each for _, found in versions for each in found]
        limits, looser = stricter_limits(name, limits_of(base), limits_of(pair.suites))
        pair.looser = (*loosened, *looser, *pair.looser)
    pair.limits = replace(
        limits,
        unpaired=wanted.unpaired,
        max_drop=limits.max_drop if wanted.max_drop is None else wanted.max_drop,
        max_rise=limits.max_rise if wanted.max_rise is None else wanted.max_rise,
        allow_removed=limits.allow_removed or wanted.allow_removed,
    )


def limits_of(suites: Sequence[Suite]) -> Limits:
    """What test files say of a comparison: the first regression test, else the defaults of the
    first file."""
    regressions = [
        test.policy
        for suite in suites
        for test in suite.distributional_tests
        if isinstance(test, Regression)
    ]
    for policy in (*regressions, *(suite.defaults for suite in suites)):
        return Limits(
            scope=policy.scope,
            max_drop=policy.max_drop,
            max_rise=policy.max_rise,
            max_error_rate=policy.max_error_rate,
            allow_removed=policy.allow_removed,
            confirm=policy.confirm,
            strict=policy.strict,
        )
    return Limits()
