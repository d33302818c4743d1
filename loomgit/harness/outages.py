"""Decides when the sample queue stops calling a provider.

A draw is a call that produces one sample. A party is a group of draws that call the same provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.outages import LossStreak
from loomgit.errors import Denied

if TYPE_CHECKING:
    from loomgit.domain.samples import Sample
    from loomgit.errors import LoomError, UserError

# If this many draws of a party are lost in a row, Loom does not attempt the party's other draws.
# OUTAGE applies if no draw of the party has succeeded so far. Otherwise, COLLAPSE applies.
OUTAGE = 3
COLLAPSE = 10


class ProviderOutages:
    """Keeps track of the parties whose remaining draws are not attempted.

    The provider of such a party has an outage or denies all calls.
    """

    def __init__(self) -> None:
        self._denied: dict[str, Denied] = {}
        self._streaks: dict[str, LossStreak] = {}
        self._outages: dict[str, str] = {}  # party -> reason

    @property
    def denied(self) -> Denied | None:
        """The first error from a provider that denies all calls; None if there is no such error."""
        return next(iter(self._denied.values()), None)

    def reason(self, party: str) -> str:
        """Return the reason why Loom no longer calls a party, or "" if Loom still calls it."""
        if (denied := self._denied.get(party)) is not None:
            return describe(denied)
        return self._outages.get(party, "")

    def deny(self, party: str, error: Denied | UserError) -> str:
        """Record that the provider of a party denies all calls, and return the reason.

        Loom then makes no more calls for this party.
        """
        if not isinstance(error, Denied):
            error = Denied(error.message, hint=error.hint)
        self._denied[party] = error
        return describe(error)

    def record(self, party: str, sample: Sample) -> None:
        """Record whether a draw of a party was answered or lost, and detect an outage."""
        streak = self._streaks.setdefault(party, LossStreak(OUTAGE, COLLAPSE))
        streak.record(lost=sample.trouble == "infrastructure")
        if streak.is_outage:
            self._outages[party] = sample.failure


def describe(error: LoomError) -> str:
    """Return an error's message, followed by its hint in parentheses."""
    return f"{error.message} ({error.hint})" if error.hint else error.message
