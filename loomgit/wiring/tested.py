"""What test files say of their pipeline that the pipeline does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.assertions import evaluators_in
from loomgit.domain.place import Problem
from loomgit.domain.suites import IntegrationCase, Statistical, UnitCase
from loomgit.domain.words import one_of
from loomgit.errors import LoomError, ProblemsFound
from loomgit.wiring.catalog import Catalog
from loomgit.wiring.consistency import outside_output
from loomgit.wiring.planning import Planning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.suites import Assertion, Suite
    from loomgit.wiring.project import Wiring


def unknown_evaluators(suite: Suite, pipeline: Pipeline) -> list[Problem]:
    """Each `score.NAME` in a test file's assertions that names no evaluator of its pipeline."""
    names = [spec.name for spec in pipeline.evaluate.evaluators]
    return [
        Problem(
            name.place,
            f"pipeline {pipeline.name} has no evaluator '{wanted}'",
            one_of(wanted, names, "it has") or "it has none",
        )
        for assertion in _assertions(suite)
        for wanted, name in evaluators_in(assertion.tree)
        if wanted not in names
    ]


def misfits(suite: Suite, catalog: Catalog, planning: Planning) -> list[Problem]:
    """Where a test file and its pipeline do not fit, or the pipeline contradicts itself.

    A pipeline that cannot be read is no fault of the test file.
    """
    try:
        pipeline = catalog.pipeline(suite.pipeline)
    except LoomError:
        return []
    return [
        *planning.refusals(pipeline),
        *unknown_evaluators(suite, pipeline),
        *outside_output(suite, planning.declared_output(pipeline)),
    ]


def checked_suite(wiring: Wiring, path: str) -> Suite:
    """The test file at the project's `path`, which fits its pipeline.

    Raises UserError or ProblemsFound.
    """
    suite = Catalog(wiring).suite(path)
    require_fit([suite], wiring)
    return suite


def require_fit(suites: Iterable[Suite], wiring: Wiring) -> None:
    """Raise ProblemsFound with what does not fit between test files and their pipelines."""
    catalog, planning = Catalog(wiring), Planning(wiring)
    problems = [each for suite in suites for each in misfits(suite, catalog, planning)]
    if problems:
        raise ProblemsFound(list(dict.fromkeys(problems)))


def _assertions(suite: Suite) -> Iterator[Assertion]:
    for test in (*suite.unit_tests, *suite.distributional_tests, *suite.integration_tests):
        if isinstance(test, UnitCase | Statistical | IntegrationCase):
            yield from test.assertions
