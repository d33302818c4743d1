"""JSON values: what records, outputs and parameters are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ForwardRef, TypeAlias

import orjson
from msgspec.structs import asdict

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:  # so that who reads annotations (`inspect.signature`) finds it from any module
    Json = ForwardRef(
        "bool | int | float | str | list[Json] | dict[str, Json] | None", module=__name__
    )
JsonObject: TypeAlias = dict[str, Json]
JsonMapping: TypeAlias = Mapping[str, Json]


def to_json(value: object, *, option: int = 0) -> bytes:
    """The JSON text of a value of the domain; a number that JSON has not (NaN) is null there.

    `option` is orjson's. Raises TypeError where the value holds what is no definition, result or
    JSON value.
    """
    return orjson.dumps(value, default=asdict, option=option)


def to_plain(value: object) -> Any:  # noqa: ANN401 - as each caller knows it
    """A value of the domain in JSON's own types."""
    return orjson.loads(to_json(value))


def as_text(value: Json) -> str:
    """The value as a person would read it: text as it is, anything else as compact JSON.

    Used wherever an evaluator or a template shows a value that need not be text.
    """
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
