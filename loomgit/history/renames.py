"""Files that had another path: found by their content, by their `id:`, by Git's record of moves.

Nothing here is asked before a path is missing at a revision or has no tag of its own.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from loomgit.errors import UserError
from loomgit.history.walks import former_paths, load_renames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.history.repository import Repository
    from loomgit.history.scopes import Scoped, Scopes

_FRONT = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.M)
_ID = re.compile(
    rb"""^id:[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'#][^\n#]*?))[ \t]*(?:#.*)?\r?$""", re.M
)


class Former(NamedTuple):
    """Where a file stood: at `commit` its path was `path`; `tag` where one led there."""

    path: str
    blob: str
    commit: str
    tag: str = ""


def find_id(content: bytes) -> str:
    """The `id:` of a prompt's front matter, empty where there is none.

    The one key of it that is read here; what else is in there is for the configuration's parser.
    """
    front = _FRONT.match(content)
    found = _ID.search(front[1]) if front else None
    if found is None:
        return ""
    return next(word for word in found.groups() if word).decode("utf-8", "replace").strip()


class Renames:
    """Looks for one file where its path does not lead to it."""

    def __init__(self, repository: Repository, path: str) -> None:
        self._repository = repository
        self._path = path
        content, self._blob = self._today()
        self._id = find_id(content)
        head = repository.objects(["HEAD^{commit}"])[0]
        moves = load_renames(repository, head[0]) if head else []
        self._former = former_paths(path, moves)

    def _today(self) -> tuple[bytes, str]:
        blob = self._repository.hash_files([self._path]).get(self._path)
        if blob is not None:
            return (self._repository.root / self._path).read_bytes(), blob
        found = self._repository.contents([f"HEAD:{self._repository.in_repository(self._path)}"])[0]
        return (found.content, found.id) if found and found.type == "blob" else (b"", "")

    def find_at(self, commit: str, version: str) -> Former | None:
        """The file at a commit, where it stood elsewhere; UserError where two could be it.

        Its `id:` decides, else the moves that left its content as it was, else its content.
        """
        files = self._repository.tree_files(commit)
        found = self._with_id(files, commit)
        found = found or [path for path in self._former if path in files]
        found = found or [path for path, blob in files.items() if blob == self._blob]
        if len(found) > 1:
            raise self._ambiguous(version, found, "give each file an `id:` of its own")
        return Former(found[0], files[found[0]], commit) if found else None

    def _with_id(self, files: dict[str, str], commit: str) -> list[str]:
        """The files whose front matter has this file's id: Git greps, what it finds is parsed."""
        if not self._id:
            return []
        said = self._repository.plumbing(
            "grep", "--name-only", "-z", "-I", "--full-name", "--fixed-strings",
            "-e", self._id, commit, "--", self._repository.pathspec("."),
            good=(0, 1),  # 1: found nothing
        )  # fmt: skip
        names = said.decode("utf-8", "surrogateescape").split("\0")
        paths = [self._repository.in_project(n.partition(":")[2]) for n in names if n]
        paths = [path for path in paths if path in files]
        contents = self._repository.contents([files[path] for path in paths])
        pairs = zip(paths, contents, strict=True)
        return [path for path, item in pairs if item and find_id(item.content) == self._id]

    def find_tagged(self, scopes: Scopes, stems: Sequence[str], version: str) -> Former | None:
        """The file at a tag that its former path has in its name; UserError where two could be."""
        others = [
            (self._path_of(stem), scoped)
            for stem, tags in scopes.others(stems).items()
            for scoped in tags
            if scoped.version == version
        ]
        found = self._those_that_are_it(self._at_tags(others))
        if len(found) > 1:
            names = [former.tag for former in found]
            raise self._ambiguous(version, names, "say the whole name of the tag")
        return found[0] if found else None

    def _path_of(self, stem: str) -> str:
        """The path that a stem stood for: one of this file's, else one with the same ending."""
        former = [path for path in self._former if stem in self._repository.stems(path)]
        ending = PurePosixPath(self._path).suffix
        return former[0] if former else self._repository.of_stem(stem) + ending

    def _at_tags(self, others: Sequence[tuple[str, Scoped]]) -> list[Former]:
        inside = [self._repository.in_repository(path) for path, _ in others]
        asked = [f"{s.tag.commit}:{p}" for (_, s), p in zip(others, inside, strict=True)]
        found = self._repository.objects(asked)
        return [
            Former(path, item[0], scoped.tag.commit, scoped.tag.name)
            for (path, scoped), item in zip(others, found, strict=True)
            if item and item[1] == "blob"
        ]

    def _those_that_are_it(self, found: Sequence[Former]) -> list[Former]:
        """Those that Git saw move here, or with this file's id; without an id, with its content.

        The same content is no proof while the other file is still there: it may be a copy.
        """
        if self._id:
            contents = self._repository.contents([former.blob for former in found])
            ids = [find_id(item.content) if item else "" for item in contents]
            proven = [identity == self._id for identity in ids]
        else:
            alive = self._repository.blobs_at("HEAD", [former.path for former in found])
            proven = [f.blob == self._blob and f.path not in alive for f in found]
        pairs = zip(found, proven, strict=True)
        return [former for former, sure in pairs if sure or former.path in self._former]

    def _ambiguous(self, version: str, found: Sequence[str], hint: str) -> UserError:
        names = ", ".join(sorted(found))
        return UserError(f"{self._path} at {version} could be {names}", hint=hint)
