"""Reads files at many commits with few Git processes.

`BulkTree` and `BulkVersions` have the same methods as `Tree` and `Versions`. They share a cache,
`BulkFiles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.versions import FileVersion
from loomgit.errors import UserError
from loomgit.history.git_objects import TreeEntry
from loomgit.history.trees import Tree
from loomgit.history.versions import Versions, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.history.repository import Repository

PLAIN = "100644"
Place = tuple[str, str]  # a commit id and a path in the project


class BulkFiles:
    """Reads and caches the blob ids and contents of files at commits.

    A `Place` is (commit id, path in the project). Symbolic links are followed.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._blobs: dict[Place, str | None] = {}
        self._contents: dict[str, bytes] = {}
        self._pinned: dict[tuple[str, str | None], FileVersion | UserError] = {}

    def blobs(self, places: Iterable[Place]) -> dict[Place, str]:
        """Return the blob id of the file at each (commit, path). Missing files are left out."""
        distinct = list(dict.fromkeys(places))
        new = [place for place in distinct if place not in self._blobs]
        inside = self.repository.in_repository
        objects = self.repository.objects([f"{commit}:{inside(path)}" for commit, path in new])
        for place, item in zip(new, objects, strict=True):
            self._blobs[place] = item[0] if item is not None and item[1] == "blob" else None
        return {place: blob for place in distinct if (blob := self._blobs[place]) is not None}

    def contents(self, places: Iterable[Place]) -> dict[Place, bytes]:
        """Return the content of the file at each (commit, path). Missing files are left out."""
        blobs = self.blobs(places)
        new = [blob for blob in dict.fromkeys(blobs.values()) if blob not in self._contents]
        for blob, item in zip(new, self.repository.contents(new), strict=True):
            if item is not None:
                self._contents[blob] = item.content
        return {p: self._contents[blob] for p, blob in blobs.items() if blob in self._contents}

    def pinned(self, items: Sequence[tuple[str, str | None]]) -> list[FileVersion | UserError]:
        """Return a FileVersion for each (path, version), or a UserError if the file is unreadable.

        The results are in the same order as `items`. They are cached.
        """
        new = [item for item in dict.fromkeys(items) if item not in self._pinned]
        if new:
            versions = Versions(self.repository).read_all(new)
            self._pinned |= dict(zip(new, versions, strict=True))
        return [self._pinned[item] for item in items]


class BulkTree(Tree):
    """The files at a commit, read through a `BulkFiles` cache.

    Modes are not read. Therefore, every entry has the mode of a plain file.
    """

    def __init__(self, files: BulkFiles, commit: str) -> None:
        super().__init__(files.repository, commit)
        self._files = files
        self._commit = commit

    def read(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the contents of those `paths` that are files at the commit."""
        contents = self._files.contents((self._commit, path) for path in paths)
        return {path: content for (_, path), content in contents.items()}

    def entries(self, paths: Sequence[str]) -> dict[str, TreeEntry]:
        """Return the blobs of those `paths` that are files at the commit."""
        blobs = self._files.blobs((self._commit, path) for path in paths)
        return {path: TreeEntry(PLAIN, blob) for (_, path), blob in blobs.items()}


class BulkVersions(Versions):
    """Reads files at one commit or at explicit versions, through a `BulkFiles` cache.

    The version name of a file at the commit is derived from its blob id only, not from tags.
    """

    def __init__(self, files: BulkFiles, commit: str) -> None:
        super().__init__(files.repository, commit)
        self._files = files
        self._commit = commit

    def read_all(self, items: Sequence[tuple[str, str | None]]) -> list[FileVersion | UserError]:
        """Return a FileVersion for each (path, version), or a UserError if the file is unreadable.

        If a version is None, the file is read at the commit of this object. The results are in the
        same order as `items`.
        """
        current = (None, self._commit)
        places = [(self._commit, path) for path, version in items if version in current]
        contents = self._files.contents(places)
        pinned = [item for item in items if item[1] not in current]
        pinned_versions = iter(self._files.pinned(pinned))
        return [
            self._version(path, contents.get((self._commit, path)))
            if version in current
            else next(pinned_versions)
            for path, version in items
        ]

    def _version(self, path: str, content: bytes | None) -> FileVersion | UserError:
        place = self._commit, path
        if content is None:
            return UserError(f"{path} does not exist at {self._commit[:12]}")
        blob = self._files.blobs([place])[place]
        try:
            return FileVersion(path, f"g{blob[:8]}", blob, decode(content, path), self._commit)
        except UserError as error:
            return error
