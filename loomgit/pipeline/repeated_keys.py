"""Finds the keys that several records of a run have."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from loomgit.stats.lazy_numpy import np

if TYPE_CHECKING:
    from collections.abc import Iterable


def last_positions(keys: Iterable[str]) -> dict[int, int]:
    """Return the position of the last occurrence of each key that occurs more than once.

    The keys of the result are the hashes of the texts in this process. Each text needs eight bytes
    of memory during the call.
    """
    hashes = array("q", map(hash, keys))
    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64)) if hashes else np.empty(0, np.int64)
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not repeated:
        return {}
    return {value: position for position, value in enumerate(hashes) if value in repeated}
