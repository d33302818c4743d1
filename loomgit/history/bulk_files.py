"""Files of many commits, read in a few Git processes, and the tree and versions made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.versions import FileVersion
from loomgit.errors import UserError
from loomgit.history.objects import Entry
from loomgit.history.trees import Tree
from loomgit.history.versions import Versions, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.history.repository import Repository

PLAIN = "100644"
Place = tuple[str, str]  # a commit's id, and a path of the project


class BulkFiles:
    """The blobs and contents at places, each read once. Symbolic links are followed."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._blobs: dict[Place, str | None] = {}
        self._contents: dict[str, bytes] = {}
        self._pinned: dict[tuple[str, str | None], FileVersion | UserError] = {}

    def blobs(self, places: Iterable[Place]) -> dict[Place, str]:
        """Git's ids of the contents, for those of the places that are files."""
        asked = list(dict.fromkeys(places))
        new = [place for place in asked if place not in self._blobs]
        inside = self.repository.in_repository
        found = self.repository.objects([f"{commit}:{inside(path)}" for commit, path in new])
        for place, item in zip(new, found, strict=True):
            self._blobs[place] = item[0] if item is not None and item[1] == "blob" else None
        return {place: blob for place in asked if (blob := self._blobs[place]) is not None}

    def contents(self, places: Iterable[Place]) -> dict[Place, bytes]:
        """The contents of those of the places that are files."""
        blobs = self.blobs(places)
        new = [blob for blob in dict.fromkeys(blobs.values()) if blob not in self._contents]
        for blob, item in zip(new, self.repository.contents(new), strict=True):
            if item is not None:
                self._contents[blob] = item.content
        return {p: self._contents[blob] for p, blob in blobs.items() if blob in self._contents}

    def pinned(self, items: Sequence[tuple[str, str | None]]) -> list[FileVersion | UserError]:
        """Files at versions that somebody named, each found once."""
        new = [item for item in dict.fromkeys(items) if item not in self._pinned]
        if new:
            found = Versions(self.repository).read_all(new)
            self._pinned |= dict(zip(new, found, strict=True))
        return [self._pinned[item] for item in items]


class BulkTree(Tree):
    """The files at a commit; their modes are not looked up, and count as plain."""

    def __init__(self, files: BulkFiles, commit: str) -> None:
        super().__init__(files.repository, commit)
        self._files = files
        self._commit = commit

    def read(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The content of those of `paths` that are files here."""
        found = self._files.contents((self._commit, path) for path in paths)
        return {path: content for (_, path), content in found.items()}

    def entries(self, paths: Sequence[str]) -> dict[str, Entry]:
        """The blob of those of `paths` that are files here."""
        found = self._files.blobs((self._commit, path) for path in paths)
        return {path: Entry(PLAIN, blob) for (_, path), blob in found.items()}


class BulkVersions(Versions):
    """Files at a commit, named by their blob alone, and at versions that somebody named."""

    def __init__(self, files: BulkFiles, commit: str) -> None:
        super().__init__(files.repository, commit)
        self._files = files
        self._commit = commit

    def read_all(self, items: Sequence[tuple[str, str | None]]) -> list[FileVersion | UserError]:
        """Each (path, version) in its place, or the error."""
        here = (None, self._commit)
        places = [(self._commit, path) for path, version in items if version in here]
        contents = self._files.contents(places)
        pinned = [item for item in items if item[1] not in here]
        others = iter(self._files.pinned(pinned))
        return [
            self._read_here(path, contents.get((self._commit, path)))
            if version in here
            else next(others)
            for path, version in items
        ]

    def _read_here(self, path: str, content: bytes | None) -> FileVersion | UserError:
        place = self._commit, path
        if content is None:
            return UserError(f"{path} does not exist at {self._commit[:12]}")
        blob = self._files.blobs([place])[place]
        try:
            return FileVersion(path, f"g{blob[:8]}", blob, decode(content, path), self._commit)
        except UserError as error:
            return error
