"""Types of numeric options, limited to values that a machine can process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import Any

MAX_INTEGER = 1_000_000_000  # of records, cases or samples
MAX_CONCURRENCY = 10_000  # concurrent calls; each uses memory and a connection


class WholeNumber(click.IntRange):
    """An integer from `min` to `max`."""

    def __init__(self, min: int = 0, max: int = MAX_INTEGER) -> None:  # noqa: A002 - names of click
        super().__init__(min, max)


class FiniteNumber(click.FloatRange):
    """A finite number in a range; rejects `nan` and infinity."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - signature of click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Parse the number. Raises click.BadParameter."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number
