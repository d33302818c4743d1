"""Outages: a model has an outage after a number of consecutive lost calls."""

from __future__ import annotations


class LossStreak:
    """Counts the consecutive lost calls since the last successful call.

    An outage begins after `collapse` lost calls, or after `outage` lost calls if no call ever
    succeeded.
    """

    def __init__(self, outage: int, collapse: int) -> None:
        self._outage = outage
        self._collapse = collapse
        self._answered = False
        self.losses = 0

    @property
    def is_outage(self) -> bool:
        """Whether the number of consecutive lost calls makes further calls pointless."""
        return self.losses >= (self._collapse if self._answered else self._outage)

    def record(self, *, lost: bool) -> None:
        """Count one call."""
        if lost:
            self.losses += 1
        else:
            self._answered = True
            self.losses = 0
