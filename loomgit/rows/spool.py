"""The spool: a file with the extracted rows of a run, as JSON lines compressed with zstandard.

A run extracts the rows from its source once and writes them to the spool. All later stages read the
spool instead of the source.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import zstandard
from msgspec import Struct

from loomgit.domain.records import RefusedRow, RowBatch
from loomgit.errors import WorldError
from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loomgit.domain.values import JsonObject

_CHUNK = 1024 * 1024  # lines are collected up to this number of bytes, then hashed and compressed
_COMPRESSED = 4096  # compressed bytes per read; the decompressed text can be 100 times as long
_LEVEL = 3


class Spool(Struct, frozen=True):
    """The extracted rows of a run, in the file at `path`.

    A line contains a row as a JSON object, or a batch of rows as a JSON array: the names of the
    fields, and an array of values for each row. A refused row (a row that Loom cannot store
    exactly) is stored as a JSON array of three texts: its position, the reason and its text.

    `count` is the number of all rows, `refused` the number of refused rows. `sha256` is the hash of
    the lines before compression. The same rows in the same order have the same hash.
    `bytes` is the size of the lines before compression. `fields` are the names of all fields, in
    order of first appearance. `filled` are the fields that have a value in at least one row; null
    and empty text are not values.
    """

    path: Path
    count: int
    refused: int
    sha256: str
    fields: tuple[str, ...]
    filled: frozenset[str]
    bytes: int

    @classmethod
    def write(cls, path: Path, rows: Iterable[JsonObject | RefusedRow | RowBatch]) -> Spool:
        """Write all `rows` to a spool at `path`, and return the spool.

        If an error occurs while rows are read or written, `path` stays unchanged. Raises WorldError
        if the spool cannot be written.
        """
        temporary = path.with_name(f".{path.name}.part")
        with translate_os_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            spool = cls._write(path, temporary, rows)
            with translate_os_errors(str(path)):
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return spool

    @classmethod
    def _write(
        cls, path: Path, temporary: Path, rows: Iterable[JsonObject | RefusedRow | RowBatch]
    ) -> Spool:
        fields = FieldNames()
        sha256 = hashlib.sha256()
        count = refused = size = 0
        lines = bytearray()
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        # An OSError in this block concerns the spool, because sources translate the errors of their
        # own files. `stream` is closed first and `file` last, because closing `stream` writes the
        # last bytes.
        with translate_os_errors(str(path)), temporary.open("wb") as file:
            with compressor.stream_writer(file, closefd=False) as stream:

                def flush() -> None:
                    sha256.update(lines)
                    stream.write(bytes(lines))
                    lines.clear()

                for row in rows:
                    if isinstance(row, RefusedRow):
                        lines += _refused_line(row)
                        refused += 1
                        count += 1
                    elif isinstance(row, RowBatch):
                        fields.add_batch(row)
                        lines += orjson.dumps(
                            [row.names, row.rows], option=orjson.OPT_APPEND_NEWLINE
                        )
                        count += len(row.rows)
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
        """Return the spool that an earlier process wrote at `path`.

        The method reads all rows. Raises WorldError if the spool is missing or damaged.
        """
        fields = FieldNames()
        sha256 = hashlib.sha256()
        count = refused = size = 0
        for line in _lines(path):
            sha256.update(line)
            row = _item(line, path)
            if isinstance(row, RefusedRow):
                refused += 1
            elif isinstance(row, RowBatch):
                fields.add_batch(row)
            else:
                fields.add(row)
            count += len(row.rows) if isinstance(row, RowBatch) else 1
            size += len(line)
        return cls(
            path, count, refused, sha256.hexdigest(), tuple(fields.names), fields.filled(), size
        )

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the rows in order. Raises WorldError if the lines no longer match `sha256`."""
        for item in self.items():
            if isinstance(item, RowBatch):
                yield from item.objects()
            else:
                yield item

    def items(self) -> Iterator[JsonObject | RefusedRow | RowBatch]:
        """Yield the rows in order, in the batches in which they were written.

        Raises WorldError if the lines no longer match `sha256`.
        """
        sha256 = hashlib.sha256()
        for line in _lines(self.path):
            sha256.update(line)
            yield _item(line, self.path)
        if sha256.hexdigest() != self.sha256:
            raise _damaged(self.path, "its hash does not match")


class FieldNames:
    """Collects the field names of rows, and records which fields have a value in some row."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._empty: set[str] = set()

    def add(self, row: JsonObject) -> None:
        """Record the field names of a row, and which of the fields have a value."""
        if not row.keys() <= self.names.keys():
            self._empty |= row.keys() - self.names.keys()
            self.names.update(dict.fromkeys(row))
        if self._empty:
            self._empty -= {name for name in self._empty if row.get(name) not in (None, "")}

    def add_batch(self, batch: RowBatch) -> None:
        """Record the field names of the rows in a batch, and which fields have a value."""
        self._empty.update(name for name in batch.names if name not in self.names)
        self.names.update(dict.fromkeys(batch.names))
        for position, name in enumerate(batch.names) if self._empty else ():
            if name in self._empty and any(row[position] not in (None, "") for row in batch.rows):
                self._empty.discard(name)

    def filled(self) -> frozenset[str]:
        """Return the fields that have a value in at least one row.

        Null and empty text do not count as values.
        """
        return frozenset(self.names.keys() - self._empty)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield each line with its line end. Raises WorldError if the file is damaged or cut off."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    remainder = b""
    try:
        with translate_os_errors(str(path)), path.open("rb") as file:
            while chunk := file.read(_COMPRESSED):
                *complete, remainder = (remainder + decompressor.decompress(chunk)).split(b"\n")
                for line in complete:
                    yield line + b"\n"
    except zstandard.ZstdError as fault:
        raise _damaged(path, str(fault)) from fault
    if remainder or not decompressor.eof:
        raise _damaged(path, "it ends too early")


def _refused_line(row: RefusedRow) -> bytes:
    return orjson.dumps([row.place, row.reason, row.text], option=orjson.OPT_APPEND_NEWLINE)


def _item(line: bytes, path: Path) -> JsonObject | RefusedRow | RowBatch:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        raise _damaged(path, str(fault)) from fault
    if isinstance(row, list) and len(row) == 3:
        return RefusedRow(*row)
    if isinstance(row, list) and len(row) == 2:
        return RowBatch(tuple(row[0]), row[1])
    if not isinstance(row, dict):
        raise _damaged(path, "a line is not an object")
    return row


def _damaged(path: Path, reason: str) -> WorldError:
    return WorldError(f"{path}: the spool is damaged: {reason}", hint="run the pipeline again")
