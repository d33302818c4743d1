"""Finds contradictions within a pipeline, and between the pipeline, its records and its tests.

The contradictions are found before the first model call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.json_schema import compile_schema, describe_faults
from loomgit.domain.place import Problem
from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.suites import UnitCase
from loomgit.evaluators.field_selector import EXPECTED, EXPECTED_PREFIX
from loomgit.evaluators.kinds import is_built_in, needs_reference
from loomgit.harness.expected import expectations
from loomgit.wiring.fallback_policy import extractive_problems
from loomgit.wiring.incremental_rules import incremental_problems

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from loomgit.domain.definitions import EvaluatorSpec, Pipeline
    from loomgit.domain.place import Place
    from loomgit.domain.suites import Suite
    from loomgit.domain.values import JsonMapping

_OPEN = ("patternProperties", "$ref", "oneOf", "anyOf", "allOf")  # keywords that can add fields


def declared_fields(output: JsonMapping | None) -> tuple[str, ...] | None:
    """Return the fields of a declared output, or None if the output may have other fields too."""
    properties = (output or {}).get("properties")
    if output is None or not isinstance(properties, dict):
        return None
    if output.get("additionalProperties") or any(key in output for key in _OPEN):
        return None
    return tuple(properties)


def find_contradictions(pipeline: Pipeline, output: JsonMapping | None) -> Iterator[Problem]:
    """Yield the contradictions within the pipeline that do not depend on its records.

    `output` is the declared output.
    """
    load = pipeline.load
    if load.on_failure == "fallback" and load.fallback is None:
        yield Problem(
            pipeline.place("load.on_failure"),
            "load.on_failure: 'fallback' needs load.fallback",
            "add `fallback: extractive` or `fallback: {value: {...}}` under load, or use "
            "on_failure: quarantine",
        )
    if load.on_rejected == "delete" and load.mode != "upsert":
        yield Problem(
            pipeline.place("load.on_rejected"),
            f"load.on_rejected: 'delete' needs mode: upsert, not {load.mode}",
            "use mode: upsert, which finds the row of a record by its key"
            if load.mode == "append"
            else "remove on_rejected: mode: replace keeps no row of an earlier run",
        )
    yield from incremental_problems(pipeline)
    yield from extractive_problems(pipeline, output)
    for included in load.include:
        if included in _types(output):
            message = (
                f"load.include: the output has a field '{included}' too; remove one of the two"
            )
            yield Problem(pipeline.place("load.include"), message)
    yield from _type_conflicts(pipeline, output)
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
            yield Problem(
                pipeline.place("load.schema"), message, suggest_or_list(name, fields, "it has")
            )
    for place, spec in _evaluators(pipeline):
        field = spec.config.get("field")
        name = str(field).partition(".")[0]
        if field is not None and name not in fields and str(field) not in fields:
            message = f"evaluate: '{spec.name}': the output has no field '{name}'"
            yield Problem(place, message, suggest_or_list(name, fields, "it has"))


def _type_conflicts(pipeline: Pipeline, output: JsonMapping | None) -> Iterator[Problem]:
    """Yield a problem for each field that has conflicting types.

    The types conflict if `load.schema` and the declared output have no type of the field in common.
    """
    required, declared = _types(pipeline.load.schema), _types(output)
    for name, types in required.items():
        output_types = declared.get(name)
        if types and output_types and not types & output_types:
            expected, actual = (" or ".join(sorted(names)) for names in (types, output_types))
            message = f"load.schema: '{name}' is {expected}, but the output declares {actual}"
            yield Problem(pipeline.place("load.schema"), message)


def _types(schema: JsonMapping | None) -> dict[str, set[str]]:
    """Return the types that a JSON Schema allows for each field. `number` includes `integer`."""
    properties = (schema or {}).get("properties")
    types: dict[str, set[str]] = {}
    for name, value in properties.items() if isinstance(properties, dict) else ():
        declared = value.get("type") if isinstance(value, dict) else None
        choices = declared if isinstance(declared, list) else [declared]
        types[name] = {choice for choice in choices if isinstance(choice, str)}
        if "number" in types[name]:
            types[name].add("integer")
    return types


def missing_fields(
    pipeline: Pipeline, fields: Sequence[str], filled: Collection[str]
) -> Iterator[Problem]:
    """Yield a problem for each field that the records lack but the pipeline needs.

    The fields that the prompt needs are not checked here. `fields` are the fields of all records.
    `filled` are the fields with a value in at least one record.
    """
    for name in pipeline.load.include:
        yield from _missing(pipeline, "load.include", name, fields)
    fallback = pipeline.load.fallback
    if fallback is not None and fallback.extractive is not None and fallback.extractive.field:
        yield from _missing(pipeline, "load.fallback.field", fallback.extractive.field, fields)
    retrieve, field = pipeline.transform.retrieve, pipeline.transform.documents_field
    if retrieve is None and field:
        yield from _missing(pipeline, "transform.context", field, fields)
    elif retrieve is not None and field not in fields:  # the search adds this field to the records
        key = "transform.retrieve.query_field"
        yield from _missing(pipeline, key, retrieve.query_field, fields)
    for place, spec in _evaluators(pipeline):
        reference = spec.config.get("reference_field")
        if reference is not None:
            name = str(reference).partition(".")[0]
            if name not in fields and str(reference) not in fields:
                message = f"evaluate: '{spec.name}': the records have no field '{reference}'"
                yield Problem(place, message, suggest_or_list(name, fields, "they have"))
            elif name not in filled and str(reference) not in filled:
                message = f"evaluate: '{spec.name}': no record has a value in '{reference}'"
                yield Problem(place, message)
        elif needs_reference(spec) and not _has_reference(spec, filled):
            yield Problem(
                place,
                f"evaluate: '{spec.name}': the records have no reference to compare with",
                "configure 'reference' or 'reference_field', or give the records a field named "
                f"'{EXPECTED_PREFIX}{spec.config.get('field') or 'FIELD'}' or '{EXPECTED}'",
            )


def missing_key(pipeline: Pipeline, key: Sequence[str], fields: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each key field that no record has."""
    for name in key:
        yield from _missing(pipeline, "extract.key", name, fields)


