"""Files as users name them: found, or missed with the name that was probably meant."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loomgit.domain.words import one_of
from loomgit.errors import UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_file(path: Path, shown: str) -> None:
    """Raise where `path` is no file that can be read; `shown` is how the user wrote it.

    A path that the user did not spell (it stands behind a connection) is not spelt out here either.
    """
    spelt = shown.endswith(path.name)
    with disk(shown):
        if path.is_dir():
            inside = sorted(child.name for child in path.iterdir() if child.is_file())
            listed = f"name one of its files: {', '.join(inside[:5])}"
            hint = listed if inside and spelt else None
            raise UserError(f"{shown}: is a folder, not a file", hint=hint)
        if path.is_symlink() and not path.exists():
            raise UserError(f"{shown}: is a link to a file that does not exist")
        if not path.exists():
            raise UserError(f"{shown}: no such file", hint=_nearest(path) if spelt else None)
        if not path.is_file():  # reading a pipe would wait for somebody to write
            raise UserError(f"{shown}: is not a regular file")
        with path.open("rb"):
            pass


def _nearest(path: Path) -> str | None:
    folder = path.parent
    if folder.is_dir():
        return one_of(path.name, sorted(child.name for child in folder.iterdir()), "there are")
    while not folder.is_dir() and folder != folder.parent:
        path, folder = folder, folder.parent
    return f"there is no folder '{path.name}' in {folder}"


def require_place(path: Path, shown: str) -> None:
    """Raise where a file at `path` can be neither written nor created; create nothing."""
    with disk(shown):
        target = path.resolve()
        if target.is_dir():
            raise UserError(f"{shown}: is a folder, not a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise WorldError(f"{shown}: is read-only")
        folder = target.parent
        while not folder.exists():
            folder = folder.parent
        named = str(folder) if shown.endswith(path.name) else "a folder above it"
        if not folder.is_dir():
            raise UserError(f"{shown}: {named} is a file, not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise WorldError(f"{shown}: the folder {named} is read-only")


def make_folder(folder: Path, shown: str) -> None:
    """Make `folder` with all above it."""
    with disk(shown):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def disk(shown: str) -> Iterator[None]:
    """Turn the operating system's refusals into WorldError, with the file as the user named it."""
    try:
        yield
    except OSError as fault:
        raise WorldError(f"{shown}: {fault.strerror or fault}") from fault
