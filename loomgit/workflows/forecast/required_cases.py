"""Computes the number of cases that a comparison of a pipeline needs to detect a drop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.comparison.power import plan_metrics
from loomgit.domain.power import SizeEstimate
from loomgit.domain.suites import Policy, Regression
from loomgit.errors import UserError
from loomgit.history.stored_results import KINDS, StoredResults
from loomgit.wiring.revision import ProjectRevision
from loomgit.workflows.testing.baseline import TestBaselines

if TYPE_CHECKING:
    from loomgit.domain.comparison import MeasuredSide
    from loomgit.domain.power import PowerTarget
    from loomgit.wiring.project import Wiring
    from loomgit.wiring.revision import PipelineVersion


def required_cases(wiring: Wiring, pipeline: str, wish: PowerTarget) -> SizeEstimate:
    """Compute the number of cases that a comparison needs to detect the drop `wish.drop`.

    The computation uses the scores of the baseline. If the baseline has no results, it uses the
    scores of the current version. Raises UserError if there are no results, or if no evaluator has
    two scores.
    """
    revision = ProjectRevision(wiring)
    version = revision.version(pipeline, given=revision.tested_values(pipeline))
    limit = _max_drop(revision, pipeline) if wish.max_drop is None else wish.max_drop
    measured, basis = _results(wiring, version)
    metrics = plan_metrics(
        measured.cases, wish.drop, limit, samples=wish.samples, failures=wish.failures
    )
    if not metrics:
        raise UserError(f"{pipeline}: fewer than two scores to estimate from ({basis})")
    return SizeEstimate(pipeline, version.plan.pipeline.version, basis, wish, limit, tuple(metrics))


def _max_drop(revision: ProjectRevision, pipeline: str) -> float:
    """Return the smallest `max_drop` of the pipeline's regression tests.

    If there are no regression tests, return the smallest `max_drop` in the defaults of the test
    files. If there are no test files, return Loom's default.
    """
    suites = revision.suites(pipeline)
    tests = [test for suite in suites for test in suite.distributional_tests]
    drops = [test.policy.max_drop for test in tests if isinstance(test, Regression)]
    drops = drops or [suite.defaults.max_drop for suite in suites]
    return min(drops, default=Policy().max_drop)


def _results(wiring: Wiring, version: PipelineVersion) -> tuple[MeasuredSide, str]:
    baselines = TestBaselines(wiring)
    try:
        baseline = baselines.find(version, None)
    finally:
        baselines.close()
    if baseline.measured is not None:
        return baseline.measured, f"results of {baseline.name}"
    stored = StoredResults(wiring.store, version.plan.pipeline.name)
    for kind in KINDS:
        measured = stored.find(version.fingerprint, kind, whole=False)
        if measured is not None:
            return measured, f"results of today's content ({len(measured.side.runs)} runs)"
    name = version.plan.pipeline.name
    raise UserError(
        f"{name}: there are no results to estimate from",
        hint=f"run `loom test {name} --samples 3` first",
    )
