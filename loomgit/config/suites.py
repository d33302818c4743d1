"""A test file's text -> its suite, or all of its faults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.config.assertion_names import name_hint, sort_of
from loomgit.config.assertion_text import Layout
from loomgit.config.assertions import parse_assertion
from loomgit.config.document import Path, dotted, shorten
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
from loomgit.domain.assertions import Name
from loomgit.domain.place import Problem
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
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from loomgit.config.document import Document
    from loomgit.domain.assertions import Kind

GROUPS: dict[str, Kind] = {
    "unit_tests": "unit",
    "distributional_tests": "distributional",
    "integration_tests": "integration",
}
STAGES: tuple[StepStage, ...] = ("extract", "transform", "evaluate", "load")
FIRST_NUMBER = re.compile(r"[0-9][0-9,_]*")


def parse_suite(text: str, path: str, *, known_evaluators: Collection[str] = frozenset()) -> Suite:
    """Read a test file; `path` is relative to the project, for messages and places.

    Raises ProblemsFound with every fault, those of its assertions too.
    """
    document = parse_yaml(text, path)
    model = check(SuiteModel, document)
    read = _read_assertions(document, text)
    problems = [*document.problems, *_rules(document, known_evaluators), *read.problems]
    if isinstance(model, list):
        raise all_of([*problems, *model])
    if problems:
        raise all_of(problems)
    return _suite(model, document, read)


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
            if document.find((*path, "type")) == "drift":
                yield from _known_field(document, (*path, "field"))
            if document.find((*path, "evaluator")) is not None:
                yield from evaluator_faults(document, (*path, "evaluator"), known)
    yield from _enough(document, ("defaults",), "samples", "max_samples")


class _Assertions(Struct):
    """A file's assertions by the test they belong to, and the faults of the others."""

    found: dict[Path, list[Assertion]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def of(self, path: Path) -> tuple[Assertion, ...]:
        """The assertions of the test at `path`."""
        return tuple(self.found.get(path, ()))


def _read_assertions(document: Document, source: str) -> _Assertions:
    layout = Layout(source)
    read = _Assertions()
    for group, kind in GROUPS.items():
        for test in _items(document, (group,)):
            for at in _items(document, (*test, "assertions")):
                text = document.find(at)
                if not isinstance(text, str):
                    continue  # the model says so
                place = document.text_place(at)
                try:
                    found = parse_assertion(text, place, kind, layout, within=dotted(at))
                except ProblemsFound as error:
                    read.problems.extend(error.problems)
                else:
                    read.found.setdefault(test, []).append(found)
    return read


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


def _known_field(document: Document, path: Path) -> Iterator[Problem]:
    written = document.find(path)
    if not isinstance(written, str):
        return
    root, *parts = written.strip().split(".")
    name = Name(root, tuple(parts))
    if sort_of(name, "unit") is None:
        hint = name_hint(name, "unit") if parts else f"did you mean output.{root}?"
        yield document.problem(path, f"unknown name '{shorten(written)}'", hint)


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


def _suite(model: SuiteModel, document: Document, read: _Assertions) -> Suite:
    defaults = _policy(model.defaults or PolicyModel.model_construct(), Policy())
    return Suite(
        pipeline=model.pipeline,
        path=document.path,
        dataset=model.dataset,
        defaults=defaults,
        unit_tests=tuple(
            _unit(test, document, ("unit_tests", index), defaults, read)
            for index, test in enumerate(model.unit_tests)
        ),
        distributional_tests=tuple(
            _distributional(test, document, ("distributional_tests", index), defaults, read)
            for index, test in enumerate(model.distributional_tests)
        ),
        integration_tests=tuple(
            _integration(test, document, ("integration_tests", index), defaults, read)
            for index, test in enumerate(model.integration_tests)
        ),
        places=document.places(),
    )


def _unit(
    test: UnitModel, document: Document, path: Path, defaults: Policy, read: _Assertions
) -> UnitCase:
    return UnitCase(
        name=test.name,
        place=document.place(path),
        input=test.input,
        expected=test.expected,
        assertions=read.of(path),
        min_pass=test.min_pass,
        policy=_policy(test, defaults),
    )


def _distributional(
    test: DistributionalModel, document: Document, path: Path, defaults: Policy, read: _Assertions
) -> Distributional:
    name, place, size = test.name, document.place(path), test.sample_size
    policy = _policy(test, defaults)
    match test:
        case StatisticalModel():
            return Statistical(name, place, read.of(path), size, policy)
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
    test: IntegrationModel, document: Document, path: Path, defaults: Policy, read: _Assertions
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
        assertions=read.of(path),
        records=int(number[0].replace(",", "").replace("_", "")) if number else None,
        destination=test.destination,
        policy=_policy(test, defaults),
    )
