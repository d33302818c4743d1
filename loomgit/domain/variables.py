"""The variables of a pipeline: the defaults in its file, and the values that replace them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.exact_json import parse_exact
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.values import Json

_BOOLEANS = {"true": True, "false": False}


def merge_variables(defaults: Mapping[str, Json], given: Mapping[str, Json]) -> dict[str, Json]:
    """Return the defaults of a pipeline, replaced and extended by the `given` values.

    A text from the command line gets the type of its default: `n=5` is a number if the default of
    `n` is a number. The number is written as in JSON. Raises UserError for any other text.
    """
    return {**defaults, **{name: _typed(name, value, defaults) for name, value in given.items()}}


def _typed(name: str, value: Json, defaults: Mapping[str, Json]) -> Json:
    default = defaults.get(name)
    if not isinstance(value, str) or default is None or isinstance(default, str):
        return value
    if isinstance(default, bool):
        if value.lower() in _BOOLEANS:
            return _BOOLEANS[value.lower()]
        raise UserError(f"the variable '{name}' must be true or false, not {value!r}")
    try:
        number = parse_exact(value.encode())
    except ValueError as error:  # not JSON, or more than 64 bits
        raise UserError(f"the variable '{name}' must be a number, not {value!r}") from error
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UserError(f"the variable '{name}' must be a number, not {value!r}")
    return number
