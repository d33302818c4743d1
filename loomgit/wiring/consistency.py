"""Contradictions between a pipeline's parts, its records and its tests, found before a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.place import Problem
from loomgit.domain.suites import UnitCase
from loomgit.domain.words import one_of
from loomgit.evaluators.aim import EXPECTED, PREFIX
from loomgit.evaluators.kinds import is_built_in, needs_reference
from loomgit.harness.expected import expectations
from loomgit.pipeline.output import compile_schema, describe_faults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from loomgit.domain.definitions import EvaluatorSpec, Pipeline
    from loomgit.domain.place import Place
    from loomgit.domain.suites import Suite
    from loomgit.domain.values import JsonMapping

_OPEN = ("patternProperties", "$ref", "oneOf", "anyOf", "allOf")  # other fields may come from them


def declared_fields(output: JsonMapping | None) -> tuple[str, ...] | None:
    """The fields of a declared output; None where the output may have others on purpose."""
    properties = (output or {}).get("properties")
    if output is None or not isinstance(properties, dict):
        return None
    if output.get("additionalProperties") or any(key in output for key in _OPEN):
        return None
    return tuple(properties)


def contradictions(pipeline: Pipeline, output: JsonMapping | None) -> Iterator[Problem]:
    """Contradictions within the pipeline, independent of its records.

    `output` is the declared output.
    """
    load = pipeline.load
    if load.on_failure == "fallback" and load.fallback is None:
        yield Problem(
            pipeline.place("load.on_failure"),
            "load.on_failure: 'fallback' needs load.fallback",
            "add `fallback: {value: {...}}` under load, or write on_failure: quarantine",
        )
    for included in load.include:
        if included in _types(output):
            message = (
                f"load.include: the output has a field '{included}' too; remove it here or there"
            )
            yield Problem(pipeline.place("load.include"), message)
    yield from _other_types(pipeline, output)
    if load.schema is not None and load.fallback is not None and load.fallback.value is not None:
        faults = describe_faults(compile_schema(load.schema), dict(load.fallback.value))
        if faults:
            message = f"load.fallback.value: does not fit load.schema: {faults}"
            yield Problem(pipeline.place("load.fallback.value"), message)
    fields = declared_fields(output)
    if fields is None:
        return
    required = (load.schema or {}).get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in fields:
            message = f"load.schema: the output has no field '{name}'"
            yield Problem(pipeline.place("load.schema"), message, one_of(name, fields, "it has"))
    for place, spec in _evaluators(pipeline):
        field = spec.config.get("field")
        name = str(field).partition(".")[0]
        if field is not None and name not in fields and str(field) not in fields:
            message = f"evaluate: '{spec.name}': the output has no field '{name}'"
            yield Problem(place, message, one_of(name, fields, "it has"))


def _other_types(pipeline: Pipeline, output: JsonMapping | None) -> Iterator[Problem]:
    """The fields that `load.schema` wants with a type that the declared output never has."""
    wanted, declared = _types(pipeline.load.schema), _types(output)
    for name, types in wanted.items():
        found = declared.get(name)
        if types and found and not types & found:
            listed = f"{' or '.join(sorted(types))}, and the output is {' or '.join(sorted(found))}"
            message = f"load.schema: '{name}' is {listed}"
            yield Problem(pipeline.place("load.schema"), message)


def _types(schema: JsonMapping | None) -> dict[str, set[str]]:
    """The types that a JSON Schema allows for each field; an integer is a number too."""
    properties = (schema or {}).get("properties")
    types: dict[str, set[str]] = {}
    for name, value in properties.items() if isinstance(properties, dict) else ():
        named = value.get("type") if isinstance(value, dict) else None
        listed = named if isinstance(named, list) else [named]
        types[name] = {each for each in listed if isinstance(each, str)}
        if "number" in types[name]:
            types[name].add("integer")
    return types


def missing_fields(
    pipeline: Pipeline, fields: Sequence[str], filled: Collection[str]
) -> Iterator[Problem]:
    """What the pipeline wants of the records besides the prompt.

    `fields` occur in some record, `filled` have a value in some record.
    """
    for name in pipeline.load.include:
        yield from _missing(pipeline, "load.include", name, fields)
    retrieve, field = pipeline.transform.retrieve, pipeline.transform.documents_field
    if retrieve is None and field:
        yield from _missing(pipeline, "transform.context", field, fields)
    elif retrieve is not None and field not in fields:  # none of the records brings documents
        key = "transform.retrieve.query_field"
        yield from _missing(pipeline, key, retrieve.query_field, fields)
    for place, spec in _evaluators(pipeline):
        reference = spec.config.get("reference_field")
        if reference is not None:
            name = str(reference).partition(".")[0]
            if name not in fields and str(reference) not in fields:
                message = f"evaluate: '{spec.name}': the records have no field '{reference}'"
                yield Problem(place, message, one_of(name, fields, "they have"))
            elif name not in filled and str(reference) not in filled:
                message = f"evaluate: '{spec.name}': no record has a value in '{reference}'"
                yield Problem(place, message)
        elif needs_reference(spec) and not _has_reference(spec, filled):
            yield Problem(
                place,
                f"evaluate: '{spec.name}': the records have no reference to compare with",
                "configure 'reference' or 'reference_field', or give them a field "
                f"'{PREFIX}{spec.config.get('field') or 'FIELD'}' or '{EXPECTED}'",
            )


def missing_key(pipeline: Pipeline, key: Sequence[str], fields: Sequence[str]) -> Iterator[Problem]:
    """The key fields that no record has."""
    for name in key:
        yield from _missing(pipeline, "extract.key", name, fields)


def outside_output(suite: Suite, output: JsonMapping | None) -> Iterator[Problem]:
    """The fields that a test file expects and that the declared output does not have."""
    fields = declared_fields(output)
    if fields is None:
        return
    for test in suite.unit_tests:
        if not isinstance(test, UnitCase):
            continue
        for wanted in expectations(test.expected):
            name = wanted.path[0]
            bounded = wanted.bounded if len(wanted.path) == 1 else None
            known = name in fields or bounded in fields or name.startswith(PREFIX)
            if not known and wanted.value is not None:
                message = f"test '{test.name}' expects '{bounded or name}', which is not in output"
                yield Problem(test.place, message, one_of(bounded or name, fields, "it has"))


def _missing(pipeline: Pipeline, key: str, name: str, fields: Sequence[str]) -> Iterator[Problem]:
    if name not in fields:
        message = f"{key}: the records have no field '{name}'"
        yield Problem(pipeline.place(key), message, one_of(name, fields, "they have"))


def _evaluators(pipeline: Pipeline) -> Iterator[tuple[Place, EvaluatorSpec]]:
    for number, spec in enumerate(pipeline.evaluate.evaluators):
        if is_built_in(spec):  # Loom does not know the configuration of others
            yield pipeline.place(f"evaluate.evaluators.{number}"), spec


def _has_reference(spec: EvaluatorSpec, filled: Collection[str]) -> bool:
    """Whether some record has what the evaluator compares with."""
    field = spec.config.get("field")
    if field is not None:
        return EXPECTED in filled or f"{PREFIX}{field}" in filled
    return any(name == EXPECTED or name.startswith(PREFIX) for name in filled)
