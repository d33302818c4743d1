"""Finds the keys that several records of a run have, and the records that a later one replaces."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from loomgit.stats.lazy_numpy import np

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from loomgit.domain.records import Record


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


class NewestRecords:
    """The newest loaded record of each key.

    `repeated` contains the hashes of the keys that several records have; other keys are ignored. If
    it is None, no key is ignored.
    """

    def __init__(self, repeated: Container[int] | None = None) -> None:
        self._repeated = repeated
        self._positions: dict[str, int] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Add records that are loaded."""
        for record in records:
            if self._repeated is None or hash(record.key) in self._repeated:
                newest = self._positions.get(record.key, -1)
                self._positions[record.key] = max(newest, record.index)

    def has_later(self, record: Record) -> bool:
        """Whether a loaded record with the same key comes after this record in the source."""
        return self._positions.get(record.key, -1) > record.index
