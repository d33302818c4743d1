"""Compares a number with a threshold."""

from __future__ import annotations

from typing import Literal

Comparison = Literal[">", ">=", "<", "<="]


def holds(value: float, comparison: Comparison, threshold: float) -> bool:
    """Return whether the value satisfies the comparison with the threshold."""
    match comparison:
        case ">":
            return value > threshold
        case ">=":
            return value >= threshold
        case "<":
            return value < threshold
        case "<=":
            return value <= threshold
