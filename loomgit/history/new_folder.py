"""Writes a folder atomically: its files are written to a temporary folder, which is renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder with these files, which are given by their relative paths.

    A reader sees either no folder or the folder with all files. The caller excludes other writers
    of the same folder. Raises WorldError if the folder exists or cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise WorldError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary folders of writers of the same folder that were killed."""
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Write the entries of a folder to the disk."""
    if os.name == "nt":
        return  # Windows cannot open a folder
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
