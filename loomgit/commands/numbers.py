"""Types of numeric options, limited to values that a machine can process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import Any

MAX_INTEGER = 1_000_000_000  # the maximum number of records, cases or samples
MAX_CONCURRENCY = 10_000  # limits concurrent calls, because each uses memory and a connection


class WholeNumber(click.IntRange):
    """An integer from `min` to `max`."""

    def __init__(self, min: int = 0, max: int = MAX_INTEGER) -> None:  # noqa: A002 - click uses these names
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


class Share(click.FloatRange):
    """A ratio from 0 to `max` (None: no maximum), as a number or in percent: `0.05` or `5%`.

    If `above_zero` is true, 0 is not allowed.
    """

    def __init__(self, max: float | None = None, *, above_zero: bool = False) -> None:  # noqa: A002 - click uses this name
        super().__init__(min=0, max=max, min_open=above_zero)

    def convert(
        self,
        value: Any,  # noqa: ANN401 - signature of click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Parse the ratio. Raises click.BadParameter."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not math.isfinite(share):
            self.fail(f"{text!r} is not a share such as 0.05 or 5%", param, ctx)
        number: float = super().convert(share, param, ctx)
        return number
