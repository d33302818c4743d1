"""The file beside a destination file that lists the runs which are replacing the destination.

A run that is killed while it replaces the destination cannot know later whether it succeeded. Its
entry lets the next writer find out: the destination has one of the hashes in the entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Publication(Struct, frozen=True):
    """An entry: the hashes of the new and of the earlier destination file.

    `answer` is true if the destination was replaced, and None if this is not known. `before` is
    empty if there was no file, and None in entries of older versions.
    """

    sha256: str
    answer: bool | None = None
    before: str | None = None


class Publications:
    """The entries of all runs in the file at `path`. `run` is the id of this run.

    The caller must hold the lock of the destination. The file exists only while it has entries.
    Raises WorldError if the file cannot be read or written.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run

    def add(self, sha256: str, before: str) -> None:
        """Add an entry for this run. The hashes are those of `Publication`."""
        self._save({**self._load(), self._run: Publication(sha256, before=before)})

    def remove(self) -> None:
        """Remove the entry of this run, if there is one."""
        entries = self._load()
        if entries.pop(self._run, None) is not None:
            self._save(entries)

    def find(self) -> Publication | None:
        """Return the entry of this run, if there is one."""
        return self._load().get(self._run)

    def answer_all(self, was_replaced: Callable[[Publication], bool]) -> None:
        """Store for each run whether it had replaced the destination.

        Call this before the destination or its temporary file changes.
        """
        entries = self._load()
        if any(entry.answer is None for entry in entries.values()):
            self._save(
                {
                    run: replace(entry, answer=was_replaced(entry))
                    if entry.answer is None
                    else entry
                    for run, entry in entries.items()
                }
            )

    def _load(self) -> dict[str, Publication]:
        with translate_os_errors(str(self._path)):
            try:
                return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Publication])
            except (FileNotFoundError, msgspec.DecodeError):
                return {}

    def _save(self, entries: dict[str, Publication]) -> None:
        with translate_os_errors(str(self._path)):
            if not entries:
                self._path.unlink(missing_ok=True)
                return
            temporary = self._path.with_name(f"{self._path.name}.tmp")
            temporary.write_bytes(msgspec.json.encode(entries))
            temporary.replace(self._path)
