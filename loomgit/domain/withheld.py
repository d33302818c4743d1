"""Files that never reach a model: files of secrets, and Git's own."""

from __future__ import annotations

from pathlib import PurePosixPath


def is_withheld(path: str) -> bool:
    """Whether a path of the project is a `.env` file (`.env`, `.env.local`, `.envrc`) or lies in
    `.git`, in any spelling that a file system may take for it."""
    names = [part.casefold().rstrip(" .") for part in PurePosixPath(path).parts]
    return ".git" in names or any(name.startswith(".env") for name in names)
