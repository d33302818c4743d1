"""The message that sends an unusable reply back to the model."""

from __future__ import annotations

REPAIR = (
    "That reply cannot be used: {fault}. Answer again with just one JSON object of the form that "
    "was asked for, and nothing around it."
)
SHOWN_FAULTS = 3


def join_faults(faults: list[str]) -> str:
    """Join the first few faults into one line: `a; b; c and 2 more`."""
    more = f" and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
    return "; ".join(faults[:SHOWN_FAULTS]) + more
