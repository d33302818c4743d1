"""Finds the rows that a database refuses, by splitting a batch into halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from loomgit.domain.ports import LoadReceipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.values import JsonObject


class RowRefusedError(Exception):
    """The database refused a row of a batch. The message is the reason."""


def require_accepted(rows: Iterable[JsonObject], refusal: Callable[[JsonObject], str]) -> None:
    """Raise RowRefusedError for the first row for which `refusal` returns a reason."""
    for row in rows:
        if reason := refusal(row):
            raise RowRefusedError(reason)


def load_accepted(
    rows: Sequence[JsonObject], load: Callable[[Sequence[JsonObject]], LoadReceipt]
) -> tuple[LoadReceipt, dict[int, str]]:
    """Load all rows that the database accepts.

    `load` writes several rows or, if it raises RowRefusedError, none of them. Returns the receipt
    and the reason for each refused row, by its index. If one of n rows is refused, `load` is called
    about 2 log2(n) times.
    """
    refused: dict[int, str] = {}
    receipt = LoadReceipt()
    pending = [(0, len(rows))]
    while pending:
        start, end = pending.pop()
        try:
            receipt += load(rows[start:end])
        except RowRefusedError as refusal:
            if end - start == 1:
                refused[start] = str(refusal)
            else:
                middle = (start + end) // 2
                pending += [(middle, end), (start, middle)]
    return receipt, refused


def encode_refused(refused: Mapping[int, str]) -> str:
    """Return the reasons for refused rows as the text of a JSON object."""
    return orjson.dumps(dict(refused), option=orjson.OPT_NON_STR_KEYS).decode()


def decode_refused(text: str) -> dict[int, str]:
    """Return the reasons for refused rows, by the index of the row."""
    return {int(index): str(reason) for index, reason in orjson.loads(text).items()}
