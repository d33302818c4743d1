"""The execution log of an app: one JSON line for each execution, one file for each day (UTC)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from loomgit.domain.safe_text import hide_in
from loomgit.domain.values import to_json
from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loomgit.domain.values import JsonObject

FOLDER = "executions"


def append_executions(datasets: Path, day: str, lines: Sequence[JsonObject]) -> None:
    """Append lines to `executions/<day>.jsonl` in the folder `datasets`. Known secrets are masked.

    Several processes can append at the same time. If an earlier writer was killed within a line,
    the new lines start on a line of their own. Only the owner of the file can read it. Raises
    WorldError.
    """
    if not lines:
        return
    path = datasets / FOLDER / f"{day}.jsonl"
    content = b"".join(to_json(hide_in(line)) + b"\n" for line in lines)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    content = b"\n" + content
            file.write(content)
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
