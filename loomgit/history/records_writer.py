"""Writes the records of a run, one JSON line per record."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.runs import RecordsFile
from loomgit.domain.safe_text import hide_in, hide_known
from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from io import FileIO

    from loomgit.domain.values import JsonObject

_NO_LINES: Mapping[int, JsonObject] = MappingProxyType({})


def _line(row: JsonObject) -> bytes:
    """Render a row as a line of JSON."""
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _without_secrets(lines: list[bytes]) -> list[bytes]:
    """Return the lines without the secrets that are known to this process."""
    if not _has_secret(b"".join(lines)):
        return lines
    return [_line(hide_in(orjson.loads(line))) if _has_secret(line) else line for line in lines]


def _has_secret(content: bytes) -> bool:
    text = content.decode()
    return hide_known(text) != text


def _quoted(texts: Sequence[str]) -> list[str]:
    """Return the texts as JSON strings."""
    joined = "".join(texts)
    if joined.isascii() and joined.isprintable() and not ('"' in joined or "\\" in joined):
        return [f'"{text}"' for text in texts]
    return [orjson.dumps(text).decode() for text in texts]


class RecordsWriter:
    """Appends records to a file, and computes the SHA-256 hash of the file.

    If a write fails, for example because the disk is full, the lines of that write are removed.
    """

    def __init__(self, file: FileIO, name: str) -> None:
        self._file = file
        self._name = name
        self._sha256 = hashlib.sha256()
        self._count = 0
        self._size = 0
        self.finished = False

    def write(self, rows: Iterable[JsonObject]) -> None:
        """Append rows, one line for each row. Raises WorldError if the file cannot be written."""
        lines = _without_secrets([_line(row) for row in rows])
        self._append(b"".join(lines), len(lines))

    def write_copied(self, first: int, keys: Sequence[str]) -> None:
        """Append a line for each of adjacent records that were loaded without a transform.

        `first` is the index of the first record. Raises WorldError if the file cannot be written.
        """
        rest = ',"status":"loaded","evaluated":false,"scores":{},"reasons":{}}\n'
        lines = [
            f'{{"index":{index},"key":{key}{rest}' for index, key in enumerate(_quoted(keys), first)
        ]
        content = "".join(lines).encode()
        if _has_secret(content):  # in a key
            content = b"".join(_without_secrets([line.encode() for line in lines]))
        self._append(content, len(keys))

    def _append(self, content: bytes, count: int) -> None:
        try:
            written = 0
            while written < len(content):
                written += self._file.write(content[written:]) or 0
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise self._error(error) from error
        self._sha256.update(content)
        self._count += count
        self._size += len(content)

    def finish(
        self, *, loaded: bool = True, corrected: Mapping[int, JsonObject] = _NO_LINES
    ) -> RecordsFile:
        """Return the file's name, hash and number of lines.

        If `loaded` is false, no record reached the destination. Therefore, the status `loaded` is
        replaced with `passed` in all lines. `corrected` are lines that replace earlier lines, by
        the index of the record. Raises WorldError if the file cannot be rewritten.
        """
        if corrected or not loaded:
            try:
                self._rewrite(corrected, loaded=loaded)
            except OSError as error:
                raise self._error(error) from error
        self.finished = True
        return RecordsFile(self._name, self._sha256.hexdigest(), self._count)

    def _rewrite(self, corrected: Mapping[int, JsonObject], *, loaded: bool) -> None:
        path = Path(self._file.name)
        temporary = path.with_name(f".{path.name}.tmp")
        sha256 = hashlib.sha256()
        try:
            with path.open("rb") as lines, temporary.open("wb") as rewritten:
                for line in lines:
                    earlier = orjson.loads(line)
                    row = corrected.get(earlier["index"], earlier)
                    if not loaded and row.get("status") == "loaded":
                        row = {**row, "status": "passed"}
                    if row is not earlier:
                        (line,) = _without_secrets([_line(row)])  # noqa: PLW2901
                    sha256.update(line)
                    rewritten.write(line)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._sha256 = sha256

    def _error(self, error: OSError) -> WorldError:
        return WorldError(f"{self._file.name}: {error.strerror or error}")
