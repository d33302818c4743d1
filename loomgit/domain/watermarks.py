"""Watermarks: what earlier runs have read from the source of an incremental extraction.

All records with a cursor below the watermark minus the lag are done: earlier runs have loaded or
rejected them. Of the records above that, only those that the watermark remembers are done.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Struct, field

# `msgspec` decodes JSON into `Watermark`, so the type `CursorKind` is needed at run time.
from loomgit.domain.cursors import (
    CursorKind,
    CursorPoint,
    parse_position,
    render_position,
)
from loomgit.domain.keys import canonical, find_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from loomgit.domain.cursors import Position
    from loomgit.domain.records import RefusedRow
    from loomgit.domain.values import Json, JsonMapping

FORMAT = 1  # the version of a stored watermark
MOST_REMEMBERED = 1_000_000  # the maximum number of records that a watermark remembers
_DIGEST = 16  # bytes


class DoneRecords:
    """The records that are done, as digests, grouped by the text of their cursor's position.

    Records with equal digests are counted. The group None contains rows that could not be read:
    their cursor is unknown.
    """

    def __init__(self) -> None:
        self._groups: dict[str | None, bytearray] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values())) // _DIGEST

    def add(self, position: str | None, digest: bytes) -> None:
        """Add a record. `position` is the text of its cursor's position."""
        group = self._groups.get(position)
        if group is None:
            self._groups[position] = bytearray(digest)
        else:
            group += digest

    def add_all(self, other: DoneRecords) -> None:
        """Add all records of `other`."""
        for position, digests in other._groups.items():
            self.add(position, bytes(digests))

    def counts(self) -> Counter[bytes]:
        """Return the number of records by digest."""
        return Counter(digest for _, digest in self._items())

    def highest(self, kind: CursorKind) -> Position | None:
        """Return the highest position, or None if no record has one."""
        positions = [parse_position(text, kind) for text in self._groups if text is not None]
        return max(positions, default=None)

    def since(self, start: CursorPoint | None, unread: Iterable[bytes]) -> DoneRecords:
        """Return the records at `start` and above. None means all of them.

        Of the rows whose cursor is unknown, those in `unread` are returned.
        """
        kept = DoneRecords()
        for position, digests in self._groups.items():
            if position is None:
                continue
            if start is None or parse_position(position, start.kind) >= start.position:  # type: ignore[operator]
                kept.add(position, bytes(digests))
        for digest in unread:
            kept.add(None, digest)
        return kept

    def _items(self) -> Iterator[tuple[str | None, bytes]]:
        for position, digests in self._groups.items():
            for offset in range(0, len(digests), _DIGEST):
                yield position, bytes(digests[offset : offset + _DIGEST])

    def pack(self) -> bytes:
        """Return the records as bytes, for `unpack`."""
        groups = [(position, bytes(digests)) for position, digests in self._groups.items()]
        return msgspec.msgpack.encode(groups)

    @classmethod
    def unpack(cls, packed: bytes) -> DoneRecords:
        """Return the records that `pack` has packed. Raises ValueError for other bytes."""
        done = cls()
        if packed:
            for position, digests in msgspec.msgpack.decode(
                packed, type=list[tuple[str | None, bytes]]
            ):
                done.add(position, digests)
        return done


class Watermark(Struct, frozen=True):
    """The watermark of a pipeline at a destination.

    `value` is the text of a position of the field `cursor`, whose values have the given `kind`.
    Both are None until a run has read a record. `done` are the packed `DoneRecords` whose cursor is
    at least `value` minus the lag. `run` is the uid of the run that has set the watermark.
    `has_rows` is true if a run has loaded rows. `source` is the source that this run has read.
    """

    cursor: str
    kind: CursorKind | None = None
    value: str | None = None
    done: bytes = b""
    run: str = ""
    has_rows: bool = False
    source: str = ""
    format: int = FORMAT

    @property
    def point(self) -> CursorPoint | None:
        """The position of the watermark, or None."""
        if self.kind is None or self.value is None:
            return None
        return CursorPoint(self.kind, parse_position(self.value, self.kind))


class SourceProgress(Struct, frozen=True):
    """What is stored about the progress of a pipeline at a destination.

    `parts` are packed `DoneRecords` by the uid of the run: the records that a run has loaded since
    it started. They are removed when the run sets the watermark. `has_destination` is false if the
    table or file of the destination does not exist. `other_sources` are the sources that other
    pipelines, or this one with other targets, have read into the destination, by a name such as
    `orders` or `orders (target prod)`.
    """

    watermark: Watermark | None = None
    parts: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    has_destination: bool = True
    other_sources: Mapping[str, str] = field(default_factory=dict)


class WatermarkStore(Protocol):
    """Stores the watermark of a pipeline: in the destination, or in a file of the project."""

    stores_parts: bool
    """Whether the destination stores the loaded records of each part in the part's transaction."""

    def has_published(self, state: Path) -> bool:
        """Whether the run with the folder `state` may have published rows without its records."""
        ...

    def check(self) -> None:
        """Raise UserError or WorldError if a watermark cannot be stored. Writes nothing."""
        ...

    def load(self) -> SourceProgress:
        """Return what is stored. Raises UserError or WorldError."""
        ...

    def save(self, watermark: Watermark, runs: Iterable[str]) -> None:
        """Store the watermark, and remove the parts of these runs, in one transaction."""
        ...


class LoadedParts:
    """The records of the parts that a run is loading, for a destination that stores them.

    `add` is called before the destination loads the part, and `take` in the part's transaction.
    """

    def __init__(self, run: str, pipeline: str, target: str) -> None:
        self.run = run
        self.pipeline = pipeline
        self.target = target
        self._parts: dict[int, list[tuple[str, bytes] | None]] = {}

    def add(self, part: int, records: list[tuple[str, bytes] | None]) -> None:
        """Add the position and the digest of each record of a part, in the order of its rows.

        None stands for a record without a cursor.
        """
        self._parts[part] = records

    def take(self, part: int, refused: Iterable[int]) -> bytes:
        """Return the packed records of a part, without the refused rows, given by their indexes."""
        left_out = set(refused)
        done = DoneRecords()
        for index, record in enumerate(self._parts.pop(part, [])):
            if record is not None and index not in left_out:
                done.add(*record)
        return done.pack() if len(done) else b""


def record_digest(row: JsonMapping, key: Sequence[str], position: str) -> bytes:
    """Return the digest of a record with this position of its cursor.

    The record is identified by its key and its cursor, so that a record that changes is read again
    if its cursor changes. Without a key, it is identified by all its fields.
    """
    values = [row.get(name) for name in find_key(tuple(row), key)]
    return digest_values(position, values) or _digest([position, row])


def digest_values(position: str, key: list[Json]) -> bytes | None:
    """Return the digest of a record with these values of its key fields.

    The result is None if there is no key field, or if a field has no value. The record is then
    identified by all its fields; see `record_digest`.
    """
    return _digest([position, key]) if key and None not in key and "" not in key else None


def _digest(value: object) -> bytes:
    return hashlib.blake2b(canonical(value), digest_size=_DIGEST).digest()


def refused_digest(row: RefusedRow) -> bytes:
    """Return the digest of a row that cannot be read. Equal texts have equal digests."""
    return hashlib.blake2b((row.text or str(row)).encode(), digest_size=_DIGEST).digest()


def render_point(point: CursorPoint | None) -> str | None:
    """Return a point as text, or None."""
    return None if point is None else render_position(point.position, point.kind)
