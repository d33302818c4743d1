"""Many metrics at once: one family of p-values a gate run, so that luck does not block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from loomgit.stats.gate import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.gate import Change


def adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """Benjamini and Hochberg's adjusted p-values (JRSS B 57, 1995), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return tuple(adjusted.tolist())


def decide_family(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Decide again all gated metrics of one gate run, by p-values adjusted for their number.

    Give it every gated metric of every pipeline, identical ones too, and no informational one.
    Materiality stays each metric's own (`max_drop`).
    """
    adjusted = adjust([change.p for change in changes])
    return tuple(
        decide(replace(change, adjusted=p)) for change, p in zip(changes, adjusted, strict=True)
    )
