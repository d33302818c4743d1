"""Checks the inputs and outputs of a program, and unwraps outputs with details.

A program returns its output as it is, or an object with the output in `result` and further fields
(`{"result": "spam", "confidence": 0.9, "reason": "..."}`). An object is unwrapped if it has the key
`result`, the output schema does not declare a property `result`, and the value of `result` matches
the output schema. In all other cases, the whole value is the output.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from loomgit.domain.apps import AppOutput
from loomgit.domain.json_schema import compile_schema, describe_faults

if TYPE_CHECKING:
    import jsonschema_rs

    from loomgit.domain.values import Json, JsonMapping

RESULT = "result"
USUAL_KEYS = frozenset({RESULT, "confidence", "reason"})
_PARTS = ("allOf", "anyOf", "oneOf")
_BRANCHES = ("if", "then", "else", "not")


class AppSchemas:
    """The schemas of the inputs and outputs of an app."""

    def __init__(self, input_schema: JsonMapping, output_schema: JsonMapping) -> None:
        self._schemas = input_schema, output_schema

    def input_fault(self, value: Json) -> str:
        """Return the differences between an input and its schema; "" if the input is valid."""
        return describe_faults(self._input, value)

    def output_fault(self, output: Json) -> str:
        """Return the differences between an output and its schema; "" if the output is valid."""
        return describe_faults(self._output, output)

    def read_output(self, value: Json) -> tuple[AppOutput, str]:
        """Return the output in a value that a program returned, and its fault.

        The fault is "" if the output matches the schema.
        """
        validator = self._output
        wrapped = isinstance(value, dict) and RESULT in value and not self._declares_result
        if wrapped:
            assert isinstance(value, dict)
            result = value[RESULT]
            if validator.is_valid(result):
                details = {key: item for key, item in value.items() if key != RESULT}
                return AppOutput(result, details), ""
            if value.keys() <= USUAL_KEYS and not validator.is_valid(value):
                fault = describe_faults(validator, result)
                return AppOutput(value), f"{RESULT}: {fault}"
        return AppOutput(value), describe_faults(validator, value)

    @cached_property
    def _input(self) -> jsonschema_rs.Validator:
        return compile_schema(self._schemas[0])

    @cached_property
    def _output(self) -> jsonschema_rs.Validator:
        return compile_schema(self._schemas[1])

    @cached_property
    def _declares_result(self) -> bool:
        return declares(self._schemas[1], RESULT)


def declares(schema: JsonMapping, name: str) -> bool:
    """Whether a schema names a property of the value, in `properties` or `required`.

    Parts that apply to the same value (`allOf`, `anyOf`, `$ref`, ...) count too.
    """
    pending: list[Json] = [dict(schema)]
    seen: set[str] = set()
    while pending:
        part = pending.pop()
        if not isinstance(part, dict):
            continue
        properties, required = part.get("properties"), part.get("required")
        if isinstance(properties, dict) and name in properties:
            return True
        if isinstance(required, list) and name in required:
            return True
        for key in _PARTS:
            items = part.get(key)
            pending += items if isinstance(items, list) else []
        pending += [part[key] for key in _BRANCHES if key in part]
        reference = part.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            pending.append(_resolve(schema, reference))
    return False


def _resolve(schema: JsonMapping, reference: str) -> Json:
    """Return the part of a schema to which a reference such as `#/$defs/label` refers, or None."""
    part: Json = dict(schema)
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        part = part.get(name) if isinstance(part, dict) else None
    return part
