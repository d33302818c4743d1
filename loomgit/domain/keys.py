"""The identity of a record, and canonical JSON for everything that is hashed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.values import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import Json, JsonMapping

HASH_KEY = "_loom_record_key"  # the column that stands for a key where a record has none of its own


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no white space: equal values give equal bytes."""
    return to_json(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def digest(value: object) -> str:
    """The sha256, in hex, of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def find_key(fields: Sequence[str], configured: Sequence[str] = ()) -> tuple[str, ...]:
    """The key fields: as configured, else `id`, else the only `*_id`, else none (a hash serves)."""
    if configured:
        return tuple(configured)
    if "id" in fields:
        return ("id",)
    named = [field for field in fields if field.endswith("_id")]
    return (named[0],) if len(named) == 1 else ()


def record_key(row: JsonMapping, key: Sequence[str]) -> str:
    """The identity of `row` as text: one field's value, several as a JSON list, none as a hash.

    Raises KeyError with the field's name where the row lacks it or holds null there.
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
