"""The extraction on disk: JSON lines in zstandard, written once, read by every later stage."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import zstandard
from msgspec import Struct

from loomgit.domain.records import RefusedRow
from loomgit.errors import WorldError
from loomgit.rows.paths import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loomgit.domain.values import JsonObject

_CHUNK = 1024 * 1024  # bytes of lines that are hashed and compressed together
_COMPRESSED = 4096  # read at a time: repetitive rows shrink a hundredfold and more
_LEVEL = 3


class Spool(Struct, frozen=True):
    """Rows as they were extracted. A refused row is a line with an array: place, reason, text.

    `count` is the number of rows, those that were `refused` included. `sha256` is that of the lines
    before compression, so equal rows in equal order have one snapshot id; `fields` are all names
    that occur, in order of first appearance, and `filled` those with a value
    (null and empty text are none) in some row; `bytes` is the size of the lines before compression.
    """

    path: Path
    count: int
    refused: int
    sha256: str
    fields: tuple[str, ...]
    filled: frozenset[str]
    bytes: int

    @classmethod
    def write(cls, path: Path, rows: Iterable[JsonObject | RefusedRow]) -> Spool:
        """Write all of `rows` to a new spool at `path`, which stays absent where `rows` raises."""
        aside = path.with_name(f".{path.name}.part")
        with disk(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            spool = cls._write(path, aside, rows)
            with disk(str(path)):
                aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        return spool

    @classmethod
    def _write(cls, path: Path, aside: Path, rows: Iterable[JsonObject | RefusedRow]) -> Spool:
        fields = FieldNames()
        sha256 = hashlib.sha256()
        count = refused = size = 0
        lines = bytearray()
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        # Sources name their own files, so what is left are the errors of this one; closing a stream
        # writes too.
        with disk(str(path)), aside.open("wb") as file:
            with compressor.stream_writer(file, closefd=False) as stream:

                def flush() -> None:
                    sha256.update(lines)
                    stream.write(bytes(lines))
                    lines.clear()

                for row in rows:
                    if isinstance(row, RefusedRow):
                        lines += _refused_line(row)
                        refused += 1
                    else:
                        fields.add(row)
                        lines += orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
                    count += 1
                    if len(lines) >= _CHUNK:
                        size += len(lines)
                        flush()
                size += len(lines)
                flush()
            file.flush()
            os.fsync(file.fileno())
        return cls(
            path, count, refused, sha256.hexdigest(), tuple(fields.names), fields.filled(), size
        )

    @classmethod
    def load(cls, path: Path) -> Spool:
        """The spool that an earlier run left at `path`; reads it once, whole.

        Raises WorldError where it is missing or damaged.
        """
        fields = FieldNames()
        sha256 = hashlib.sha256()
        count = refused = size = 0
        for line in _lines(path):
            sha256.update(line)
            row = _row(line, path)
            if isinstance(row, RefusedRow):
                refused += 1
            else:
                fields.add(row)
            count += 1
            size += len(line)
        return cls(
            path, count, refused, sha256.hexdigest(), tuple(fields.names), fields.filled(), size
        )

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows; raises WorldError where the file is no longer what was written."""
        sha256 = hashlib.sha256()
        for line in _lines(self.path):
            sha256.update(line)
            yield _row(line, self.path)
        if sha256.hexdigest() != self.sha256:
            raise _damaged(self.path, "its hash is another")


class FieldNames:
    """The names in rows, and which of them have had a value."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._empty: set[str] = set()

    def add(self, row: JsonObject) -> None:
        """Take a row into account."""
        if not row.keys() <= self.names.keys():
            self._empty |= row.keys() - self.names.keys()
            self.names.update(dict.fromkeys(row))
        if self._empty:
            self._empty -= {name for name in self._empty if row.get(name) not in (None, "")}

    def filled(self) -> frozenset[str]:
        """The names with a value in some row: null and empty text are none."""
        return frozenset(self.names.keys() - self._empty)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines, each with its end; a line without one was cut off."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    rest = b""
    try:
        with disk(str(path)), path.open("rb") as file:
            while chunk := file.read(_COMPRESSED):
                *whole, rest = (rest + decompressor.decompress(chunk)).split(b"\n")
                for line in whole:
                    yield line + b"\n"
    except zstandard.ZstdError as fault:
        raise _damaged(path, str(fault)) from fault
    if rest or not decompressor.eof:
        raise _damaged(path, "it ends too early")


def _refused_line(row: RefusedRow) -> bytes:
    return orjson.dumps([row.place, row.reason, row.text], option=orjson.OPT_APPEND_NEWLINE)


def _row(line: bytes, path: Path) -> JsonObject | RefusedRow:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        raise _damaged(path, str(fault)) from fault
    if isinstance(row, list) and len(row) == 3:
        return RefusedRow(*row)
    if not isinstance(row, dict):
        raise _damaged(path, "a line is no object")
    return row


def _damaged(path: Path, why: str) -> WorldError:
    return WorldError(f"{path}: the spool is damaged: {why}", hint="run the pipeline anew")
