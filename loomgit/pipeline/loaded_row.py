"""The row that Loom loads for a record, and example rows for checks before the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.keys import HASH_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.definitions import Load, Pipeline
    from loomgit.domain.records import Record
    from loomgit.domain.values import Json, JsonMapping, JsonObject

_EXAMPLES: dict[str, Json] = {
    "string": "text",
    "integer": 1,
    "number": 0.5,
    "boolean": True,
    "object": {},
    "array": [],
}


class RowBuilder:
    """Builds the rows to load: key fields, output fields, and the input fields in `load.include`.

    The key fields come from the record, even if the output has fields with the same names. If `key`
    is empty, the hash of the record is the only key field. If the load schema has properties, a row
    contains only the output fields in the schema. If `load.lineage_columns` is true, the columns in
    `lineage` and the hash of the record are added.
    """

    def __init__(self, load: Load, key: Sequence[str], lineage: JsonMapping) -> None:
        properties = load.schema.get("properties") if load.schema is not None else None
        self._key = tuple(key)
        self._properties = properties if isinstance(properties, dict) else None
        self._include = load.include
        self._lineage = lineage if load.lineage_columns else None

    def build(self, record: Record, output: JsonMapping) -> JsonObject:
        """Return the row for a record with this output."""
        fields, properties = record.input, self._properties
        row: JsonObject = {}
        for name in self._key:
            row[name] = fields[name]
        if not row:
            row[HASH_KEY] = record.key
        for name, value in output.items():
            if name not in row and (properties is None or name in properties):
                row[name] = value
        for name in self._include:
            row.setdefault(name, fields.get(name))
        if self._lineage is not None:
            row |= self._lineage
            row[HASH_KEY] = record.key
        return row


def example_rows(
    pipeline: Pipeline, key: Sequence[str], records: Iterable[Record], output: JsonMapping | None
) -> list[JsonObject]:
    """Return rows such as the pipeline loads, to check the destination before the first call.

    The output fields have example values of the declared `output`, a JSON Schema. An example value
    is null if the field does not have exactly one type (apart from null). Without a transform, the
    record is the output, so that the values are those of the records.
    """
    properties = (output or {}).get("properties")
    declared = properties if isinstance(properties, dict) else {}
    fields = {name: _example(schema) for name, schema in declared.items()}
    is_copy = pipeline.transform.type == "none"
    builder = RowBuilder(pipeline.load, key, {})
    return [builder.build(record, record.input if is_copy else fields) for record in records]


def _example(schema: Json) -> Json:
    kind = schema.get("type") if isinstance(schema, dict) else None
    kinds = [name for name in (kind if isinstance(kind, list) else [kind]) if name != "null"]
    if len(kinds) != 1 or not isinstance(kinds[0], str):
        return None
    return _EXAMPLES.get(kinds[0])
