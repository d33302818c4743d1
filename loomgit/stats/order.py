"""A number against a threshold."""

from __future__ import annotations

from typing import Literal

Comparison = Literal[">", ">=", "<", "<="]


def holds(value: float, comparison: Comparison, threshold: float) -> bool:
    """Whether the bare value satisfies the comparison."""
    match comparison:
        case ">":
            return value > threshold
        case ">=":
            return value >= threshold
        case "<":
            return value < threshold
        case "<=":
            return value <= threshold
