"""Reads the project's files in the working tree, in the index or at a commit."""

from __future__ import annotations

import os
from functools import cached_property
from os.path import normpath
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.globs import folder_of, matches
from loomgit.errors import UserError, WorldError
from loomgit.history.git_objects import LINK, TreeEntry, parse_listing, parse_staged
from loomgit.history.repository import MAX_PATHSPECS, UNBORN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.versions import Commit
    from loomgit.history.repository import Repository

MOST_LINKS = 40  # maximum length of a chain of symbolic links, as on Linux
# The revision of staged files. Git's name of a file is `revision:path`. If the file is staged, the
# name is `:path`, so the revision is empty.
INDEX = ""


class Tree:
    """Reads the files at `revision`.

    The revision is the id of a commit or tree, INDEX, or None for the working tree.
    """

    def __init__(self, repository: Repository, revision: str | None = None) -> None:
        self.repository = repository
        self.revision = revision

    @property
    def root(self) -> Path:
        """The project's folder in the working tree. It is the same for all revisions."""
        return self.repository.root

    def names(self, folder: str, ending: str) -> list[str]:
        """Return the sorted paths of the files directly in `folder` that end with `ending`."""
        depth = folder.count("/") + 1
        return [path for path in self.files(folder, ending) if path.count("/") == depth]

    def files(self, folder: str, ending: str) -> list[str]:
        """Return the sorted paths of the files at any depth in `folder` that end with `ending`."""
        if self.revision is None:
            check_readable(self.root / folder)
            paths = [path for path in (self.root / folder).rglob(f"*{ending}") if path.is_file()]
            return sorted(path.relative_to(self.root).as_posix() for path in paths)
        listed = self._committed if self.revision else self._staged([folder])
        if folder in listed and listed[folder].mode == LINK:
            return self._files_behind(folder, listed[folder].blob, ending)
        return sorted(p for p in listed if p.startswith(f"{folder}/") and p.endswith(ending))

    def _files_behind(self, link: str, blob: str, ending: str) -> list[str]:
        """Return the files in the folder that the symbolic link `link` points to.

        The returned paths begin with the path of the link. `blob` is the id of the link's blob,
        which contains the target path. If the target is outside the project, the list is empty.
        """
        target = self.repository.read_blob(blob).decode("utf-8", "surrogateescape")
        real = normpath(f"{link}/../{target}")
        if real.startswith(("/", "..")) or real == link:
            return []
        names = (path.removeprefix(f"{real}/") for path in self.files(real, ending))
        return [f"{link}/{name}" for name in names]

    def matching(self, glob: str) -> list[str]:
        """Return the sorted paths that match a glob.

        In the working tree, files that Git ignores do not match. Therefore, the result does not
        change when the matching files are committed.
        """
        folder = folder_of(glob)
        if self.revision is None:
            listed = dict.fromkeys(self.repository.list_files(folder))
            paths = [path for path in listed if (self.root / path).is_file()]
        else:
            paths = list(self._committed if self.revision else self._staged([folder]))
        return sorted(path for path in paths if matches(glob, path))

    def read(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the contents by path. Paths that are not files at the revision are left out."""
        if self.revision is None:
            present = [path for path in paths if (self.root / path).is_file()]
            return {path: (self.root / path).read_bytes() for path in present}
        inside = [f"{self.revision}:{self.repository.in_repository(path)}" for path in paths]
        objects = zip(paths, self.repository.contents(inside), strict=True)
        return {path: item.content for path, item in objects if item and item.type == "blob"}

    def entries(self, paths: Sequence[str]) -> dict[str, TreeEntry]:
        """Return the mode and blob by path. Paths that are not files at the revision are left out.

        For a symbolic link, the mode is that of the link, but the blob is that of its target.
        """
        paths = list(dict.fromkeys(paths))
        if self.revision is None or not paths:
            return self.repository.tree_entries(None, paths) if paths else {}
        listed = self._committed if self.revision else self._staged(paths)
        entries = {path: listed[path] for path in paths if path in listed}
        links = [path for path, entry in entries.items() if entry.mode == LINK]
        all_links = {path for path, entry in listed.items() if entry.mode == LINK}
        links += [
            path
            for path in paths
            if path not in entries and all_links & {str(p) for p in PurePosixPath(path).parents}
        ]
        targets = self.repository.blobs_at(self.revision, links) if links else {}
        return entries | {path: TreeEntry(LINK, blob) for path, blob in targets.items()}

    def real_path(self, path: str) -> str | None:
        """Return the path after all symbolic links are resolved.

        Return None if the resolved path is outside the project, or if there are too many links.
        """
        if self.revision is None:
            real, root = (self.root / path).resolve(), self.root.resolve()
            return real.relative_to(root).as_posix() if real.is_relative_to(root) else None
        listed = self._committed if self.revision else self._staged(["."])
        links = {name for name, entry in listed.items() if entry.mode == LINK}
        for _ in range(MOST_LINKS):
            parents = [str(parent) for parent in PurePosixPath(path).parents]
            link = next((name for name in (*reversed(parents), path) if name in links), None)
            if link is None:
                return path
            target = self.repository.read_blob(listed[link].blob)
            rest = path.removeprefix(link)
            path = normpath(f"{link}/../{target.decode('utf-8', 'surrogateescape')}") + rest
            if path.startswith(("/", "..")):
                return None
        return None

    def link_target(self, path: str) -> str | None:
        """Return the text of the symbolic link at a path, or None if it is no symbolic link."""
        if self.revision is None:
            place = self.root / path
            return str(place.readlink()) if place.is_symlink() else None
        entry = (self._committed if self.revision else self._staged([path])).get(path)
        if entry is None or entry.mode != LINK:
            return None
        return self.repository.read_blob(entry.blob).decode("utf-8", "surrogateescape")

    @cached_property
    def _committed(self) -> dict[str, TreeEntry]:
        """All files of the project at a commit, by path.

        The files are cached, because a commit never changes.
        """
        assert self.revision
        output = self.repository.plumbing(
            "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", self.revision,
            *([] if self._is_whole else [self.repository.pathspec(".")]),
        )  # fmt: skip
        listed = parse_listing(output.decode("utf-8", "surrogateescape"))
        return {self.repository.in_project(name): entry for name, entry in listed.items()}

    @property
    def _is_whole(self) -> bool:
        return self.repository.in_repository(".") == "."

    def _staged(self, paths: Sequence[str]) -> dict[str, TreeEntry]:
        """Return the staged files under `paths`, by the path in the project."""
        specs = (
            [self.repository.pathspec(path) for path in paths]
            if len(paths) <= MAX_PATHSPECS
            else []
        )
        output = self.repository.plumbing("ls-files", "--stage", "-z", "--full-name", "--", *specs)
        listed = parse_staged(output.decode("utf-8", "surrogateescape"))
        return {self.repository.in_project(name): entry for name, entry in listed.items()}

    def export(self, folder: Path) -> Path:
        """Write the project's files into `folder`, as in a checkout.

        Returns the project's root in `folder`. The user's checkout, index and HEAD do not change.
        Raises UserError for the working tree, which needs no export.
        """
        if self.revision is None:
            raise UserError("the working tree needs no export")
        inside = self.repository.in_repository(".")
        root = folder if inside == "." else folder / inside
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="loom-index-") as private:
            env: Mapping[str, str] = {}
            if self.revision != INDEX:
                env = {"GIT_INDEX_FILE": str(Path(private) / "index")}
                quiet = ("-c", f"core.hooksPath={os.devnull}")  # prevents Git from running hooks
                self.repository.plumbing(*quiet, "read-tree", self.revision, env=env)
            listed = self.repository.plumbing(
                "ls-files", "-z", "--full-name", "--cached", "--", self.repository.pathspec("."),
                env=env,
            )  # fmt: skip
            self.repository.plumbing(
                "-C", str(self.repository.worktree),
                "checkout-index", "-z", "--stdin", "--force", f"--prefix={folder}{os.sep}",
                stdin=listed, env=env,
            )  # fmt: skip
        return root

    def export_contents(self, folder: Path) -> Path:
        """Write the files of an untrusted commit into `folder`.

        Returns the project's root in `folder`. Git's filters do not run, because the commit's
        `.gitattributes` could select harmful filters. No symbolic link is created: a link to a file
        of the commit becomes a copy of that file, and all other links are left out.
        """
        inside = self.repository.in_repository(".")
        root = folder if inside == "." else folder / inside
        root.mkdir(parents=True, exist_ok=True)
        safe = [path for path in self._committed if not {"..", ".git"} & set(path.split("/"))]
        for path, content in self.read(safe).items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return root

    def commit(self, dependencies: Sequence[str] = ()) -> Commit:
        """Return the commit of the files. For the working tree and the index, this is HEAD.

        In both cases, the commit is dirty if the files differ from HEAD. For the working tree, the
        commit is also dirty if a file in `dependencies` is untracked.
        """
        if self.revision is None:
            return self.repository.head(dependencies)
        if self.revision != INDEX:
            return replace(self.repository.commit(self.revision), dirty=False)
        head = self.repository.head()
        if head.id == UNBORN:
            return head
        changed = self.repository.plumbing(
            "diff-index", "--cached", "--name-only", "-z", "HEAD", "--",
            self.repository.pathspec("."),
        )  # fmt: skip
        return replace(head, dirty=bool(changed))


def check_readable(folder: Path) -> None:
    """Raise WorldError if the folder, or a folder in it at any depth, cannot be listed."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise WorldError(f"{error.filename} cannot be read: {error.strerror}") from error

    for _ in os.walk(folder, onerror=fail):
        pass
