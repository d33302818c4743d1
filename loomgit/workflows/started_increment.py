"""The file with the start of an incremental run, so that the run can be resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

# `msgspec` decodes JSON into `StartedIncrement`, so these types are needed at run time.
from loomgit.domain.cursors import CursorKind
from loomgit.domain.watermarks import Watermark
from loomgit.errors import WorldError
from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "increment"


class StartedIncrement(Struct, frozen=True):
    """The start of an incremental run, and the result of its extraction.

    `watermark` is the watermark from which the run reads, with all records that were done when it
    started. `stored_run` is the run that had set the stored watermark, and `other_runs` are the
    runs that had stored parts.
    """

    watermark: Watermark
    stored_run: str
    other_runs: tuple[str, ...]
    kind: CursorKind | None
    highest: str | None
    known_refused: tuple[bytes, ...]


def find_started(folder: Path) -> StartedIncrement | None:
    """Return the start of the run with this folder, or None if its extraction is not complete.

    Raises WorldError if the file cannot be read.
    """
    path = folder / _FILE
    try:
        with translate_os_errors(str(path)):
            if not path.exists():
                return None
            return msgspec.json.decode(path.read_bytes(), type=StartedIncrement)
    except msgspec.DecodeError as fault:
        hint = "start a new run without --resume"
        raise WorldError(f"{path} is damaged: {fault}", hint=hint) from fault


def save_started(folder: Path, started: StartedIncrement) -> None:
    """Save the start of a run. Raises WorldError if the file cannot be written."""
    path = folder / _FILE
    temporary = path.with_suffix(".part")
    with translate_os_errors(str(path)):
        temporary.write_bytes(msgspec.json.encode(started))
        temporary.replace(path)
