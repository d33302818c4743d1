"""Parse output schemas. A user writes a JSON Schema, or a map `field: type`.

Loom converts such a map to a JSON Schema.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, cast

from msgspec import Struct
from pydantic import Discriminator, Tag, WithJsonSchema
from pydantic import JsonValue as PydanticJson

from loomgit.config.document import quote
from loomgit.config.file_model import TAG_PREFIX
from loomgit.config.scalars import InvalidValue, Reader, expected, read_map, read_nonblank_text
from loomgit.domain.suggestions import did_you_mean
from loomgit.domain.values import Json, JsonObject

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
SCHEMA, FIELDS = f"{TAG_PREFIX}schema", f"{TAG_PREFIX}fields"
LOCAL_ONLY = "a schema can only refer to its own parts (#/$defs/...)"


class FieldType(Struct, frozen=True):
    """The JSON Schema of one field. `required` is False for `type?`, an optional field."""

    schema: JsonObject
    required: bool = True


def _form(value: object) -> str:
    """Return FIELDS for a map `field: type`, and SCHEMA for a JSON Schema and for all other values.

    A map that contains the key `type` is not always a JSON Schema, because an output can have a
    field named `type`.
    """
    if not isinstance(value, dict):
        return SCHEMA
    is_schema = (
        any(key in value for key in ("$schema", "$ref", "$defs"))
        or isinstance(value.get("properties"), dict)
        or value.get("type") == "object"
        or any(isinstance(value.get(key), list) for key in ("oneOf", "anyOf", "allOf"))
    )
    return SCHEMA if is_schema else FIELDS


def read_schema(value: object) -> JsonObject:
    """Return the value as a JSON Schema.

    Raises InvalidValue if the value is not a valid JSON Schema or refers to another document.
    """
    import jsonschema_rs  # noqa: PLC0415 - the import takes 40 ms, and few files have schemas

    external: list[str] = []

    def refuse(uri: str) -> Json:
        external.append(uri)
        raise OSError(uri)

    schema = read_map(value)
    try:
        jsonschema_rs.validator_for(schema, retriever=refuse)
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        if external:
            raise InvalidValue(
                f"the JSON Schema refers to {quote(external[0])}", LOCAL_ONLY
            ) from error
        within = tuple(getattr(error, "instance_path", ()))  # only a ValidationError has a path
        message = getattr(error, "message", str(error))
        raise _schema_error(schema, within, message) from error
    return schema


def _schema_error(schema: JsonObject, within: tuple[str | int, ...], message: str) -> InvalidValue:
    """Return the error for the invalid part of a schema. `within` is the path to this part.

    If this part is an unknown type, for example a misspelt type, the error has a hint.
    """
    part: Json = schema
    for step in within:
        part = part[step]  # type: ignore[index]  # the library guarantees that this path exists
    if within and within[-1] == "type" and isinstance(part, str):
        types = sorted({*TYPES.values(), "null"})
        hint = did_you_mean(part, types) or f"one of: {', '.join(types)}"
        return InvalidValue(f"unknown type {quote(part)}", hint, within=within)
    return InvalidValue(f"invalid JSON Schema: {message.splitlines()[0][:120]}", within=within)


def _read_field(value: object) -> FieldType:
    if isinstance(value, dict):
        return FieldType(read_schema(value))
    word = read_nonblank_text(value, "a type")
    kind = TYPES.get(word.removesuffix("?"))
    if kind is None:
        names = sorted(set(TYPES.values()))
        hint = did_you_mean(word.removesuffix("?"), TYPES) or f"one of: {', '.join(names)}"
        raise InvalidValue(f"unknown type {quote(word)}", hint)
    if word.endswith("?"):
        return FieldType({"type": [kind, "null"]}, required=False)
    return FieldType({"type": kind})


def _read_output_schema(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise expected("a JSON Schema or a map of fields and types", value)
    return read_schema(value)


def object_schema(value: JsonObject | dict[str, FieldType]) -> JsonObject:
    """Return a JSON Schema unchanged, or convert a map of fields to a JSON Schema.

    A field whose type ends in `?` is optional, and all other fields of the map are required. The
    output can also have fields that the map does not contain.
    """
    if not any(isinstance(field, FieldType) for field in value.values()):
        return cast("JsonObject", value)
    fields = cast("dict[str, FieldType]", value)
    return {
        "type": "object",
        "properties": {name: field.schema for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
    }


_TYPE_NAMES: list[Json] = [*TYPES, *(f"{word}?" for word in TYPES)]

OutputSchema: TypeAlias = Annotated[
    Annotated[dict[str, PydanticJson], Reader(_read_output_schema, {"type": "object"}), Tag(SCHEMA)]
    | Annotated[
        dict[str, Annotated[FieldType, Reader(_read_field, {"enum": _TYPE_NAMES})]], Tag(FIELDS)
    ],
    Discriminator(_form),
    WithJsonSchema(
        {
            "type": "object",
            # The value is a JSON Schema if one of these conditions is met (as in `_form`).
            "if": {
                "anyOf": [
                    *({"required": [key]} for key in ("$schema", "$ref", "$defs")),
                    *({"required": [key]} for key in ("properties", "oneOf", "anyOf", "allOf")),
                    {"required": ["type"], "properties": {"type": {"const": "object"}}},
                ]
            },
            "else": {
                "additionalProperties": {"anyOf": [{"enum": _TYPE_NAMES}, {"type": "object"}]}
            },
        }
    ),
]
