"""A project's files as text."""

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
    """Decode a file's bytes; raise ProblemsFound with the line where they are not UTF-8."""
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
    """The pipeline that a test file is about, where the file is broken elsewhere; empty where that
    cannot be told."""
    found = _PIPELINE.search(text)
    return found["name"] if found else ""


def read(path: Path, root: Path) -> tuple[str, str]:
    """The file's text, and its path as messages name it. Raises UserError or WorldError."""
    whole = root / path
    shown = (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()
    try:
        if whole.exists() and not (whole.is_file() or whole.is_dir()):  # reading a pipe waits
            raise UserError(f"{shown}: is not a regular file")
        data = whole.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{shown}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{shown}: a directory, not a file") from error
    except PermissionError as error:
        # Windows says this of a directory, too.
        what = "a directory, not a file" if whole.is_dir() else "no permission to read it"
        raise UserError(f"{shown}: {what}") from error
    except OSError as error:
        raise WorldError(f"{shown}: cannot be read: {error.strerror}") from error
    return decode(data, shown), shown
