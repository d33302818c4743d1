"""The identity of records, and the canonical JSON from which all hashes are computed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.values import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import Json, JsonMapping

HASH_KEY = "_loom_record_key"  # the key column for records without key fields


def canonical(value: object) -> bytes:
    """Return canonical JSON: with sorted keys and no white space. Equal values give equal bytes."""
    return to_json(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def digest(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON in hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def find_key(fields: Sequence[str], configured: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the key fields.

    These are the configured fields. If none are configured, the key field is `id`. If there is no
    `id`, it is the field whose name ends with `_id`, provided that there is only one. Otherwise,
    the result is empty, and each record is identified by a hash.
    """
    if configured:
        return tuple(configured)
    if "id" in fields:
        return ("id",)
    named = [field for field in fields if field.endswith("_id")]
    return (named[0],) if len(named) == 1 else ()


def record_key(row: JsonMapping, key: Sequence[str]) -> str:
    """Return the text that identifies `row`.

    For one key field, it is the field's value. For several key fields, it is a JSON list of their
    values. If there are no key fields, it is a hash of the row. Raises KeyError with the name of
    the field if the row lacks a key field or the field is null.
    """
    if not key:
        return digest(row)[:32]
    values: list[Json] = []
    for field in key:
        value = row.get(field)
        if value is None:
            raise KeyError(field)
        values.append(value)
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return orjson.dumps(values[0] if len(values) == 1 else values).decode()
