"""Checks the labels and the fields of examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.domain.values import to_json
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.training import LabelledExample
    from loomgit.domain.values import Json

MAX_SHOWN = 40  # characters of a value in a message


def parse_label(label: Json, place: str) -> Json:
    """Return a label: a text, a number or a boolean. A number such as 1.0 becomes an integer.

    Raises UserError, with `place` at its start, if the label is empty or another JSON value.
    """
    if label is None or label == "":
        raise UserError(located(place, "the label is empty"))
    if isinstance(label, list | dict):
        raise UserError(
            located(place, f"the label {shown(label)} is not a text, a number or a boolean")
        )
    if isinstance(label, float):
        if not math.isfinite(label):
            raise UserError(located(place, f"the label {label} is not a finite number"))
        return int(label) if label.is_integer() else label
    return label


def check_fields(example: LabelledExample, fields: Sequence[str]) -> None:
    """Raise UserError if a field of the example is neither a text, a number, a boolean nor null."""
    for name in fields:
        value = example.input.get(name)
        if isinstance(value, list | dict):
            raise UserError(
                located(example.place, f"the field '{name}' is not a text: {shown(value)}"),
                hint="a classifier reads texts, numbers and booleans",
            )


def located(place: str, message: str) -> str:
    """Return the message with the place at its start, if the place is known."""
    return f"{place}: {message}" if place else message


def shown(value: Json) -> str:
    """Return the value as JSON for a message, shortened to 40 characters."""
    try:
        text = to_json(value).decode()
    except (TypeError, ValueError):  # an integer of more than 64 bits, or an unpaired surrogate
        text = ascii(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
