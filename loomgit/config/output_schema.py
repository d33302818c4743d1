"""The fields of an output, as JSON Schema or as a map `field: type`, always kept as JSON Schema."""

from __future__ import annotations

from typing import Annotated, TypeAlias, cast

from msgspec import Struct
from pydantic import Discriminator, Tag, WithJsonSchema
from pydantic import JsonValue as PydanticJson

from loomgit.config.document import quote
from loomgit.config.parts import MARK
from loomgit.config.scalars import Read, Wrong, expected, read_map, read_word
from loomgit.domain.values import Json, JsonObject
from loomgit.domain.words import did_you_mean

TYPES = {
    "string": "string",
    "str": "string",
    "text": "string",
    "number": "number",
    "float": "number",
    "integer": "integer",
    "int": "integer",
    "boolean": "boolean",
    "bool": "boolean",
    "array": "array",
    "list": "array",
    "object": "object",
    "dict": "object",
    "map": "object",
}
SCHEMA, FIELDS = f"{MARK}schema", f"{MARK}fields"
LOCAL_ONLY = "a schema may refer to its own parts only (#/$defs/...)"


class FieldType(Struct, frozen=True):
    """One field's JSON Schema; `type?` makes a field that may be null or left out."""

    schema: JsonObject
    required: bool = True


def _form(value: object) -> str:
    """JSON Schema by its telling keys; a map of fields may itself have a field named `type`."""
    if not isinstance(value, dict):
        return SCHEMA
    telling = (
        any(key in value for key in ("$schema", "$ref", "$defs"))
        or isinstance(value.get("properties"), dict)
        or value.get("type") == "object"
        or any(isinstance(value.get(key), list) for key in ("oneOf", "anyOf", "allOf"))
    )
    return SCHEMA if telling else FIELDS


def read_schema(value: object) -> JsonObject:
    """A JSON Schema that is valid and whole: references to other files are refused."""
    import jsonschema_rs  # noqa: PLC0415 - 40 ms that only files with schemas pay

    asked: list[str] = []

    def refuse(uri: str) -> Json:
        asked.append(uri)
        raise OSError(uri)

    schema = read_map(value)
    try:
        jsonschema_rs.validator_for(schema, retriever=refuse)
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        if asked:
            raise Wrong(f"the JSON Schema refers to {quote(asked[0])}", LOCAL_ONLY) from error
        within = tuple(getattr(error, "instance_path", ()))  # a ValidationError has one
        message = getattr(error, "message", str(error))
        raise _schema_fault(schema, within, message) from error
    return schema


def _schema_fault(schema: JsonObject, within: tuple[str | int, ...], message: str) -> Wrong:
    """The fault of one part of a schema; a misspelt type is by far the most frequent."""
    part: Json = schema
    for step in within:
        part = part[step]  # type: ignore[index]  # the library says that this path exists
    if within and within[-1] == "type" and isinstance(part, str):
        types = sorted({*TYPES.values(), "null"})
        hint = did_you_mean(part, types) or f"one of: {', '.join(types)}"
        return Wrong(f"unknown type {quote(part)}", hint, within=within)
    return Wrong(f"not a valid JSON Schema: {message.splitlines()[0][:120]}", within=within)


def _read_field(value: object) -> FieldType:
    if isinstance(value, dict):
        return FieldType(read_schema(value))
    word = read_word(value, "a type")
    kind = TYPES.get(word.removesuffix("?"))
    if kind is None:
        names = sorted(set(TYPES.values()))
        hint = did_you_mean(word.removesuffix("?"), TYPES) or f"one of: {', '.join(names)}"
        raise Wrong(f"unknown type {quote(word)}", hint)
    if word.endswith("?"):
        return FieldType({"type": [kind, "null"]}, required=False)
    return FieldType({"type": kind})


def _read_output_schema(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise expected("a JSON Schema or a map of fields and types", value)
    return read_schema(value)


def object_schema(value: JsonObject | dict[str, FieldType]) -> JsonObject:
    """The JSON Schema of an output, from either form.

    Fields of a map are required unless their type ends in `?`; more fields than named are allowed.
    """
    if not any(isinstance(field, FieldType) for field in value.values()):
        return cast(JsonObject, value)
    fields = cast("dict[str, FieldType]", value)
    return {
        "type": "object",
        "properties": {name: field.schema for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
    }


_WORDS: list[Json] = [*TYPES, *(f"{word}?" for word in TYPES)]

OutputSchema: TypeAlias = Annotated[
    Annotated[dict[str, PydanticJson], Read(_read_output_schema, {"type": "object"}), Tag(SCHEMA)]
    | Annotated[dict[str, Annotated[FieldType, Read(_read_field, {"enum": _WORDS})]], Tag(FIELDS)],
    Discriminator(_form),
    WithJsonSchema(
        {
            "type": "object",
            # As `_form` tells them apart.
            "if": {
                "anyOf": [
                    *({"required": [key]} for key in ("$schema", "$ref", "$defs")),
                    *({"required": [key]} for key in ("properties", "oneOf", "anyOf", "allOf")),
                    {"required": ["type"], "properties": {"type": {"const": "object"}}},
                ]
            },
            "else": {"additionalProperties": {"anyOf": [{"enum": _WORDS}, {"type": "object"}]}},
        }
    ),
]
