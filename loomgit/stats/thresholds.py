"""Compare a number with a threshold."""

from __future__ import annotations

from typing import Literal

Comparison = Literal[">", ">=", "<", "<="]


def holds(value: float, comparison: Comparison, threshold: float) -> bool:
    """Whether the value satisfies the comparison, without regard to uncertainty."""
    match comparison:
        case ">":
            return value > threshold
        case ">=":
            return value >= threshold
        case "<":
            return value < threshold
        case "<=":
            return value <= threshold
