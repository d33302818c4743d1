"""Read the files of a project as text."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from loomgit.domain.place import Place, Problem
from loomgit.errors import ProblemsFound, UserError, WorldError

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS_FILE = PurePath(".loom", "config.yaml")
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
_PIPELINE = re.compile(r"""^pipeline:[ \t]*(["']?)(?P<name>[\w.-]+)\1""", re.MULTILINE)


def decode(data: bytes, path: str) -> str:
    """Decode the content of a file as UTF-8.

    Raises ProblemsFound with the position of the first invalid byte in the file `path`.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        message = f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ProblemsFound(
            [Problem(Place(path, line, column), message, "save the file as UTF-8")]
        ) from None


def find_pipeline(text: str) -> str:
    """Return the name of the tested pipeline from the text of a test file.

    Returns empty text if no name is found. Only the line `pipeline: NAME` is read, so the rest of
    the file can be invalid.
    """
    key = _PIPELINE.search(text)
    return key["name"] if key else ""


def read(path: Path, root: Path) -> tuple[str, str]:
    """Return the text of a file, and the path to show in messages.

    The shown path is relative to `root` if possible. Raises UserError if the file is missing, if it
    is not a regular file, or if the user has no permission to read it. Raises ProblemsFound if the
    file is not UTF-8, and WorldError for other read errors.
    """
    file = root / path
    shown = (file.relative_to(root) if file.is_relative_to(root) else file).as_posix()
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # reading a pipe could block
            raise UserError(f"{shown}: is not a regular file")
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{shown}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{shown}: is a directory, not a file") from error
    except PermissionError as error:
        # Windows raises PermissionError for a directory.
        reason = "is a directory, not a file" if file.is_dir() else "no permission to read it"
        raise UserError(f"{shown}: {reason}") from error
    except OSError as error:
        raise WorldError(f"{shown}: cannot be read: {error.strerror}") from error
    return decode(data, shown), shown
