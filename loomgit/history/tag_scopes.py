"""Assigns tags to files.

The tag `prompts/classify@v1` belongs to `prompts/classify.md`. The tag `v1` belongs to all files.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Tag(NamedTuple):
    """The name of a Git tag, and the id of the commit that it refers to."""

    name: str
    commit: str


class ScopedTag(NamedTuple):
    """A tag, and the version in its name (`v1` in `prompts/classify@v1`)."""

    version: str
    tag: Tag


class TagScopes:
    """The tags of each file, newest first.

    The names of the `plain` tags contain neither `@` nor `/`. These tags belong to all files.
    """

    def __init__(self, tags: Iterable[Tag]) -> None:
        self.plain: list[ScopedTag] = []
        self._scoped: dict[str, list[ScopedTag]] = {}
        for tag in tags:
            if "@" not in tag.name and "/" not in tag.name:
                self.plain.append(ScopedTag(tag.name, tag))
            for stem, version in _split(tag.name):
                self._scoped.setdefault(stem, []).append(ScopedTag(version, tag))

    def of(self, stems: Sequence[str]) -> list[ScopedTag]:
        """Return the tags of one file. Tags `stem@version` come before tags `stem/version`.

        `stems` are the prefixes that the names of the file's tags can have (see
        `Repository.stems`).
        """
        tags = [scoped for stem in stems for scoped in self._scoped.get(stem, ())]
        return sorted(tags, key=lambda scoped: not scoped.tag.name.endswith(f"@{scoped.version}"))

    def others(self, stems: Sequence[str]) -> dict[str, list[ScopedTag]]:
        """Return the tags of all stems except `stems`. The keys of the result are the stems."""
        return {stem: tags for stem, tags in self._scoped.items() if stem not in stems}


def _split(tag: str) -> Iterator[tuple[str, str]]:
    """Yield each (stem, version) that a tag name can mean.

    A tag name can have several meanings if it contains several `@`.
    """
    at = tag.find("@")
    while at > 0:
        if at + 1 < len(tag):
            yield tag[:at], tag[at + 1 :]
        at = tag.find("@", at + 1)
    if "@" not in tag:
        stem, slash, version = tag.rpartition("/")
        if slash:
            yield stem, version


def stem_of(path: str) -> str:
    """Return the path without its suffix. The names of the file's tags begin with this stem."""
    return str(PurePosixPath(path).with_suffix(""))
