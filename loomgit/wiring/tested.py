"""What test files say of their pipeline that the pipeline does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.assertions import evaluators_in
from loomgit.domain.place import Problem
from loomgit.domain.suites import IntegrationCase, Statistical, UnitCase
from loomgit.domain.words import one_of
from loomgit.errors import LoomError, ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.suites import Assertion, Suite
    from loomgit.wiring.catalog import Catalog


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


def checked_suite(catalog: Catalog, path: str) -> Suite:
    """The test file at the project's `path`, which asks for no evaluator that is not there.

    A pipeline that cannot be read is no fault of the test file. Raises UserError or ProblemsFound.
    """
    suite = catalog.suite(path)
    if not any(True for each in _assertions(suite) for _ in evaluators_in(each.tree)):
        return suite
    try:
        pipeline = catalog.pipeline(suite.pipeline)
    except LoomError:
        return suite
    if problems := unknown_evaluators(suite, pipeline):
        raise ProblemsFound(problems)
    return suite


def _assertions(suite: Suite) -> Iterator[Assertion]:
    for test in (*suite.unit_tests, *suite.distributional_tests, *suite.integration_tests):
        if isinstance(test, UnitCase | Statistical | IntegrationCase):
            yield from test.assertions
