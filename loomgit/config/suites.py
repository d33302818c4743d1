"""Parse the text of a test file to a suite, or report all problems of the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.config.assertion_names import name_hint, value_type_of
from loomgit.config.assertion_tokens import SourceLayout
from loomgit.config.assertions import parse_assertion
from loomgit.config.document import Path, dotted, shorten
from loomgit.config.evaluators import duplicate_name_problems, evaluator_problems, evaluator_spec
from loomgit.config.file_model import problems_error, validate
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
from loomgit.config.yaml_text import parse_yaml
from loomgit.domain.assertions import Name
from loomgit.domain.place import Problem
from loomgit.domain.suites import (
    Assertion,
    CostBudget,
    Distributional,
    Drift,
    HallucinationRate,
    IntegrationCase,
    IntegrationStep,
    LatencyLimit,
    Policy,
    Regression,
    Statistical,
    StepStage,
    Suite,
    UnitCase,
)
from loomgit.domain.variables import GivenValues
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
    """Parse a test file; `path` is relative to the project and appears in messages.

    `known_evaluators` contains the evaluator types that plugins provide. Raises ProblemsFound with
    all problems, including the problems of assertions.
    """
    document = parse_yaml(text, path)
    model = validate(SuiteModel, document)
    assertions = _parse_assertions(document, text)
    problems = [*document.problems, *_rules(document, known_evaluators), *assertions.problems]
    if isinstance(model, list):
        raise problems_error([*problems, *model])
    if problems:
        raise problems_error(problems)
    return _suite(model, document, assertions)


def _rules(document: Document, known: Collection[str]) -> Iterator[Problem]:
    """Yield the problems that the pydantic model cannot detect, such as contradictory keys."""
    has_no_tests = all(document.find((group,)) is None for group in GROUPS)
    if has_no_tests and set(document.tree) <= set(SuiteModel.keys()):
        hint = f"add at least one of: {', '.join(GROUPS)}"
        yield document.problem((), "no tests", hint)
    for group in GROUPS:
        paths = _items(document, (group,))
        yield from duplicate_name_problems(document, paths)
        for path in paths:
            yield from _check_order(document, path, "min_pass", "samples")
            yield from _check_order(document, path, "samples", "max_samples")
            for step in _items(document, (*path, "steps")):
                yield from _check_single_stage(document, step)
            if document.find((*path, "type")) == "drift":
                yield from _check_drift_field(document, (*path, "field"))
            if document.find((*path, "evaluator")) is not None:
                yield from evaluator_problems(document, (*path, "evaluator"), known)
    yield from _check_order(document, ("defaults",), "samples", "max_samples")


class _ParsedAssertions(Struct):
    """The valid assertions of a test file, and the problems of the invalid assertions.

    `by_test` maps the path of a test, such as `("unit_tests", 0)`, to its valid assertions.
    """

    by_test: dict[Path, list[Assertion]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def of(self, path: Path) -> tuple[Assertion, ...]:
        """Return the valid assertions of the test at `path`."""
        return tuple(self.by_test.get(path, ()))


def _parse_assertions(document: Document, source: str) -> _ParsedAssertions:
    layout = SourceLayout(source)
    parsed = _ParsedAssertions()
    for group, kind in GROUPS.items():
        for test in _items(document, (group,)):
            for path in _items(document, (*test, "assertions")):
                text = document.find(path)
                if not isinstance(text, str):
                    continue  # the pydantic model already reports that this is not text
                place = document.text_place(path)
                try:
                    assertion = parse_assertion(text, place, kind, layout, within=dotted(path))
                except ProblemsFound as error:
                    parsed.problems.extend(error.problems)
                else:
                    parsed.by_test.setdefault(test, []).append(assertion)
    return parsed


def _items(document: Document, path: Path) -> list[Path]:
    """Return the path of each item in the list at `path`, or [] if there is no list at `path`."""
    items = document.find(path)
    return [(*path, index) for index in range(len(items))] if isinstance(items, list) else []


def _check_order(document: Document, path: Path, smaller: str, larger: str) -> Iterator[Problem]:
    """Yield a problem if the value at key `smaller` is greater than the value at key `larger`.

    If the test at `path` does not set a key, the value under `defaults` in the file applies.
    """
    keys = (smaller, larger)
    low, high = (parse_number(str(_value_or_default(document, path, key))) for key in keys)
    if low is None or high is None or low <= high:
        return
    if all(document.find((*path, key)) is None for key in keys):
        return  # both values are defaults, which are checked once for the whole file
    key = smaller if document.find((*path, smaller)) is not None else larger
    message = f"{smaller} {low:g} is greater than {larger} {high:g}"
    yield document.problem((*path, key), message)


def _value_or_default(document: Document, path: Path, key: str) -> object:
    value = document.find((*path, key))
    if value is None:
        value = document.find(("defaults", key))
    return "1" if value is None and key == "samples" else value


def _check_drift_field(document: Document, path: Path) -> Iterator[Problem]:
    text = document.find(path)
    if not isinstance(text, str):
        return
    root, *parts = text.strip().split(".")
    name = Name(root, tuple(parts))
    if value_type_of(name, "unit") is None:
        hint = name_hint(name, "unit") if parts else f"did you mean output.{root}?"
        yield document.problem(path, f"unknown name '{shorten(text)}'", hint)


def _check_single_stage(document: Document, path: Path) -> Iterator[Problem]:
    step = document.find(path)
    if isinstance(step, dict) and len(step) != 1 and set(step) <= set(STAGES):
        hint = "write each stage as a separate item: '- extract: ...', '- load: ...'"
        yield document.problem(path, f"a step must have one stage, found {len(step)}", hint)


def _policy(model: PolicyModel, defaults: Policy) -> Policy:
    """Return `defaults`, updated with the values of `model` that are not None."""
    values = {
        name: value
        for name in PolicyModel.model_fields
        if (value := getattr(model, name)) is not None
    }
    return replace(defaults, **values)


def _suite(model: SuiteModel, document: Document, assertions: _ParsedAssertions) -> Suite:
    defaults = _policy(model.defaults or PolicyModel.model_construct(), Policy())
    return Suite(
        pipeline=model.pipeline,
        path=document.path,
        dataset=model.dataset,
        given=GivenValues(model.vars, model.execution_date),
        defaults=defaults,
        unit_tests=tuple(
            _unit(test, document, ("unit_tests", index), defaults, assertions)
            for index, test in enumerate(model.unit_tests)
        ),
        distributional_tests=tuple(
            _distributional(test, document, ("distributional_tests", index), defaults, assertions)
            for index, test in enumerate(model.distributional_tests)
        ),
        integration_tests=tuple(
            _integration(test, document, ("integration_tests", index), defaults, assertions)
            for index, test in enumerate(model.integration_tests)
        ),
        places=document.places(),
    )


def _unit(
    test: UnitModel, document: Document, path: Path, defaults: Policy, assertions: _ParsedAssertions
) -> UnitCase:
    return UnitCase(
        name=test.name,
        place=document.place(path),
        input=test.input,
        expected=test.expected,
        assertions=assertions.of(path),
        min_pass=test.min_pass,
        policy=_policy(test, defaults),
    )


def _distributional(
    test: DistributionalModel,
    document: Document,
    path: Path,
    defaults: Policy,
    assertions: _ParsedAssertions,
) -> Distributional:
    name, place, size = test.name, document.place(path), test.sample_size
    policy = _policy(test, defaults)
    match test:
        case StatisticalModel():
            return Statistical(name, place, assertions.of(path), size, policy)
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
            raise AssertionError(f"unknown type of test: {test!r}")


def _integration(
    test: IntegrationModel,
    document: Document,
    path: Path,
    defaults: Policy,
    assertions: _ParsedAssertions,
) -> IntegrationCase:
    steps = tuple(
        IntegrationStep(stage, text)
        for step in test.steps
        for stage in STAGES
        if (text := getattr(step, stage)) is not None
    )
    extract_text = " ".join(step.text for step in steps if step.stage == "extract")
    number = FIRST_NUMBER.search(extract_text)
    return IntegrationCase(
        name=test.name,
        place=document.place(path),
        steps=steps,
        assertions=assertions.of(path),
        records=int(number[0].replace(",", "").replace("_", "")) if number else None,
        destination=test.destination,
        policy=_policy(test, defaults),
    )
