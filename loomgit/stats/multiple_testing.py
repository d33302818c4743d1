"""Adjust p-values for the number of metrics in a gate run, so that chance alone rarely blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.stats.gate import decide
from loomgit.stats.lazy_numpy import np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.gate import MetricChange


def adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return adjusted p-values in the given order (Benjamini and Hochberg, JRSS B 57, 1995)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return tuple(adjusted.tolist())


def decide_family(changes: Sequence[MetricChange]) -> tuple[MetricChange, ...]:
    """Decide all gated metrics of one gate run with p-values adjusted for their number.

    `changes` must contain every gated metric of every pipeline, including identical ones, and no
    metric that is not gated. Each metric keeps its own `max_drop`.
    """
    adjusted = adjust([change.p for change in changes])
    return tuple(
        decide(replace(change, adjusted=p)) for change, p in zip(changes, adjusted, strict=True)
    )
