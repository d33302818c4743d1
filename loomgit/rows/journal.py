"""The journal of a run: a file that records the progress of the run, so that it can be resumed.

Each line starts with a letter:

    s<JSON>                 the spool is complete; its count, hash and fields
    c<index> <key> <JSON>   a paid reply for the record with this index in the spool; <key>
                            identifies the request
    o<index> <JSON>         the outcome of the record
    p<part> <ranges>        a part begins: the indexes of its records, such as 0-49 or 0-48,50
    d<part>                 the part is loaded and reported; a negative number stands for a row
                            that was refused when the rows were published

A killed process may leave an incomplete last line. It is ignored and removed. A power failure may
damage the lines after the last part. They are ignored: their records are processed again. A damaged
line before a part is an error, unless it is an outcome or a reply, because a part could be loaded
twice.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from loomgit.errors import WorldError
from loomgit.rows.outcome_json import decode_outcome, encode_outcome, is_paid
from loomgit.rows.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.records import Record, RecordOutcome
    from loomgit.domain.values import JsonObject

_MOST_WAITING = 64 * 1024  # bytes of outcomes that are not written yet
_UNREADABLE = (ValueError, TypeError, KeyError)


class _SpoolLine(Struct, frozen=True):
    count: int
    refused: int
    sha256: str
    fields: tuple[str, ...]
    filled: tuple[str, ...]
    bytes: int


class _ReplyCost(Struct, frozen=True):
    """The only field of a reply that is read when the journal is opened."""

    cost: float | None


class Journal:
    """The journal of one run, in the file at `path`. Creates the file if it does not exist.

    Raises WorldError if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spool: _SpoolLine | None = None
        self._outcomes: dict[int, int] = {}  # the offset in the file, by the index of the record
        # The offsets of the replies for records without an outcome, by index of the record and key.
        self._replies: dict[int, dict[str, list[int]]] = {}
        self.spent: float | None = 0.0  # the cost of all replies in USD, None if a price is unknown
        self._starts: list[int] = []  # of the ranges of records in parts, ascending
        self._ranges: list[tuple[int, int, int]] = []  # (first, last, part), ascending
        self._loaded: set[int] = set()
        self._sizes: dict[int, int] = {}
        self._waiting = bytearray()
        self.has_advanced = False  # whether this attempt has recorded an outcome or a part
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                self._size = self._read()
                os.ftruncate(self._file, self._size)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise self._error(error) from error

    # -- earlier attempts

    def _read(self) -> int:
        """Read all lines, and return the size of the file without an incomplete last line."""
        size = damaged = 0  # `damaged` is the number of the first damaged line, if any
        with os.fdopen(os.dup(self._file), "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    self._read_line(line, size)
                except _UNREADABLE:
                    damaged = damaged or number
                else:
                    if damaged and line.startswith(b"p"):
                        raise WorldError(
                            f"{self._path}:{damaged}: the line is damaged",
                            hint="start a new run without --resume",
                        )
                size += len(line)
        self._ranges.sort()
        self._starts = [first for first, _, _ in self._ranges]
        return size

    def _read_line(self, line: bytes, offset: int) -> None:
        match line[:1]:
            case b"o":
                with suppress(*_UNREADABLE):
                    index = int(line[1 : line.index(b" ")])
                    self._outcomes[index] = offset
                    self._replies.pop(index, None)
            case b"c":
                with suppress(*_UNREADABLE):
                    self._read_reply(line, offset)
            case b"p":
                part, _, ranges = line[1:-1].decode().partition(" ")
                self._ranges += [(first, last, int(part)) for first, last in _parse(ranges)]
                self._sizes[int(part)] = sum(last - first + 1 for first, last in _parse(ranges))
            case b"d":
                self._loaded.add(int(line[1:]))
            case b"s":
                self._spool = msgspec.json.decode(line[1:], type=_SpoolLine)
            case _:
                raise ValueError(line)

    def _read_reply(self, line: bytes, offset: int) -> None:
        index, key, reply = line[1:].split(b" ", 2)
        cost = msgspec.json.decode(reply, type=_ReplyCost).cost
        self.spent = None if cost is None or self.spent is None else self.spent + cost
        replies = self._replies.setdefault(int(index), {})
        replies.setdefault(key.decode(), []).append(offset)

    @property
    def has_spool(self) -> bool:
        """Whether an earlier attempt has completed the spool."""
        return self._spool is not None

    def spool(self, path: Path) -> Spool | None:
        """Return the complete spool at `path`, or None if no attempt has completed it.

        Raises WorldError if the journal has outcomes but no spool: they could be those of other
        records.
        """
        line = self._spool
        if line is None:
            if self._outcomes or self._sizes or self._replies:
                raise WorldError(
                    f"{self._path}: the line of the spool is missing",
                    hint="start a new run without --resume",
                )
            return None
        return Spool(
            path,
            line.count,
            line.refused,
            line.sha256,
            line.fields,
            frozenset(line.filled),
            line.bytes,
        )

    @property
    def part_sizes(self) -> dict[int, int]:
        """The numbers of records of the parts that earlier attempts began, by part."""
        return self._sizes

    @property
    def part_extents(self) -> dict[int, tuple[int, int]]:
        """The first and the last index of the records of these parts, by part.

        A part without records is left out.
        """
        extents: dict[int, tuple[int, int]] = {}
        for first, last, part in self._ranges:
            start, _ = extents.get(part, (first, last))
            extents[part] = (start, last)
        return extents

    def part_of(self, index: int) -> int | None:
        """Return the part of an earlier attempt that contains a record, or None.

        `index` is the index of the record in the spool.
        """
        position = bisect_right(self._starts, index) - 1
        if position < 0:
            return None
        _, last, part = self._ranges[position]
        return part if index <= last else None

    def is_reported(self, part: int) -> bool:
        """Whether an earlier attempt has loaded the part and reported its failed records."""
        return part in self._loaded

    def find(self, record: Record) -> RecordOutcome | None:
        """Return the outcome of a record from an earlier attempt, or None."""
        offset = self._outcomes.get(record.index)
        if offset is None:
            return None
        try:
            with suppress(*_UNREADABLE):
                line = self._line_at(offset)
                return decode_outcome(record, line[line.index(b" ") :])
        except OSError as error:
            raise self._error(error) from error
        return None

    def take_reply(self, index: int, key: str) -> JsonObject | None:
        """Return a reply of an earlier attempt for a record without an outcome, or None.

        Each reply is returned once, and the replies with the same `key` in their order.
        """
        offsets = self._replies.get(index, {}).get(key)
        try:
            while offsets:
                with suppress(*_UNREADABLE):
                    _, _, reply = self._line_at(offsets.pop(0)).split(b" ", 2)
                    value: JsonObject = msgspec.json.decode(reply)
                    return value
        except OSError as error:
            raise self._error(error) from error
        return None

    def reread(self, indexes: Container[int]) -> None:
        """Let `find` also return the outcomes of these records that this attempt has added."""
        self._write(b"")
        offset = 0
        try:
            with os.fdopen(os.dup(self._file), "rb") as file:
                file.seek(0)
                for line in file:
                    if line.startswith(b"o"):
                        with suppress(*_UNREADABLE):
                            index = int(line[1 : line.index(b" ")])
                            if index in indexes:
                                self._outcomes[index] = offset
                    offset += len(line)
        except OSError as error:
            raise self._error(error) from error

    def _line_at(self, offset: int) -> bytes:
        line, length = b"", 4096
        while b"\n" not in line:
            line = os.pread(self._file, length, offset)
            if len(line) < length and b"\n" not in line:
                raise ValueError("a line without an end")
            length *= 4
        return line[: line.index(b"\n")]

    # -- this attempt

    def add(self, outcome: RecordOutcome) -> None:
        """Record the outcome of a record, so that its calls are not paid again.

        If no call of the record has a cost, the outcome is written together with the next line that
        another method writes, or when many outcomes wait.
        """
        self.has_advanced = True
        line = b"o%d %b\n" % (outcome.record.index, encode_outcome(outcome))
        if is_paid(outcome) or len(self._waiting) > _MOST_WAITING:
            self._write(line)
        else:
            self._waiting += line

    def add_reply(self, index: int, key: str, reply: JsonObject) -> None:
        """Record a paid reply for a record, so that it is not paid again if the record is lost."""
        self.has_advanced = True
        self._write(b"c%d %b %b\n" % (index, key.encode(), msgspec.json.encode(reply)))

    def keep_spool(self, spool: Spool) -> None:
        """Record that the spool is complete."""
        line = _SpoolLine(
            spool.count,
            spool.refused,
            spool.sha256,
            spool.fields,
            tuple(spool.filled),
            spool.bytes,
        )
        self._write(b"s" + msgspec.json.encode(line) + b"\n")
        self.sync()

    def begin_part(self, part: int, indexes: Sequence[int]) -> None:
        """Record the records of a part before the part is loaded. `indexes` are ascending.

        Call `sync` before the part is loaded.
        """
        self.has_advanced = True
        self._write(f"p{part} {_render(indexes)}\n".encode())

    def report_part(self, part: int) -> None:
        """Record that the part is loaded, and that its failed records are reported."""
        self.has_advanced = True
        self._write(b"d%d\n" % part)

    def close(self) -> None:
        """Write the waiting outcomes and close the file.

        If they cannot be written, they are lost, which costs nothing (see `add`).
        """
        with suppress(WorldError):
            if self._waiting:
                self._write(b"")
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        line = bytes(self._waiting) + line
        self._waiting.clear()
        try:
            written = os.pwrite(self._file, line, self._size)
            while written < len(line):
                written += os.pwrite(self._file, line[written:], self._size + written)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise self._error(error) from error
        self._size += len(line)

    def sync(self) -> None:
        """Wait until everything that was recorded is on the disk. Any thread may call this method.

        After a power failure, the journal then still contains the parts that have begun, and the
        outcomes of their records. Without them, a resumed run could form other parts than those
        that are already loaded.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> WorldError:
        return WorldError(f"{self._path}: {error.strerror or error}")


def _render(indexes: Iterable[int]) -> str:
    """Return ascending numbers as ranges, such as `0-48,50`."""
    if isinstance(indexes, range) and indexes.step == 1 and len(indexes) > 1:
        return f"{indexes[0]}-{indexes[-1]}"
    ranges: list[list[int]] = []
    for index in indexes:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def _parse(ranges: str) -> Iterator[tuple[int, int]]:
    for text in filter(None, ranges.split(",")):
        first, _, last = text.partition("-")
        yield int(first), int(last or first)
