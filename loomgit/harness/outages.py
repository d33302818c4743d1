"""Decides when the queue of samples stops calling a provider.

A party is a group of draws that call the same provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.outages import LossStreak
from loomgit.errors import Denied

if TYPE_CHECKING:
    from loomgit.domain.samples import Sample
    from loomgit.errors import LoomError, UserError

OUTAGE = 3  # consecutive lost draws that stop a party without any answer
COLLAPSE = 10  # consecutive lost draws that stop a party with earlier answers


class ProviderOutages:
    """The parties that no longer answer, and the parties whose provider denies all calls."""

    def __init__(self) -> None:
        self._denied: dict[str, Denied] = {}
        self._streaks: dict[str, LossStreak] = {}
        self._outages: dict[str, str] = {}  # the reason by party

    @property
    def denied(self) -> Denied | None:
        """The first error of a provider that denies all calls, or None."""
        return next(iter(self._denied.values()), None)

    def reason(self, party: str) -> str:
        """Return the reason why Loom no longer calls a party, or "" if Loom still calls it."""
        if (denied := self._denied.get(party)) is not None:
            return describe(denied)
        return self._outages.get(party, "")

    def deny(self, party: str, error: Denied | UserError) -> str:
        """Stop calling a party until a person solves the problem. Returns the reason."""
        if not isinstance(error, Denied):
            error = Denied(error.message, hint=error.hint)
        self._denied[party] = error
        return describe(error)

    def record(self, party: str, sample: Sample) -> None:
        """Count a sample of a party as answered or lost."""
        streak = self._streaks.setdefault(party, LossStreak(OUTAGE, COLLAPSE))
        streak.record(lost=sample.trouble == "infrastructure")
        if streak.is_outage:
            self._outages[party] = sample.failure


def describe(error: LoomError) -> str:
    """Return the message of an error with its hint, in one line."""
    return f"{error.message} ({error.hint})" if error.hint else error.message
