"""Read the fields of an output from a model's reply: lenient parsing, strict validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.answers import ParsedReply, read_answer
from loomgit.domain.replies import join_faults

if TYPE_CHECKING:
    import jsonschema_rs

    from loomgit.domain.values import Json, JsonMapping

TEXT_FIELD = "text"  # the only field of the output if the reply is not JSON


class OutputReader:
    """Turns replies into outputs.

    If there is a schema, the reply must contain a JSON object that matches it. If there is no
    schema and the reply contains exactly one JSON object, this object is the output. Otherwise, the
    output has only the field `text`, which contains the text of the reply. But if the text begins
    with `{` or `[{`, the reply is invalid.
    """

    def __init__(self, schema: JsonMapping | None) -> None:
        self.schema = schema
        self._validator = None if schema is None else compile_schema(schema)

    def read(self, text: str) -> ParsedReply:
        """Parse a reply. The result contains the output in `value`, or the error in `fault`."""
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
    faults = []
    for error in validator.iter_errors(value):
        path = ".".join(str(step) for step in error.instance_path)
        faults.append(f"{path}: {error.message}" if path else error.message)
    return join_faults(faults)
