"""Makes labelled examples of the rows of a file, and checks their labels and fields."""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING

from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.training import LabelledExample
from loomgit.domain.values import as_text, to_json
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.domain.values import Json, JsonMapping

MAX_SHOWN = 40  # characters of a value in a message


def parse_examples(
    rows: Iterable[JsonMapping],
    *,
    label_field: str,
    path: str,
    lines: Iterable[int] | None = None,
    allowed_labels: Sequence[Json] | None = None,
) -> Iterator[LabelledExample]:
    """Yield an example for each row of the file `path`: its label, and its other fields as input.

    `lines` are the line numbers of the rows; without them, messages count the rows.
    `allowed_labels` is the `enum` of the output schema. A text such as `1` or `true`, which CSV
    files contain, becomes the allowed number or boolean with this JSON text.

    Raises UserError if the file has no rows, or if a row has no label or another label.
    """
    texts = {} if allowed_labels is None else {as_text(label): label for label in allowed_labels}
    number = 0
    for number, (row, line) in enumerate(zip(rows, lines or count(-1, -1), strict=False), start=1):
        place = f"{path}:{line}" if line > 0 else f"{path}: row {number}"
        if label_field not in row:
            raise UserError(
                f"{place}: the label field '{label_field}' is missing",
                hint=suggest_or_list(label_field, row, "fields"),
            )
        label = parse_label(row[label_field], place)
        if allowed_labels is not None and not _is_in(label, allowed_labels):
            if not isinstance(label, str) or label not in texts:
                raise UserError(
                    f"{place}: the output schema does not allow the label {shown(label)}",
                    hint=suggest_or_list(as_text(label), texts, "labels"),
                )
            label = texts[label]
        inputs = {name: value for name, value in row.items() if name != label_field}
        yield LabelledExample(inputs, label, place)
    if number == 0:
        raise UserError(f"{path}: contains no examples")


def parse_label(label: Json, place: str) -> Json:
    """Return the label, a text, a number or a boolean. A number such as 1.0 becomes an integer.

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


def _is_in(label: Json, allowed: Sequence[Json]) -> bool:
    """Return whether the label is one of the allowed ones. True and 1 are different labels."""
    return any(
        label == each and isinstance(label, bool) == isinstance(each, bool) for each in allowed
    )
