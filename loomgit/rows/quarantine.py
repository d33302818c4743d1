"""The quarantine: a JSON lines file of failed records, which users can inspect."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import orjson
from msgspec import Struct, field
from msgspec.structs import asdict

from loomgit.domain.safe_text import hide_in
from loomgit.domain.values import JsonObject
from loomgit.errors import WorldError
from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType


class QuarantineEntry(Struct, frozen=True):
    """One failed record: its input fields, the stage that failed, the reason and the scores.

    `scores` and `reasons` have the evaluator names as keys. The score of a failed evaluator is
    None, and its reason is the error. `error` is the text of all errors, None if the record failed
    only because its scores are too low. `output` contains the output fields from the model, None if
    the record has no output. `at` is the time in UTC, as ISO 8601 text.
    """

    run_id: str
    pipeline: str
    record_key: str
    stage: str
    reason: str
    at: str
    record: JsonObject
    scores: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None
    reasons: Mapping[str, str | None] = field(default_factory=dict)
    output: JsonObject | None = None


_REQUIRED = ("run_id", "pipeline", "record_key", "stage", "reason", "record", "at")
_ORDER = (*_REQUIRED[:5], "scores", "reasons", "error", "output", *_REQUIRED[5:])


class Quarantine:
    """A writer that appends entries to a JSON lines file.

    The first entry creates the file. Each line is written by one system call, so that concurrent
    runs do not mix their lines. If the last line is incomplete because of a crash, the next entry
    starts on a new line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def append(self, entry: QuarantineEntry) -> None:
        """Write one entry. Raises WorldError if the write fails."""
        values = asdict(entry)
        for name in ("reason", "reasons", "error"):
            values[name] = hide_in(values[name])
        line = orjson.dumps({name: values[name] for name in _ORDER}) + b"\n"
        with translate_os_errors(str(self._path)):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
                self._file = os.open(self._path, flags, 0o666)
                line = self._missing_line_end() + line
            if os.write(self._file, line) != len(line):
                raise WorldError(
                    f"{self._path}: only a part of a line was written; the disk may be full"
                )

    def _missing_line_end(self) -> bytes:
        file = self._file
        if file is None or os.lseek(file, 0, os.SEEK_END) == 0:
            return b""
        os.lseek(file, -1, os.SEEK_END)
        return b"" if os.read(file, 1) == b"\n" else b"\n"

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class QuarantineFile(Struct, frozen=True):
    """The current entries of a quarantine file: the latest entry of each record, oldest first.

    Only `offsets`, the byte positions of these entries, are in memory. Iteration reads one entry
    after another from disk. `damaged` is the number of lines that were skipped because they cannot
    be read.
    """

    path: Path
    damaged: int
    offsets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[QuarantineEntry]:
        if not self.offsets:
            return
        with translate_os_errors(str(self.path)), self.path.open("rb") as file:
            for offset in self.offsets:
                file.seek(offset)
                entry = _entry(file.readline())
                if entry is not None:
                    yield entry


def load_entries(path: Path) -> QuarantineFile:
    """Find the latest entry of each record in the file at `path`.

    The result is empty if the file is missing. Raises WorldError if the file cannot be read.
    """
    latest: dict[tuple[str, str], int] = {}
    damaged = offset = 0
    if not path.exists():
        return QuarantineFile(path, 0, ())
    with translate_os_errors(str(path)), path.open("rb") as file:
        for line in file:
            entry = _entry(line) if line.strip() else None
            if entry is not None:
                latest.pop((entry.pipeline, entry.record_key), None)
                latest[entry.pipeline, entry.record_key] = offset
            elif line.strip():
                damaged += 1
            offset += len(line)
    return QuarantineFile(path, damaged, tuple(latest.values()))


def _entry(line: bytes) -> QuarantineEntry | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not value.keys() >= set(_REQUIRED):
        return None
    if not isinstance(value["record"], dict) or not isinstance(value.get("scores", {}), dict):
        return None
    return QuarantineEntry(**{name: value[name] for name in _ORDER if name in value})