def unknown_expected_fields(suite: Suite, output: JsonMapping | None) -> Iterator[Problem]:
    """Yield a problem for each field that a test file expects but the declared output does not
    have."""
    fields = declared_fields(output)
    if fields is None:
        return
    for test in suite.unit_tests:
        if not isinstance(test, UnitCase):
            continue
        for expectation in expectations(test.expected):
            name = expectation.path[0]
            bounded = expectation.bounded if len(expectation.path) == 1 else None
            known = name in fields or bounded in fields or name.startswith(EXPECTED_PREFIX)
            if not known and expectation.value is not None:
                field = bounded or name
                message = f"test '{test.name}' expects '{field}', but the output has no such field"
                yield Problem(test.place, message, suggest_or_list(field, fields, "it has"))


def _missing(pipeline: Pipeline, key: str, name: str, fields: Sequence[str]) -> Iterator[Problem]:
    if name not in fields:
        message = f"{key}: the records have no field '{name}'"
        yield Problem(pipeline.place(key), message, suggest_or_list(name, fields, "they have"))


def _evaluators(pipeline: Pipeline) -> Iterator[tuple[Place, EvaluatorSpec]]:
    for number, spec in enumerate(pipeline.evaluate.evaluators):
        if is_built_in(spec):  # the configuration of other types is unknown
            yield pipeline.place(f"evaluate.evaluators.{number}"), spec


def _has_reference(spec: EvaluatorSpec, filled: Collection[str]) -> bool:
    """Whether at least one record has a reference for the evaluator."""
    field = spec.config.get("field")
    if field is not None:
        return EXPECTED in filled or f"{EXPECTED_PREFIX}{field}" in filled
    return any(name == EXPECTED or name.startswith(EXPECTED_PREFIX) for name in filled)
