"""Which tags are whose: `prompts/classify@v1` is of the file `prompts/classify`, `v1` of all."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.history.repository import Tag


class Scoped(NamedTuple):
    """A tag as one file's: the version that it gives it."""

    version: str
    tag: Tag


class Scopes:
    """The tags, newest version first, sorted by what they belong to."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        self.plain: list[Scoped] = []
        self._scoped: dict[str, list[Scoped]] = {}
        for tag in tags:
            if "@" not in tag.name and "/" not in tag.name:
                self.plain.append(Scoped(tag.name, tag))
            for stem, version in _readings(tag.name):
                self._scoped.setdefault(stem, []).append(Scoped(version, tag))

    def of(self, stems: Sequence[str]) -> list[Scoped]:
        """The tags of a file by its stems, `stem@version` before `stem/version`."""
        found = [scoped for stem in stems for scoped in self._scoped.get(stem, ())]
        return sorted(found, key=lambda scoped: not scoped.tag.name.endswith(f"@{scoped.version}"))

    def others(self, stems: Sequence[str]) -> dict[str, list[Scoped]]:
        """The tags of all other files, by stem."""
        return {stem: tags for stem, tags in self._scoped.items() if stem not in stems}


def _readings(tag: str) -> Iterator[tuple[str, str]]:
    """(stem, version) as which a tag's name can be read: more than one where files have an `@`."""
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
    """A path without its ending: what its tags begin with."""
    return str(PurePosixPath(path).with_suffix(""))
