"""Finds the former paths of a file by its content, by its `id:` or by the renames that Git detects.

Loom searches for former paths only if a path does not exist at a revision, or if no tag of the file
has the requested version.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from loomgit.errors import UserError
from loomgit.history.commit_counts import former_paths, load_renames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.history.repository import Repository
    from loomgit.history.tag_scopes import ScopedTag, TagScopes

_FRONT = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.M)
_ID = re.compile(
    rb"""^id:[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'#][^\n#]*?))[ \t]*(?:#.*)?\r?$""", re.M
)


class FormerPath(NamedTuple):
    """The path of a file at another commit.

    `blob` is the id of the file's content there. `tag` is the tag by which the commit was found, or
    empty.
    """

    path: str
    blob: str
    commit: str
    tag: str = ""


def find_id(content: bytes) -> str:
    """Return the value of `id:` in a prompt's front matter, or an empty text if the key is missing.

    This function reads only this key. The configuration parser reads all other keys.
    """
    front = _FRONT.match(content)
    match = _ID.search(front[1]) if front else None
    if match is None:
        return ""
    return next(value for value in match.groups() if value).decode("utf-8", "replace").strip()


class Renames:
    """Finds a file at revisions where it had another path."""

    def __init__(self, repository: Repository, path: str) -> None:
        self._repository = repository
        self._path = path
        content, self._blob = self._current()
        self._id = find_id(content)
        head = repository.objects(["HEAD^{commit}"])[0]
        moves = load_renames(repository, head[0]) if head else []
        self._former = former_paths(path, moves)

    def _current(self) -> tuple[bytes, str]:
        """Return (content, blob) of the file in the working tree, else at HEAD.

        Both are empty if neither contains the file.
        """
        blob = self._repository.hash_files([self._path]).get(self._path)
        if blob is not None:
            return (self._repository.root / self._path).read_bytes(), blob
        item = self._repository.contents([f"HEAD:{self._repository.in_repository(self._path)}"])[0]
        return (item.content, item.id) if item and item.type == "blob" else (b"", "")

    def find_at(self, commit: str, version: str) -> FormerPath | None:
        """Find the file at a commit where it had another path. Return None if it is not found.

        Three criteria are tried in this order, until one matches: a file with the same `id:`; a
        former path, according to renames that kept the content unchanged; a file with the same
        content. Raises UserError if several files match.
        """
        files = self._repository.tree_files(commit)
        paths = self._with_id(files, commit)
        paths = paths or [path for path in self._former if path in files]
        paths = paths or [path for path, blob in files.items() if blob == self._blob]
        if len(paths) > 1:
            raise self._ambiguous(version, paths, "add a unique `id:` to each file")
        return FormerPath(paths[0], files[paths[0]], commit) if paths else None

    def _with_id(self, files: dict[str, str], commit: str) -> list[str]:
        """Return the paths of the files at `commit` that have this file's id in their front matter.

        `git grep` preselects the files, so that only few files are parsed. `files` maps paths to
        blob ids.
        """
        if not self._id:
            return []
        output = self._repository.plumbing(
            "grep", "--name-only", "-z", "-I", "--full-name", "--fixed-strings",
            "-e", self._id, commit, "--", self._repository.pathspec("."),
            good=(0, 1),  # exit code 1 means no match
        )  # fmt: skip
        names = output.decode("utf-8", "surrogateescape").split("\0")
        paths = [self._repository.in_project(n.partition(":")[2]) for n in names if n]
        paths = [path for path in paths if path in files]
        contents = self._repository.contents([files[path] for path in paths])
        pairs = zip(paths, contents, strict=True)
        return [path for path, item in pairs if item and find_id(item.content) == self._id]

    def find_tagged(
        self, scopes: TagScopes, stems: Sequence[str], version: str
    ) -> FormerPath | None:
        """Return the former path that has a tag for `version`, or None if no former path has one.

        Raises UserError if several tags match. `stems` are the prefixes of the tags for the file's
        current path. Tags with these prefixes are ignored.
        """
        tagged = [
            (self._path_of(stem), scoped)
            for stem, tags in scopes.others(stems).items()
            for scoped in tags
            if scoped.version == version
        ]
        matches = self._confirmed(self._at_tags(tagged))
        if len(matches) > 1:
            names = [former.tag for former in matches]
            raise self._ambiguous(version, names, "use the full name of the tag")
        return matches[0] if matches else None

    def _path_of(self, stem: str) -> str:
        """Return the path that belongs to a stem (a path without its suffix).

        If a former path of the file has this stem, the former path is returned. Otherwise, the
        suffix of the current path is added to the stem.
        """
        former = [path for path in self._former if stem in self._repository.stems(path)]
        suffix = PurePosixPath(self._path).suffix
        return former[0] if former else self._repository.of_stem(stem) + suffix

    def _at_tags(self, tagged: Sequence[tuple[str, ScopedTag]]) -> list[FormerPath]:
        """Return a FormerPath for each (path, tag) if the tag's commit has a file at this path."""
        inside = [self._repository.in_repository(path) for path, _ in tagged]
        names = [f"{s.tag.commit}:{p}" for (_, s), p in zip(tagged, inside, strict=True)]
        objects = self._repository.objects(names)
        return [
            FormerPath(path, item[0], scoped.tag.commit, scoped.tag.name)
            for (path, scoped), item in zip(tagged, objects, strict=True)
            if item and item[1] == "blob"
        ]

    def _confirmed(self, candidates: Sequence[FormerPath]) -> list[FormerPath]:
        """Return the candidates that are former paths of this file.

        A candidate is a former path if Git detected a rename from the candidate to this file, or if
        both files have the same id. If this file has no id, the same content is sufficient, but
        only if the candidate's path no longer exists. Otherwise, one file may be a copy of the
        other.
        """
        if self._id:
            contents = self._repository.contents([former.blob for former in candidates])
            ids = [find_id(item.content) if item else "" for item in contents]
            proofs = [identity == self._id for identity in ids]
        else:
            existing = self._repository.blobs_at("HEAD", [former.path for former in candidates])
            proofs = [f.blob == self._blob and f.path not in existing for f in candidates]
        pairs = zip(candidates, proofs, strict=True)
        return [former for former, is_proved in pairs if is_proved or former.path in self._former]

    def _ambiguous(self, version: str, candidates: Sequence[str], hint: str) -> UserError:
        names = ", ".join(sorted(candidates))
        return UserError(f"{self._path} at {version} could be {names}", hint=hint)
