"""Reports an unexpected exception: one line for the user, and the traceback in a file."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from tempfile import mkdtemp

from loomgit import __version__
from loomgit.domain.safe_text import hide

FOLDER, FILE = ".loom", "last-error.txt"


def render_summary(error: BaseException) -> str:
    """Return the exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def render_traceback(error: BaseException) -> str:
    """Return the traceback; secrets are hidden."""
    return hide("".join(traceback.format_exception(error)))


def save(error: BaseException, start: Path | None = None) -> str | None:
    """Write the traceback to `.loom/last-error.txt` of the project that contains `start`.

    `start` defaults to the current folder. Outside a project, the traceback is written to a new
    temporary folder.

    Returns a hint with the path, or None if no file can be written.
    """
    try:
        path = (_home(start or Path()) or Path(mkdtemp(prefix="loom-"))) / FILE
        path.write_text(
            f"loom {__version__}, Python {sys.version}\n{render_traceback(error)}", encoding="utf-8"
        )
    except OSError:
        return None
    return f"the details are in {path}"


def _home(start: Path) -> Path | None:
    if (start / FOLDER).is_dir():
        return start / FOLDER
    folders = (folder / FOLDER for folder in start.absolute().parents)
    return next((folder for folder in folders if folder.is_dir()), None)
