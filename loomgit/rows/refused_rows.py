"""Finds the rows that a database refuses, by splitting a batch into halves."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import orjson

from loomgit.domain.ports import LoadReceipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from loomgit.domain.values import JsonObject

RowPlace: TypeAlias = tuple[int, int]  # the part of a row, and the index of the row in the part


class RowRefusedError(Exception):
    """The database refused a row of a batch. The message is the reason."""


class RowsRefusedError(Exception):
    """The database refused rows, and nothing was written. `reasons` are the reasons by row."""

    def __init__(self, reasons: Mapping[RowPlace, str]) -> None:
        super().__init__(next(iter(reasons.values()), ""))
        self.reasons = reasons


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


def load_all(
    rows: Iterator[tuple[RowPlace, JsonObject]],
    load: Callable[[Sequence[JsonObject]], LoadReceipt],
    *,
    batch_size: int,
) -> LoadReceipt:
    """Load rows in batches, as `load_accepted` does, and return the receipt.

    A row may need a row that comes later, for example because of a foreign key to its own table.
    Therefore, refused rows are loaded again after all others. Raises RowsRefusedError for the rows
    that are still refused.
    """
    receipt = LoadReceipt()
    refused: dict[RowPlace, tuple[JsonObject, str]] = {}

    def load_batch(batch: Sequence[tuple[RowPlace, JsonObject]]) -> None:
        nonlocal receipt
        loaded, reasons = load_accepted([row for _, row in batch], load)
        receipt += loaded
        for index, reason in reasons.items():
            place, row = batch[index]
            refused[place] = row, reason

    while batch := list(islice(rows, batch_size)):
        load_batch(batch)
    remaining = 0
    while refused and len(refused) != remaining:
        remaining = len(refused)
        late = [(place, row) for place, (row, _) in refused.items()]
        refused.clear()
        load_batch(late)
    if refused:
        raise RowsRefusedError({place: reason for place, (_, reason) in sorted(refused.items())})
    return receipt


def encode_refused(refused: Mapping[int, str]) -> str:
    """Return the reasons for refused rows as the text of a JSON object."""
    return orjson.dumps(dict(refused), option=orjson.OPT_NON_STR_KEYS).decode()


def decode_refused(text: str) -> dict[int, str]:
    """Return the reasons for refused rows, by the index of the row."""
    return {int(index): str(reason) for index, reason in orjson.loads(text).items()}
