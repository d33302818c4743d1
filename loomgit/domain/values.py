"""JSON values: the content of records, outputs and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ForwardRef, TypeAlias

import orjson
from msgspec.structs import asdict

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:  # `inspect.signature` must be able to resolve `Json` in annotations of any module
    Json = ForwardRef(
        "bool | int | float | str | list[Json] | dict[str, Json] | None", module=__name__
    )
JsonObject: TypeAlias = dict[str, Json]
JsonMapping: TypeAlias = Mapping[str, Json]


def to_json(value: object, *, option: int = 0) -> bytes:
    """Return the JSON text of a definition, a result or a JSON value. NaN becomes null.

    `option` is passed to `orjson.dumps`. Raises TypeError if the value contains an object of
    another type.
    """
    return orjson.dumps(value, default=asdict, option=option)


def to_plain(value: object) -> Any:  # noqa: ANN401 - each caller knows the type
    """Convert a definition or a result to JSON types: dicts, lists, texts, numbers, null."""
    return orjson.loads(to_json(value))


def as_text(value: Json) -> str:
    """Return the value as readable text: a text unchanged, any other value as compact JSON.

    Evaluators and templates use this function for values that may not be text.
    """
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
