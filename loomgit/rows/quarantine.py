"""The quarantine as a JSON lines file, to which entries and resolutions are appended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import Struct, field
from msgspec.structs import asdict, astuple

from loomgit.domain.quarantine import (
    EntryHead,
    QuarantineEntry,
    QuarantineStore,
    Resolution,
    is_same_target,
)
from loomgit.domain.safe_text import hide_in
from loomgit.errors import WorldError
from loomgit.rows.paths import require_place, translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from loomgit.domain.values import JsonObject

COLUMNS = (
    *("run_id", "pipeline", "record_key", "stage", "reason", "scores", "reasons"),
    *("error", "output", "record", "at"),
)
TARGET_COLUMN = "target"  # tables that older versions of Loom created lack it
RESOLUTION_COLUMNS = ("resolved_at", "resolved_by", "why")
JSON_COLUMNS = frozenset(("record", "scores", "reasons", "output"))


class _EntryLine(Struct):
    """A line that contains an entry."""

    run_id: str
    pipeline: str
    record_key: str
    stage: str
    reason: str
    at: str
    record: dict[str, Any]
    scores: dict[str, float | None] = field(default_factory=dict)
    error: str | None = None
    reasons: dict[str, str | None] = field(default_factory=dict)
    output: dict[str, Any] | None = None
    target: str | None = None


class _CheckedEntry(Struct):
    """An entry whose record and output are not converted, but have the correct type."""

    pipeline: str
    record_key: str
    run_id: str
    stage: str
    reason: str
    at: str
    record: dict[str, msgspec.Raw]
    scores: dict[str, float | None] = field(default_factory=dict)
    error: str | None = None
    reasons: dict[str, str | None] = field(default_factory=dict)
    output: dict[str, msgspec.Raw] | None = None
    target: str | None = None


class _ListedEntry(Struct):
    """The fields of `EntryHead` in a line. The other fields are not converted."""

    pipeline: str
    record_key: str
    stage: str
    at: str
    target: str | None = None


class _ResolutionLine(Struct):
    """A line that contains a resolution."""

    pipeline: str
    record_key: str
    resolved_at: str
    resolved_by: str
    why: str
    target: str | None = None


_entry_decoder = msgspec.json.Decoder(_EntryLine)
_checked_decoder = msgspec.json.Decoder(_CheckedEntry)
_listed_decoder = msgspec.json.Decoder(_ListedEntry)
_resolution_decoder = msgspec.json.Decoder(_ResolutionLine)


def stored_values(entry: QuarantineEntry) -> JsonObject:
    """Return the fields to store, by column. Secrets in the reasons and errors are hidden."""
    values = asdict(entry)
    for name in ("reason", "reasons", "error"):
        values[name] = hide_in(values[name])
    target = {} if entry.target is None else {TARGET_COLUMN: entry.target}
    return {name: values[name] for name in COLUMNS} | target


class QuarantineFile(QuarantineStore):
    """A JSON lines file of entries and resolutions. It is never changed, only extended.

    The first entry creates the file. Each line is written by one system call, so that concurrent
    runs do not mix their lines. If the last line is incomplete because of a crash, the next line
    starts on a new line. A resolution resolves the entries of its record that are above it.
    """

    def __init__(self, path: Path, shown: str | None = None) -> None:
        self.damaged = 0
        self._path = path
        self._shown = shown or str(path)
        self._file: int | None = None
        self._resolutions: dict[int, int] = {}  # as `_index` has returned them to `heads`

    def check(self) -> None:
        """Raise UserError or WorldError if the file cannot be written. Writes nothing."""
        require_place(self._path, self._shown)

    def add(self, entries: Sequence[QuarantineEntry]) -> None:
        """Append one line for each entry. Raises WorldError if a write fails."""
        for entry in entries:
            self._write(stored_values(entry))

    def resolve(self, resolutions: Sequence[Resolution]) -> None:
        """Append one line for each resolution. Raises WorldError if a write fails."""
        for resolution in resolutions:
            values = {**asdict(resolution), "why": hide_in(resolution.why)}
            if resolution.target is None:
                del values[TARGET_COLUMN]
            self._write(values)

    def _write(self, values: JsonObject) -> None:
        line = orjson.dumps(values) + b"\n"
        with translate_os_errors(self._shown):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
                self._file = os.open(self._path, flags, 0o666)
                line = self._missing_line_end() + line
            if os.write(self._file, line) != len(line):
                raise WorldError(
                    f"{self._shown}: only a part of a line was written; the disk may be full"
                )

    def _missing_line_end(self) -> bytes:
        file = self._file
        if file is None or os.lseek(file, 0, os.SEEK_END) == 0:
            return b""
        os.lseek(file, -1, os.SEEK_END)
        return b"" if os.read(file, 1) == b"\n" else b"\n"

    def open_keys(self, pipeline: str, target: str | None = None) -> set[str]:
        """Return the keys of the records of a pipeline that have an open entry of the target."""
        targets: dict[str, set[str | None]] = {}  # of the open entries, by key
        for offset, line in self._lines():
            head = _decode_line(line, offset, _decode_checked)
            if head is None or head.pipeline != pipeline:
                continue
            if isinstance(head, _CheckedEntry):
                targets.setdefault(head.record_key, set()).add(head.target)
            elif head.record_key in targets:
                left = {t for t in targets[head.record_key] if not is_same_target(t, head.target)}
                targets[head.record_key] = left
        return {key for key, of in targets.items() if any(is_same_target(t, target) for t in of)}

    def entries(self, pipeline: str, *, only_open: bool = False) -> Iterator[QuarantineEntry]:
        """Yield the entries of a pipeline, newest first.

        Only the byte positions of the lines are in memory. Sets `damaged` to the number of lines
        that are skipped because they cannot be read.
        """
        offsets, resolutions = self._index(pipeline, _decode_checked)
        if not offsets:
            return
        with translate_os_errors(self._shown), self._path.open("rb") as file:
            for offset in reversed(offsets):
                if only_open and offset in resolutions:
                    continue
                yield _read_entry(file, offset, resolutions)

    def heads(self, pipeline: str, *, only_open: bool = False) -> Iterator[EntryHead]:
        """Yield the heads of the entries of a pipeline, newest first.

        The heads are in memory, and the records are not checked before `read`.
        """
        heads: list[EntryHead] = []

        def decode(line: bytes, offset: int) -> _ListedEntry:
            entry = _listed_decoder.decode(line)
            if entry.pipeline == pipeline:
                heads.append(EntryHead(offset, *astuple(entry)))
            return entry

        _, self._resolutions = self._index(pipeline, decode)
        for head in reversed(heads):
            if not (only_open and head.place in self._resolutions):
                yield head

    def read(self, heads: Sequence[EntryHead]) -> list[QuarantineEntry]:
        """Return the entries with these heads, which the last `heads` has yielded."""
        if not heads:
            return []
        with translate_os_errors(self._shown), self._path.open("rb") as file:
            entries: list[QuarantineEntry] = []
            for head in heads:
                try:
                    entries.append(_read_entry(file, int(head.place), self._resolutions))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.damaged += 1
            return entries

    def _index(
        self, pipeline: str, decode: Callable[[bytes, int], _CheckedEntry | _ListedEntry]
    ) -> tuple[list[int], dict[int, int]]:
        """Return the byte positions of the entries, and of the resolution of each resolved entry.

        The keys of the second value are the positions of the resolved entries. `decode` receives
        each line with its position.
        """
        offsets: list[int] = []
        resolutions: dict[int, int] = {}
        unresolved: dict[str, list[tuple[int, str | None]]] = {}  # with the target, by key
        self.damaged = 0
        for offset, line in self._lines():
            head = _decode_line(line, offset, decode)
            if head is not None and head.pipeline != pipeline:
                continue
            if isinstance(head, _CheckedEntry | _ListedEntry):
                offsets.append(offset)
                unresolved.setdefault(head.record_key, []).append((offset, head.target))
            elif isinstance(head, _ResolutionLine):
                entries = unresolved.pop(head.record_key, [])
                left = [each for each in entries if not is_same_target(each[1], head.target)]
                resolutions |= {each[0]: offset for each in entries if each not in left}
                if left:
                    unresolved[head.record_key] = left
            else:
                self.damaged += 1
        return offsets, resolutions

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the byte position and the content of each line that is not blank."""
        offset = 0
        if not self._path.exists():
            return
        with translate_os_errors(self._shown), self._path.open("rb") as file:
            for line in file:
                if line.strip():
                    yield offset, line
                offset += len(line)

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _decode_checked(line: bytes, offset: int) -> _CheckedEntry:
    del offset
    return _checked_decoder.decode(line)


def _decode_line(
    line: bytes, offset: int, decode: Callable[[bytes, int], _CheckedEntry | _ListedEntry]
) -> _CheckedEntry | _ListedEntry | _ResolutionLine | None:
    """Return an entry, or a resolution, or None if the line is damaged.

    `decode` decodes an entry. It receives the line and its position.
    """
    try:
        return decode(line, offset)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return _resolution_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read_entry(file: BinaryIO, offset: int, resolutions: Mapping[int, int]) -> QuarantineEntry:
    """Return the entry in the line at `offset`. `resolutions` is a result of `_index`."""
    file.seek(offset)
    values = asdict(_entry_decoder.decode(file.readline()))
    if offset in resolutions:
        file.seek(resolutions[offset])
        resolution = asdict(_resolution_decoder.decode(file.readline()))
        values |= resolution | {TARGET_COLUMN: values[TARGET_COLUMN]}
    return QuarantineEntry(**values)
