"""Validates JSON values with JSON Schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.replies import join_faults

if TYPE_CHECKING:
    import jsonschema_rs

    from loomgit.domain.values import Json, JsonMapping


def compile_schema(schema: JsonMapping) -> jsonschema_rs.Validator:
    """Return a validator for a JSON Schema.

    The schema must be valid. Loom checks it when it loads the configuration.
    """
    import jsonschema_rs  # noqa: PLC0415 - the import takes 0.1 s; runs without a schema skip it

    return jsonschema_rs.validator_for(dict(schema))


def describe_faults(validator: jsonschema_rs.Validator, value: Json) -> str:
    """Return the differences between a value and the schema as text, or "" if the value is valid.

    An example is `confidence: 1.2 is greater than ...; ...`. The validator determines the
    order of the differences.
    """
    if validator.is_valid(value):  # faster than `iter_errors`
        return ""
    faults = []
    for error in validator.iter_errors(value):
        path = ".".join(str(step) for step in error.instance_path)
        faults.append(f"{path}: {error.message}" if path else error.message)
    return join_faults(faults)
