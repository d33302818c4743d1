"""Writes `.loom/.gitignore`, which keeps the files of this machine out of commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.history.atomic_files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATASETS = b"/loop-apps/*/datasets/\n"
IGNORED = (
    b"""\
# What Loom makes on this machine; config.yaml, cassettes/, loop-apps/ and shared/ are tracked.
/runs/
/records/
/cache/
/state/
/index.json
/index.lock
/last-error.txt
"""
    + DATASETS
    + b".*.tmp\n"
)


def write_gitignore(folder: Path, tracked: Callable[[], bool]) -> None:
    """Write `.gitignore` in the folder `.loom` if it does not exist.

    `tracked` returns whether Git tracks the run files. If so, the line that ignores them is
    removed. Raises WorldError.
    """
    ignore = folder / ".gitignore"
    if not ignore.exists():
        write_atomic(ignore, without_runs(IGNORED) if tracked() else IGNORED)
    elif tracked():
        content = ignore.read_bytes()
        if without_runs(content) != content:
            write_atomic(ignore, without_runs(content))


def ignore_datasets(folder: Path) -> None:
    """Add the datasets of loop apps to an existing `.loom/.gitignore`. Raises WorldError."""
    ignore = folder / ".gitignore"
    content = ignore.read_bytes()
    if DATASETS.strip() not in (line.strip() for line in content.splitlines()):
        end = b"" if not content or content.endswith(b"\n") else b"\n"
        write_atomic(ignore, content + end + DATASETS)


def without_runs(ignored: bytes) -> bytes:
    """Return the content of `.loom/.gitignore` without the line that ignores the run files."""
    return b"".join(line for line in ignored.splitlines(keepends=True) if line.strip() != b"/runs/")
