"""Checks that test files fit their pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.assertions import evaluators_in
from loomgit.domain.place import Place, Problem
from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.suites import IntegrationCase, Statistical, UnitCase
from loomgit.domain.variables import merge_variables
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.wiring.consistency import unknown_expected_fields
from loomgit.wiring.planning import Planning
from loomgit.wiring.revision import ProjectRevision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.suites import Assertion, Suite
    from loomgit.domain.values import JsonMapping
    from loomgit.wiring.catalog import Catalog
    from loomgit.wiring.project import Wiring


def unknown_evaluators(suite: Suite, pipeline: Pipeline) -> list[Problem]:
    """Return a problem for each unknown evaluator in the `score.NAME` terms of a test file."""
    names = [spec.name for spec in pipeline.evaluate.evaluators]
    return [
        Problem(
            name.place,
            f"pipeline {pipeline.name} has no evaluator '{evaluator}'",
            suggest_or_list(evaluator, names, "it has") or "it has no evaluators",
        )
        for assertion in _assertions(suite)
        for evaluator, name in evaluators_in(assertion.tree)
        if evaluator not in names
    ]


def wrong_variables(suite: Suite, pipeline: Pipeline) -> list[Problem]:
    """Return a problem for each text in `vars` of a test file that cannot have the type of the
    pipeline's default."""
    problems: list[Problem] = []
    for name, value in suite.given.variables.items():
        try:
            merge_variables(pipeline.vars, {name: value})
        except UserError as error:
            place = suite.places.get(f"vars.{name}") or Place(suite.path)
            problems.append(Problem(place, f"vars.{name}: {error.message}"))
    return problems


def contradictions(suite: Suite, pipeline: Pipeline, output: JsonMapping | None) -> list[Problem]:
    """Return the contradictions between a test file and its pipeline. `output` is the JSON Schema
    of the pipeline's output, or None if it is unknown."""
    return [
        *unknown_evaluators(suite, pipeline),
        *unknown_expected_fields(suite, output),
        *wrong_variables(suite, pipeline),
    ]


def find_misfits(suite: Suite, catalog: Catalog, planning: Planning) -> list[Problem]:
    """Return the contradictions between a test file and its pipeline, and within the pipeline.

    The result is empty if the pipeline cannot be read, because that is not a fault of the test
    file.
    """
    try:
        pipeline = catalog.pipeline(suite.pipeline)
    except LoomError:
        return []
    problems = contradictions(suite, pipeline, planning.declared_output(pipeline))
    if not problems:
        try:  # the values of the command line
            planning.variables(pipeline, ProjectRevision(planning.wiring).given(suite).variables)
        except ProblemsFound as error:
            problems = list(error.problems)
    return [*planning.refusals(pipeline), *problems]


def load_suite(wiring: Wiring, path: str) -> Suite:
    """Read the project's test file at `path`, and check that it fits its pipeline.

    Raises UserError or ProblemsFound.
    """
    suite = wiring.catalog.suite(path)
    require_fit([suite], wiring)
    return suite


def require_fit(suites: Iterable[Suite], wiring: Wiring) -> None:
    """Raise ProblemsFound if a test file does not fit its pipeline; see `find_misfits`."""
    catalog, planning = wiring.catalog, Planning(wiring)
    problems = [problem for suite in suites for problem in find_misfits(suite, catalog, planning)]
    if problems:
        raise ProblemsFound(list(dict.fromkeys(problems)))


def _assertions(suite: Suite) -> Iterator[Assertion]:
    for test in (*suite.unit_tests, *suite.distributional_tests, *suite.integration_tests):
        if isinstance(test, UnitCase | Statistical | IntegrationCase):
            yield from test.assertions
