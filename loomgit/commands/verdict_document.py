"""The JSON documents of `loom ci` and `loom hooks run`: verdicts on changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.bills import Bill
from loomgit.report.bill import bill_document
from loomgit.report.comparison import document

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def hook_document(
    hook: str,
    *,
    blocked: bool = False,
    changes: Sequence[JsonObject] = (),
    bill: Bill | None = None,
    error: str | None = None,
) -> JsonObject:
    """Return the document of one run of a hook.

    `changes` are the verdicts. `error` is the reason why the hook judged nothing.
    """
    return {
        "schema_version": 1,
        "hook": hook,
        "blocked": blocked,
        "changes": [*changes],
        "spent": bill_document(bill or Bill()),
        "error": error,
    }
