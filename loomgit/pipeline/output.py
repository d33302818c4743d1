"""Read the fields of an output from a model's reply: lenient parsing, strict validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.answers import ParsedReply, read_answer
from loomgit.domain.json_schema import compile_schema, describe_faults

if TYPE_CHECKING:
    from loomgit.domain.values import JsonMapping

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
