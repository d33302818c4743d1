"""Generates the JSON Schemas of run files and of the lines of records files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from loomgit.domain.record_lines import LINE_FIELDS, RecordLine, SampleLine
from loomgit.domain.run_fields import RUN_FIELDS
from loomgit.domain.runs import Case, Run

if TYPE_CHECKING:
    from loomgit.domain.run_fields import FieldTexts
    from loomgit.domain.values import JsonObject

DRAFT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/{name}"


def run_schema() -> JsonObject:
    """Return the JSON Schema (draft 2020-12) of a run file."""
    (reference,), definitions = _components([Run], RUN_FIELDS)
    return {"$schema": DRAFT, "title": "Run file of Loom", **reference, "$defs": definitions}


def records_schema() -> JsonObject:
    """Return the JSON Schema (draft 2020-12) of one line of a records file.

    A line is that of a pipeline run or that of a test run.
    """
    references, definitions = _components([RecordLine, SampleLine], LINE_FIELDS)
    title = "Line of a records file of Loom"
    return {"$schema": DRAFT, "title": title, "anyOf": [*references], "$defs": definitions}


def _components(
    types: list[type[msgspec.Struct]], fields: FieldTexts
) -> tuple[tuple[JsonObject, ...], JsonObject]:
    """Return references to the schemas of `types`, and the schemas of all classes by name.

    Each property gets its text from `fields`. Raises LookupError if a field has no text.
    """
    references, definitions = msgspec.json.schema_components(
        types, schema_hook=_any_value, ref_template=REFERENCE
    )
    texts = {cls.__name__: descriptions for cls, descriptions in fields.items()}
    for name, definition in definitions.items():
        descriptions = texts.get(name, {})
        definition["description"] = str(definition["description"]).partition("\n")[0]
        if name == Case.__name__:  # see `as_object` in `loomgit.history.schema`
            _rename(definition, "definition", "def")
        for field, schema in definition["properties"].items():
            if field not in descriptions:
                raise LookupError(f"the field {name}.{field} has no text")
            schema.pop("default", None)  # Loom writes all fields of a run
            schema["description"] = descriptions[field]
    return references, definitions


def _any_value(cls: type) -> JsonObject:
    """Return the schema of a value of any JSON type."""
    if cls is not object:
        raise NotImplementedError
    return {"description": "Any JSON value."}


def _rename(definition: JsonObject, old: str, new: str) -> None:
    properties, required = definition["properties"], definition["required"]
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    definition["properties"] = {new if n == old else n: v for n, v in properties.items()}
    definition["required"] = [new if name == old else name for name in required]
