"""A bug of ours as a user meets it: one line, and a file with the traceback to send along."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from tempfile import mkdtemp

from loomgit import __version__
from loomgit.domain.outside import hide

FOLDER, FILE = ".loom", "last-error.txt"


def summary(error: BaseException) -> str:
    """The exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def report(error: BaseException) -> str:
    """The traceback, without secrets."""
    return hide("".join(traceback.format_exception(error)))


def keep(error: BaseException, start: Path | None = None) -> str | None:
    """Write the traceback to `.loom/last-error.txt` of the project that contains `start` (None: the
    current folder). Outside of a project, write it to a new temporary folder.

    Returns a hint with the path, or None if no file can be written.
    """
    try:
        path = (_home(start or Path()) or Path(mkdtemp(prefix="loom-"))) / FILE
        path.write_text(
            f"loom {__version__}, Python {sys.version}\n{report(error)}", encoding="utf-8"
        )
    except OSError:
        return None
    return f"the details are in {path}"


def _home(start: Path) -> Path | None:
    if (start / FOLDER).is_dir():
        return start / FOLDER
    folders = (folder / FOLDER for folder in start.absolute().parents)
    return next((folder for folder in folders if folder.is_dir()), None)
