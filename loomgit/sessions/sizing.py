"""How large a comparison of a pipeline must be, by the results that the store has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.power import Sizing
from loomgit.domain.suites import Policy, Regression
from loomgit.errors import UserError
from loomgit.harness.power import plan_metrics
from loomgit.history.evidence import KINDS, Evidence
from loomgit.sessions.standard import Standards
from loomgit.wiring.bench import Bench

if TYPE_CHECKING:
    from loomgit.domain.comparison import Measured
    from loomgit.domain.power import Wish
    from loomgit.wiring.bench import Subject
    from loomgit.wiring.project import Wiring


def size(wiring: Wiring, pipeline: str, wish: Wish) -> Sizing:
    """What a pipeline needs, from the baseline's results, else from the newest there are.

    Raises UserError where there are none, or where they have no scores.
    """
    bench = Bench(wiring)
    subject = bench.subject(pipeline)
    limit = _max_drop(bench, pipeline) if wish.max_drop is None else wish.max_drop
    measured, basis = _results(wiring, subject)
    metrics = plan_metrics(
        measured.cases, wish.drop, limit, samples=wish.samples, failures=wish.failures
    )
    if not metrics:
        raise UserError(f"{pipeline}: fewer than two scores to estimate from ({basis})")
    return Sizing(pipeline, subject.plan.pipeline.version, basis, wish, limit, tuple(metrics))


def _max_drop(bench: Bench, pipeline: str) -> float:
    """What the pipeline's tests accept: the strictest regression test's word, else the files'."""
    suites = bench.suites(pipeline)
    tests = [test for suite in suites for test in suite.distributional_tests]
    said = [test.policy.max_drop for test in tests if isinstance(test, Regression)]
    said = said or [suite.defaults.max_drop for suite in suites]
    return min(said, default=Policy().max_drop)


def _results(wiring: Wiring, subject: Subject) -> tuple[Measured, str]:
    standards = Standards(wiring)
    try:
        standard = standards.find(subject, None)
    finally:
        standards.close()
    if standard.measured is not None:
        return standard.measured, f"results of {standard.name}"
    evidence = Evidence(wiring.store, subject.plan.pipeline.name)
    for kind in KINDS:
        found = evidence.find(subject.fingerprint, kind, whole=False)
        if found is not None:
            return found, f"results of today's content ({len(found.side.runs)} runs)"
    name = subject.plan.pipeline.name
    raise UserError(
        f"{name}: there are no results to estimate from",
        hint=f"`loom test {name} --samples 3` makes some",
    )
