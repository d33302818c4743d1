"""A bill as people and programs read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.report.text import money

if TYPE_CHECKING:
    from loomgit.domain.bills import Bill
    from loomgit.domain.values import JsonObject


def bill_line(bill: Bill) -> str:
    """`$0.0123 for 45 model calls`; says which calls may have cost more."""
    calls = f"{bill.calls:,} model call{'s' if bill.calls != 1 else ''}"
    parts = [f"{money(bill.cost)} for {calls}"]
    if bill.unpriced:
        parts.append(f"{bill.unpriced:,} of unknown price, the others {money(bill.known)}")
    if bill.unanswered:
        parts.append(f"{bill.unanswered:,} more had no reply and may have been charged")
    return "; ".join(parts)


def bill_document(bill: Bill) -> JsonObject:
    """The bill as JSON: `total` in USD, null if the price of a call is unknown."""
    return {
        "total": bill.cost,
        "known": bill.known,
        "calls": bill.calls,
        "unpriced": bill.unpriced,
        "unanswered": bill.unanswered,
    }
