"""Detects outages from consecutive lost calls.

A call is lost if a cause outside Loom, such as the network, prevents the reply.
"""

from __future__ import annotations


class LossStreak:
    """Counts the lost calls since the last successful call.

    If at least one call has succeeded, an outage begins after `collapse` consecutive lost calls.
    Otherwise, it begins after `outage` lost calls.
    """

    def __init__(self, outage: int, collapse: int) -> None:
        self._outage = outage
        self._collapse = collapse
        self._answered = False
        self.losses = 0

    @property
    def is_outage(self) -> bool:
        """Whether so many consecutive calls were lost that further calls are pointless."""
        return self.losses >= (self._collapse if self._answered else self._outage)

    def record(self, *, lost: bool) -> None:
        """Record whether a call was lost."""
        if lost:
            self.losses += 1
        else:
            self._answered = True
            self.losses = 0
