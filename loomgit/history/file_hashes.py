"""SHA-256 hashes of files and folders. A file is read again only if its state changes."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from loomgit.domain.apps import is_bytecode
from loomgit.errors import UserError, WorldError

if TYPE_CHECKING:
    from pathlib import Path

    FileState = tuple[int, int, int, int, int]

CHUNK = 1024 * 1024
# A file that changed this recently can change again without a new modification time.
RECENT_NS = 100_000_000


class FileHashes:
    """Calculates hashes, and keeps them while the state of a file does not change.

    The state is the device, the inode, the size, the modification time and the change time.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[FileState, str]] = {}

    def sha256(self, path: Path) -> str:
        """Return the hash of a file, or of a folder with all files in it.

        The hash of a folder is the SHA-256 of one line for each file: the hash of the file, two
        spaces, the path relative to the folder, and a line feed. The lines are sorted by the bytes
        of the paths. Bytecode in `__pycache__` is left out. Raises UserError if the path does not
        exist, is a symbolic link or contains one, and WorldError if a file cannot be read.
        """
        try:
            if path.is_dir():
                return self._folder(path)
            return self._file(os.fspath(path))
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist") from error
        except OSError as error:
            raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error

    def files(self, folder: Path) -> dict[str, str]:
        """Return the hashes of all files in a folder, by their relative paths. Raises as `sha256`.

        Bytecode in `__pycache__` is left out.
        """
        try:
            return {name: self._file(os.path.join(folder, name)) for name in list_files(folder)}  # noqa: PTH118
        except OSError as error:
            raise WorldError(f"{folder} cannot be read: {error.strerror or error}") from error

    def _folder(self, path: Path) -> str:
        lines = (f"{digest}  {name}\n" for name, digest in self.files(path).items())
        return sha256_of("".join(lines).encode("utf-8", "surrogateescape"))

    def _file(self, path: str) -> str:
        before = os.lstat(path)
        if stat.S_ISLNK(before.st_mode):
            raise UserError(f"{path} is a symbolic link", hint="copy the file")
        if not stat.S_ISREG(before.st_mode):
            raise UserError(f"{path} is not a regular file")
        state = _state(before)
        known = self._known.get(path)
        if known is not None and known[0] == state:
            return known[1]
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a path as text
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            after = _state(os.fstat(file.fileno()))
        if state == after and time.time_ns() - before.st_mtime_ns > RECENT_NS:
            self._known[path] = (state, digest.hexdigest())
        return digest.hexdigest()


def list_files(folder: Path) -> list[str]:
    """Return the relative paths of all files in a folder, sorted by their bytes.

    Bytecode in `__pycache__` is left out. Raises UserError if the folder is a symbolic link or
    contains one, and OSError.
    """
    if folder.is_symlink():
        raise UserError(f"{folder} is a symbolic link", hint="copy the folder")
    names = []
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = f"{inside}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{name}/")
                elif entry.is_symlink():
                    raise UserError(f"{entry.path} is a symbolic link", hint="copy the file")
                elif not is_bytecode(name):
                    names.append(name)
    return sorted(names, key=os.fsencode)


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _state(status: os.stat_result) -> FileState:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
