"""A model's reply as the fields of an output: read leniently, validated strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.replies import find_object, join_faults

if TYPE_CHECKING:
    import jsonschema_rs

    from loomgit.domain.values import Json, JsonMapping, JsonObject

TEXT_FIELD = "text"  # the one field of an output that is not JSON


class Fault(Struct, frozen=True):
    """Why a reply is no output: what a repair call shows to the model."""

    reason: str


class OutputReader:
    """Turns replies into outputs. With a schema a reply must fit it; without one, an object in the
    reply is the output and any other text is its `text`."""

    def __init__(self, schema: JsonMapping | None) -> None:
        self.schema = schema
        self._validator = None if schema is None else compile_schema(schema)

    def read(self, text: str) -> JsonObject | Fault:
        """The output's fields, or what is wrong with the reply."""
        if not text.strip():
            return Fault("the reply is empty")
        value = find_object(text)
        if value is None:
            return (
                {TEXT_FIELD: text.strip()}
                if self._validator is None
                else Fault("the reply holds no JSON object")
            )
        if self._validator is not None:
            faults = describe_faults(self._validator, value)
            if faults:
                return Fault(faults)
        return value


def compile_schema(schema: JsonMapping) -> jsonschema_rs.Validator:
    """A validator for a JSON Schema that was checked when it was read."""
    import jsonschema_rs  # noqa: PLC0415 - 0.1 s: runs without a schema do not pay for it

    return jsonschema_rs.validator_for(dict(schema))


def describe_faults(validator: jsonschema_rs.Validator, value: Json) -> str:
    """What does not fit, first things first: `confidence: 1.2 is greater than ...; ...`."""
    faults = []
    for error in validator.iter_errors(value):
        where = ".".join(str(step) for step in error.instance_path)
        faults.append(f"{where}: {error.message}" if where else error.message)
    return join_faults(faults)
