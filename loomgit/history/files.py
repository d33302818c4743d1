"""Files that are whole or absent: written aside, flushed to the disk, then moved into place."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from loomgit.errors import WorldError

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` with `content` in one step; WorldError, and nothing changed, on failure."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
