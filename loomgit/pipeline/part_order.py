"""Puts the parts of earlier attempts into the order in which they were loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def adjacent_parts(extents: Mapping[int, tuple[int, int]]) -> list[list[int]]:
    """Return the parts in order, in groups that one pass over the records can load.

    `extents` maps each part to the first and the last index of its records. In a group, the records
    of a part come before those of the next part. An attempt begins its parts in this order, so
    there are at most as many groups as attempts.
    """
    groups: list[list[int]] = []
    last_index = -1
    for part, (first, last) in sorted(extents.items()):
        if not groups or first <= last_index:
            groups.append([])
        groups[-1].append(part)
        last_index = last
    return groups
