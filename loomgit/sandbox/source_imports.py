"""Imports the modules of a program from their sources. Runs in the worker.

Python would import cached bytecode, which is no part of a version: Loom compares only the sources
with their state at the time of writing.
"""

from __future__ import annotations

import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import PathEntryFinder
    from types import CodeType


class _UncachedLoader(SourceFileLoader):
    """Loads a module from its source, also if there is bytecode in `__pycache__`."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def import_from_sources(folders: Sequence[str]) -> None:
    """Let Python import the modules in these folders, at any depth, without cached bytecode."""
    open_finder = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (_UncachedLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),  # such a file is a part of the version
    )

    def find(path: str) -> PathEntryFinder:
        if not any(path == folder or path.startswith(f"{folder}/") for folder in folders):
            raise ImportError(f"{path} does not belong to the program", path=path)
        return open_finder(path)

    sys.path_hooks.insert(0, find)
