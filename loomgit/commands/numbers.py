"""Numbers on the command line, within bounds that a machine can keep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import Any

MOST = 1_000_000_000  # records, cases, samples
MOST_CALLS = 10_000  # in flight: each takes memory and a connection


class WholeNumber(click.IntRange):
    """An integer from `min` to `max`."""

    def __init__(self, min: int = 0, max: int = MOST) -> None:  # noqa: A002 - click's names
        super().__init__(min, max)


class FiniteNumber(click.FloatRange):
    """A number in a range; `nan` is in none."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the number, or fail."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number
