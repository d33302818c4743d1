"""JSON values: what records, outputs and parameters are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import orjson

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]
JsonMapping: TypeAlias = Mapping[str, Json]


def as_text(value: Json) -> str:
    """The value as a person would read it: text as it is, anything else as compact JSON.

    Used wherever an evaluator or a template shows a value that need not be text.
    """
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
