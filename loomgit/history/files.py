"""Files that are whole or absent: written aside, flushed to the disk, then moved into place."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from typing import TYPE_CHECKING

from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STALE_SECONDS = 3600.0  # nobody writes a file for an hour: its writer was killed
_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_ATTEMPTS = 5


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` with `content` in one step; WorldError, and nothing changed, on failure."""
    with _aside(path, content) as aside:
        aside.replace(path)


def write_new(path: Path, content: bytes) -> bool:
    """Write `path` in one step unless something has that name; returns whether it was written."""
    if path.exists():
        return False
    with _aside(path, content) as aside:
        return move_new(aside, path)


def move_new(source: Path, target: Path) -> bool:
    """Rename a file unless the target exists; returns whether it moved.

    Between two processes that move to one name only one wins, where the disk has hard links.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # a disk without hard links
        if target.exists():
            return False
        source.rename(target)
        return True
    source.unlink()
    return True


def sweep(folder: Path, *, older: float = STALE_SECONDS) -> int:
    """Remove what killed writers left in a folder; returns how many files.

    `older` is the age in seconds from which a file that was set aside counts as left.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            removed += is_aside(entry.name) and remove_stale(entry, older=older)
    return removed


def is_aside(name: str) -> bool:
    """Whether a file of this name is one that is not in its place yet."""
    return _ASIDE.fullmatch(name) is not None


def remove_stale(entry: os.DirEntry[str], *, older: float = STALE_SECONDS) -> bool:
    """Remove a file that was set aside too long ago; returns whether it went."""
    try:
        if time.time() - entry.stat().st_mtime < older:
            return False
        os.unlink(entry.path)  # noqa: PTH108 - a scan of a thousand folders makes no Path of each
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _aside(path: Path, content: bytes) -> Iterator[Path]:
    """The content in a flushed file beside `path`, gone at the end unless it was moved."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            _fill(aside, content)
            yield aside
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error


def _fill(aside: Path, content: bytes) -> None:
    for attempt in range(_ATTEMPTS):
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = aside.open("xb")
        except FileNotFoundError:  # the folder was empty, and a cleaner took it meanwhile
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return
