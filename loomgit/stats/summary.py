"""Summaries of numbers: moments of a stream in constant memory, and percentiles of a list."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Moments:
    """The mean, standard deviation and extremes of a stream, in one pass and constant memory.

    Welford's recurrence (Technometrics 4(3), 1962) avoids the cancellation of sums of squares.
    """

    __slots__ = ("_m2", "_mean", "max", "min", "n")

    def __init__(self) -> None:
        self.n = 0
        self.min = math.inf
        self.max = -math.inf
        self._mean = 0.0
        self._m2 = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        self.n += 1
        delta = value - self._mean
        self._mean += delta / self.n
        self._m2 += delta * (value - self._mean)
        self.min = min(self.min, value)
        self.max = max(self.max, value)

    @property
    def mean(self) -> float | None:
        """The arithmetic mean, or None if there are no values.

        The mean is always between `min` and `max`, despite rounding errors.
        """
        return min(max(self._mean, self.min), self.max) if self.n else None

    @property
    def std(self) -> float | None:
        """The sample standard deviation (ddof 1), or None for fewer than two values."""
        return math.sqrt(self._m2 / (self.n - 1)) if self.n > 1 else None


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """Return the q-th percentile (q in [0, 100]) of ascending values.

    The result is None if there are no values. The percentile is interpolated linearly between the
    closest ranks: type 7 of Hyndman and Fan, NumPy's default.
    """
    if not ordered:
        return None
    position = (len(ordered) - 1) * q / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
