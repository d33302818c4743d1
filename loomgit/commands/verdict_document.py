"""The JSON document of a verdict on a change, for `loom ci` and `loom hooks run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.report.comparison import document

if TYPE_CHECKING:
    from loomgit.domain.values import JsonObject
    from loomgit.workflows.guard.guard import GuardVerdict


def verdict_document(verdict: GuardVerdict) -> JsonObject:
    """Return the comparison of a change, with the results of its tests."""
    unmeasured = verdict.unmeasured
    return {
        **document(verdict.comparison, blocked=verdict.blocked),
        "failures": [failure.outcome.full_name for failure in verdict.failures],
        "accepted": list(verdict.accepted),
        "unverified": [outcome.full_name for outcome in verdict.unverified],
        "unread": list(verdict.unread),
        "lost": list(verdict.lost),
        "unmeasured": None if unmeasured is None else unmeasured.message,
    }
