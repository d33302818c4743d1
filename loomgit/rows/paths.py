"""Checks paths before reading and writing. Messages show a path as the user wrote it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_file(path: Path, shown: str) -> None:
    """Raise UserError or WorldError if `path` is not a readable file.

    Messages show the text `shown` instead of `path`: the path as the user wrote it, or the name of
    a connection. If `shown` is the name of a connection, no message contains the path.
    """
    shows_path = shown.endswith(path.name)
    with translate_os_errors(shown):
        if path.is_dir():
            files = sorted(child.name for child in path.iterdir() if child.is_file())
            listed = f"choose one of its files: {', '.join(files[:5])}"
            hint = listed if files and shows_path else None
            raise UserError(f"{shown}: is a folder, not a file", hint=hint)
        if path.is_symlink() and not path.exists():
            raise UserError(f"{shown}: is a link to a file that does not exist")
        if not path.exists():
            raise UserError(f"{shown}: no such file", hint=_nearest(path) if shows_path else None)
        if not path.is_file():  # for example a named pipe, which would block when it is opened
            raise UserError(f"{shown}: is not a regular file")
        with path.open("rb"):
            pass


def _nearest(path: Path) -> str | None:
    folder = path.parent
    if folder.is_dir():
        return suggest_or_list(
            path.name, sorted(child.name for child in folder.iterdir()), "there are"
        )
    while not folder.is_dir() and folder != folder.parent:
        path, folder = folder, folder.parent
    return f"there is no folder '{path.name}' in {folder}"


def require_place(path: Path, shown: str) -> None:
    """Raise UserError or WorldError if the file `path` cannot be created or overwritten.

    The function creates no file and no folder. Messages show the text `shown` instead of `path`.
    """
    with translate_os_errors(shown):
        target = path.resolve()
        if target.is_dir():
            raise UserError(f"{shown}: is a folder, not a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise WorldError(f"{shown}: is read-only")
        folder = target.parent
        while not folder.exists():
            folder = folder.parent
        folder_name = str(folder) if shown.endswith(path.name) else "a folder above it"
        if not folder.is_dir():
            raise UserError(f"{shown}: {folder_name} is a file, not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise WorldError(f"{shown}: the folder {folder_name} is read-only")


def make_folder(folder: Path, shown: str) -> None:
    """Create `folder` and its missing parents. Raises WorldError if a folder cannot be created."""
    with translate_os_errors(shown):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def translate_os_errors(shown: str) -> Iterator[None]:
    """Convert each OSError in the block to a WorldError. The message starts with `shown`."""
    try:
        yield
    except OSError as error:
        raise WorldError(f"{shown}: {error.strerror or error}") from error
