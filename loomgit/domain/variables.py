"""The variables of a pipeline: the defaults in its file, and the values that replace them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.exact_json import parse_exact
from loomgit.domain.values import Json, JsonMapping
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOOLEANS = {"true": True, "false": False}


class GivenValues(Struct, frozen=True):
    """Values for `{{ vars.NAME }}` and `{{ execution_date }}`, from a command line or a test file.

    The variables replace the defaults of a pipeline. If `execution_date` is None, the date is the
    current time.
    """

    variables: JsonMapping = field(default_factory=dict)
    execution_date: datetime | None = None

    def replaced_by(self, other: GivenValues) -> GivenValues:
        """Return these values, replaced and extended by the values of `other`.

        Raises UserError if a text in `other` cannot have the type of the value that it replaces.
        """
        return GivenValues(
            merge_variables(self.variables, other.variables),
            other.execution_date or self.execution_date,
        )


def parse_assignment(text: str) -> tuple[str, str]:
    """Return the name and the value in `name=value`. Raises UserError."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"{text!r} is not of the form name=value")
    return name, value


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
