"""A test file's text -> its suite, or all of its faults."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from loomgit.config.evaluators import duplicate_names, evaluator_faults, evaluator_spec
from loomgit.config.parts import all_of, check
from loomgit.config.scalars import parse_number
from loomgit.config.tests_model import (
    CostModel,
    DistributionalModel,
    DriftModel,
    HallucinationModel,
    IntegrationModel,
    LatencyModel,
    PolicyModel,
    RegressionModel,
    StatisticalModel,
    SuiteModel,
    UnitModel,
)
from loomgit.config.yamltext import parse_yaml
from loomgit.domain.suites import (
    Assertion,
    CostBudget,
    Distributional,
    Drift,
    HallucinationRate,
    IntegrationCase,
    LatencyLimit,
    Policy,
    Regression,
    Statistical,
    Step,
    StepStage,
    Suite,
    UnitCase,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from loomgit.config.document import Document, Path
    from loomgit.domain.place import Problem

GROUPS = ("unit_tests", "distributional_tests", "integration_tests")
STAGES: tuple[StepStage, ...] = ("extract", "transform", "evaluate", "load")
FIRST_NUMBER = re.compile(r"[0-9][0-9,_]*")


def parse_suite(text: str, path: str, *, known_evaluators: Collection[str] = frozenset()) -> Suite:
    """Read a test file; `path` is relative to the project, for messages and places.

    Raises ProblemsFound with every fault. Assertions stay text: their language has its own parser.
    """
    document = parse_yaml(text, path)
    model = check(SuiteModel, document)
    problems = [*document.problems, *_rules(document, known_evaluators)]
    if isinstance(model, list):
        raise all_of([*problems, *model])
    if problems:
        raise all_of(problems)
    return _suite(model, document)


def _rules(document: Document, known: Collection[str]) -> Iterator[Problem]:
    """The faults that lie between keys."""
    silent = all(document.find((group,)) is None for group in GROUPS)
    if silent and set(document.tree) <= set(SuiteModel.keys()):
        yield document.problem((), "no tests", f"write one of: {', '.join(GROUPS)}")
    for group in GROUPS:
        paths = _items(document, (group,))
        yield from duplicate_names(document, paths)
        for path in paths:
            yield from _enough(document, path, "min_pass", "samples")
            yield from _enough(document, path, "samples", "max_samples")
            for step in _items(document, (*path, "steps")):
                yield from _one_stage(document, step)
            if document.find((*path, "evaluator")) is not None:
                yield from evaluator_faults(document, (*path, "evaluator"), known)
    yield from _enough(document, ("defaults",), "samples", "max_samples")


def _items(document: Document, path: Path) -> list[Path]:
    found = document.find(path)
    return [(*path, index) for index in range(len(found))] if isinstance(found, list) else []


def _enough(document: Document, path: Path, fewer: str, more: str) -> Iterator[Problem]:
    """`fewer` may not exceed `more`; what a test does not say, the defaults do."""
    low, high = (parse_number(str(_effective(document, path, key))) for key in (fewer, more))
    if low is None or high is None or low <= high:
        return
    if document.find((*path, fewer)) is None and document.find((*path, more)) is None:
        return  # the defaults' own fault, said there
    place = (*path, fewer) if document.find((*path, fewer)) is not None else (*path, more)
    yield document.problem(place, f"{fewer} {low:g} is above {more} {high:g}")


def _effective(document: Document, path: Path, key: str) -> object:
    written = document.find((*path, key))
    if written is None:
        written = document.find(("defaults", key))
    return "1" if written is None and key == "samples" else written


def _one_stage(document: Document, path: Path) -> Iterator[Problem]:
    step = document.find(path)
    if isinstance(step, dict) and len(step) != 1 and set(step) <= set(STAGES):
        hint = "write '- extract: ...' and '- load: ...' as items of their own"
        yield document.problem(path, f"a step is one stage, found {len(step)}", hint)


def _policy(model: PolicyModel, otherwise: Policy) -> Policy:
    """The test's own words over those of `otherwise`."""
    said = {
        name: value
        for name in PolicyModel.model_fields
        if (value := getattr(model, name)) is not None
    }
    return replace(otherwise, **said)


def _assertions(texts: tuple[str, ...], document: Document, path: Path) -> tuple[Assertion, ...]:
    where = (*path, "assertions")
    return tuple(
        Assertion(text, document.text_place((*where, index))) for index, text in enumerate(texts)
    )


def _suite(model: SuiteModel, document: Document) -> Suite:
    defaults = _policy(model.defaults or PolicyModel.model_construct(), Policy())
    return Suite(
        pipeline=model.pipeline,
        path=document.path,
        dataset=model.dataset,
        defaults=defaults,
        unit_tests=tuple(
            _unit(test, document, ("unit_tests", index), defaults)
            for index, test in enumerate(model.unit_tests)
        ),
        distributional_tests=tuple(
            _distributional(test, document, ("distributional_tests", index), defaults)
            for index, test in enumerate(model.distributional_tests)
        ),
        integration_tests=tuple(
            _integration(test, document, ("integration_tests", index), defaults)
            for index, test in enumerate(model.integration_tests)
        ),
        places=document.places(),
    )


def _unit(test: UnitModel, document: Document, path: Path, defaults: Policy) -> UnitCase:
    return UnitCase(
        name=test.name,
        place=document.place(path),
        input=test.input,
        expected=test.expected,
        assertions=_assertions(test.assertions, document, path),
        min_pass=test.min_pass,
        policy=_policy(test, defaults),
    )


def _distributional(
    test: DistributionalModel, document: Document, path: Path, defaults: Policy
) -> Distributional:
    name, place, size = test.name, document.place(path), test.sample_size
    policy = _policy(test, defaults)
    match test:
        case StatisticalModel():
            assertions = _assertions(test.assertions, document, path)
            return Statistical(name, place, assertions, size, policy)
        case HallucinationModel():
            evaluator = evaluator_spec(test.evaluator) if test.evaluator else None
            return HallucinationRate(name, place, test.threshold, evaluator, size, policy)
        case CostModel():
            return CostBudget(name, place, test.max_cost, size, policy)
        case LatencyModel():
            return LatencyLimit(name, place, test.p95, size, policy)
        case RegressionModel():
            return Regression(name, place, test.baseline, size, policy)
        case DriftModel():
            return Drift(name, place, test.baseline, size, policy, test.field)
        case _:
            raise AssertionError(f"no such test: {test!r}")


def _integration(
    test: IntegrationModel, document: Document, path: Path, defaults: Policy
) -> IntegrationCase:
    steps = tuple(
        Step(stage, text)
        for step in test.steps
        for stage in STAGES
        if (text := getattr(step, stage)) is not None
    )
    extracts = " ".join(step.text for step in steps if step.stage == "extract")
    number = FIRST_NUMBER.search(extracts)
    return IntegrationCase(
        name=test.name,
        place=document.place(path),
        steps=steps,
        assertions=_assertions(test.assertions, document, path),
        records=int(number[0].replace(",", "").replace("_", "")) if number else None,
        destination=test.destination,
        policy=_policy(test, defaults),
    )
