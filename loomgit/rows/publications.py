"""The file beside a destination file that lists the runs which are replacing the destination.

A run that is killed while it replaces the destination cannot know later whether it succeeded. Its
entry lets the next writer find out: the destination still has the hash in the entry, or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from pathlib import Path


class _Publication(Struct, frozen=True):
    sha256: str
    answer: bool | None = None  # whether the destination was replaced; None: unknown


class Publications:
    """The entries of all runs in the file at `path`. `run` is the id of this run.

    The caller must hold the lock of the destination. The file exists only while it has entries.
    Raises WorldError if the file cannot be read or written.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run

    def add(self, sha256: str) -> None:
        """Add an entry for this run. `sha256` is the hash of the new destination file."""
        self._save({**self._load(), self._run: _Publication(sha256)})

    def remove(self) -> None:
        """Remove the entry of this run, if there is one."""
        entries = self._load()
        if entries.pop(self._run, None) is not None:
            self._save(entries)

    def answer(self) -> bool | None:
        """Return whether this run had replaced the destination, or None if no run has checked."""
        entry = self._load().get(self._run)
        return None if entry is None else entry.answer

    def answer_all(self, current: str) -> None:
        """Store for each run whether it had replaced the destination, which has the hash `current`.

        Call this before the destination changes.
        """
        entries = self._load()
        if entries:
            self._save(
                {
                    run: replace(entry, answer=entry.sha256 == current)
                    if entry.answer is None
                    else entry
                    for run, entry in entries.items()
                }
            )

    def _load(self) -> dict[str, _Publication]:
        with translate_os_errors(str(self._path)):
            try:
                return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Publication])
            except (FileNotFoundError, msgspec.DecodeError):
                return {}

    def _save(self, entries: dict[str, _Publication]) -> None:
        with translate_os_errors(str(self._path)):
            if not entries:
                self._path.unlink(missing_ok=True)
                return
            temporary = self._path.with_name(f"{self._path.name}.tmp")
            temporary.write_bytes(msgspec.json.encode(entries))
            temporary.replace(self._path)
