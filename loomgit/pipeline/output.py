"""A model's reply as the fields of an output: read leniently, validated strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.answers import ParsedReply, read_answer
from loomgit.domain.replies import join_faults

if TYPE_CHECKING:
    import jsonschema_rs

    from loomgit.domain.values import Json, JsonMapping

TEXT_FIELD = "text"  # the one field of an output that is not JSON


class OutputReader:
    """Turns replies into outputs. With a schema the answer must fit it; without one, the one object
    in the reply is the output, and the `text` of any other reply that does not begin as an object.
    """

    def __init__(self, schema: JsonMapping | None) -> None:
        self.schema = schema
        self._validator = None if schema is None else compile_schema(schema)

    def read(self, text: str) -> ParsedReply:
        """The output's fields as the answer's value, or what is wrong with the reply."""
        validator = self._validator
        if validator is not None:
            answer = read_answer(text, lambda value: describe_faults(validator, value))
            if answer.value is None and not answer.fault:
                return replace(answer, fault="the reply holds no JSON object")
            return answer
        answer = read_answer(text)
        if answer.value is None and answer.text and not answer.text.startswith(("{", "[{")):
            return replace(answer, value={TEXT_FIELD: answer.text}, fault="")
        return answer


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
