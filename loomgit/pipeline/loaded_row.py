"""The row that a record is loaded as, and an example of it before there is an output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.keys import HASH_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.definitions import Load
    from loomgit.domain.values import Json, JsonMapping, JsonObject

_EXAMPLES: dict[str, Json] = {
    "string": "text",
    "integer": 1,
    "number": 0.5,
    "boolean": True,
    "object": {},
    "array": [],
}


def loaded_row(
    load: Load,
    key: Sequence[str],
    identity: str,
    record: JsonMapping,
    output: JsonMapping,
    lineage: JsonMapping,
) -> JsonObject:
    """The row to load: key, output, included input.

    The key is the record's own, whatever the model says. With a load schema only the fields that it
    names are loaded of the output. A record without a key is identified by its hash, `identity`.
    """
    row: JsonObject = {name: record[name] for name in key} or {HASH_KEY: identity}
    wanted = load.schema.get("properties") if load.schema is not None else None
    for name, value in output.items():
        if name not in row and (not isinstance(wanted, dict) or name in wanted):
            row[name] = value
    for name in load.include:
        row.setdefault(name, record.get(name))
    if load.lineage_columns:
        row |= lineage
        row[HASH_KEY] = identity
    return row


def example_output(output: JsonMapping | None) -> JsonObject:
    """A value for each declared field; null where the declaration does not say one type."""
    properties = (output or {}).get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _example(schema) for name, schema in properties.items()}


def _example(schema: Json) -> Json:
    kind = schema.get("type") if isinstance(schema, dict) else None
    kinds = [each for each in (kind if isinstance(kind, list) else [kind]) if each != "null"]
    if len(kinds) != 1 or not isinstance(kinds[0], str):
        return None
    return _EXAMPLES.get(kinds[0])
