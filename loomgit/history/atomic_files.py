"""Writes files atomically: the content is written to a temporary file, which is then renamed."""

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

# A temporary file older than this is assumed to be left over from a killed process.
STALE_SECONDS = 3600.0
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_ATTEMPTS = 5


def write_atomic(path: Path, content: bytes) -> None:
    """Replace the content of `path` atomically.

    Raises WorldError if the file cannot be written. The file then keeps its old content.
    """
    with _temporary(path, content) as temporary:
        temporary.replace(path)


def write_new(path: Path, content: bytes) -> bool:
    """Write `path` atomically if it does not exist. Return whether the file was written.

    Raises WorldError if the file cannot be written.
    """
    if path.exists():
        return False
    with _temporary(path, content) as temporary:
        return move_new(temporary, path)


def move_new(source: Path, target: Path) -> bool:
    """Rename a file if the target does not exist. Return whether the file was renamed.

    If two processes rename to the same target, only one of them succeeds. This is guaranteed only
    on a file system that supports hard links. Raises FileNotFoundError if `source` does not exist.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # the file system has no hard links
        if target.exists():
            return False
        source.rename(target)
        return True
    source.unlink()
    return True


def remove_stale_files(folder: Path, *, older: float = STALE_SECONDS) -> int:
    """Remove the temporary files of killed writers from a folder.

    Returns the number of removed files. If a temporary file is older than `older` seconds, Loom
    assumes that its writer was killed.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            removed += is_temporary(entry.name) and remove_stale(entry, older=older)
    return removed


def is_temporary(name: str) -> bool:
    """Whether `name` is the name of a temporary file."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_stale(entry: os.DirEntry[str], *, older: float = STALE_SECONDS) -> bool:
    """Remove a temporary file if its age is at least `older` seconds.

    Return whether the file was removed.
    """
    try:
        if time.time() - entry.stat().st_mtime < older:
            return False
        os.unlink(entry.path)  # noqa: PTH108 - creating a Path for every entry is slow
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    """Write `content` to a temporary file in the folder of `path`, and yield the temporary file.

    At the end of the `with` block, the temporary file is removed if it still exists. An OSError is
    converted to a WorldError, even if the `with` block raises it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            _fill(temporary, content)
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error


def _fill(temporary: Path, content: bytes) -> None:
    for attempt in range(_ATTEMPTS):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = temporary.open("xb")
        except FileNotFoundError:  # `loom runs gc` removed the empty folder after mkdir
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return
