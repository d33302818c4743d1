"""Files that Loom never sends to a model: files with secrets, and Git's own files."""

from __future__ import annotations

from pathlib import PurePosixPath


def is_withheld(path: str) -> bool:
    """Return whether a path is a `.env` file (`.env`, `.env.local`, `.envrc`) or a path in `.git`.

    The check includes spellings that a file system may treat as equal, such as `.GIT` or `.git.`.
    """
    names = [part.casefold().rstrip(" .") for part in PurePosixPath(path).parts]
    return ".git" in names or any(name.startswith(".env") for name in names)
