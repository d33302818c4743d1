"""Render a bill (the cost of model calls) as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.report.text import money

if TYPE_CHECKING:
    from loomgit.domain.bills import Bill
    from loomgit.domain.values import JsonObject


def bill_line(bill: Bill) -> str:
    """Return the bill as one line, such as `$0.0123 for 45 model calls`.

    If there are calls with an unknown price, or calls without a reply, the line also contains
    their numbers.
    """
    calls = f"{bill.calls:,} model call{'s' if bill.calls != 1 else ''}"
    parts = [f"{money(bill.cost)} for {calls}"]
    if bill.unpriced:
        unpriced = f"the price of {bill.unpriced:,} calls is unknown"
        parts.append(f"{unpriced}, the other calls cost {money(bill.known)}")
    if bill.unanswered:
        parts.append(f"{bill.unanswered:,} more calls had no reply and may have been charged")
    return "; ".join(parts)


def bill_document(bill: Bill) -> JsonObject:
    """Return the bill as JSON, with amounts in USD.

    `total` is null if the price of a call is unknown; `known` is the known part of the cost.
    """
    return {
        "total": bill.cost,
        "known": bill.known,
        "calls": bill.calls,
        "unpriced": bill.unpriced,
        "unanswered": bill.unanswered,
    }
