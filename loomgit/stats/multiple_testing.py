"""Adjusts p-values for the number of metrics. Otherwise, the gate would often block by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.stats.gate import decide
from loomgit.stats.lazy_numpy import np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.gate import MetricChange


def adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the adjusted p-values in the order of `p_values`.

    Source: Benjamini and Hochberg, JRSS B 57, 1995.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return tuple(adjusted.tolist())


def decide_family(changes: Sequence[MetricChange]) -> tuple[MetricChange, ...]:
    """Decide several gated metrics. Their p-values are adjusted for the number of metrics.

    `changes` must contain all gated metrics of all pipelines, including metrics with identical
    scores, and no other metrics. Each metric keeps its own `max_drop`.
    """
    adjusted = adjust([change.p for change in changes])
    return tuple(
        decide(replace(change, adjusted=p)) for change, p in zip(changes, adjusted, strict=True)
    )
