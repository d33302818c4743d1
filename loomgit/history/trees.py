"""The project's files at one point: as they lie in the working tree, as they are staged, or as a
commit has them."""

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
from loomgit.history.objects import LINK, Entry, parse_listing, parse_staged
from loomgit.history.repository import MANY, UNBORN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.versions import Commit
    from loomgit.history.repository import Repository

MOST_LINKS = 40  # one after the other, as on Linux
INDEX = ""  # as Git writes it: `:path` is the file as it is staged


class Tree:
    """The files at `revision`: a commit's or tree's id, INDEX, or None for the working tree."""

    def __init__(self, repository: Repository, revision: str | None = None) -> None:
        self.repository = repository
        self.revision = revision

    @property
    def root(self) -> Path:
        """The project's folder in the working tree, whatever `revision` is."""
        return self.repository.root

    def names(self, folder: str, ending: str) -> list[str]:
        """The project's paths of the files right in `folder` that end so, in order."""
        depth = folder.count("/") + 1
        return [path for path in self.files(folder, ending) if path.count("/") == depth]

    def files(self, folder: str, ending: str) -> list[str]:
        """The project's paths of the files anywhere under `folder` that end so, in order."""
        if self.revision is None:
            check_readable(self.root / folder)
            found = [path for path in (self.root / folder).rglob(f"*{ending}") if path.is_file()]
            return sorted(path.relative_to(self.root).as_posix() for path in found)
        listed = self._held if self.revision else self._staged([folder])
        if folder in listed and listed[folder].mode == LINK:
            return self._files_behind(folder, listed[folder].blob, ending)
        return sorted(p for p in listed if p.startswith(f"{folder}/") and p.endswith(ending))

    def _files_behind(self, link: str, blob: str, ending: str) -> list[str]:
        """The files of a folder that is a symbolic link within the project, by the link's path; its
        `blob` holds where it leads."""
        target = self.repository.read_blob(blob).decode("utf-8", "surrogateescape")
        real = normpath(f"{link}/../{target}")
        if real.startswith(("/", "..")) or real == link:
            return []
        found = (path.removeprefix(f"{real}/") for path in self.files(real, ending))
        return [f"{link}/{name}" for name in found]

    def matching(self, glob: str) -> list[str]:
        """The project's paths that a glob matches, in order; of the working tree what Git does not
        ignore, so that a commit of it all has the same."""
        folder = folder_of(glob)
        if self.revision is None:
            listed = dict.fromkeys(self.repository.list_files(folder))
            paths = [path for path in listed if (self.root / path).is_file()]
        else:
            paths = list(self._held if self.revision else self._staged([folder]))
        return sorted(path for path in paths if matches(glob, path))

    def read(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The content of those of `paths` that are files here."""
        if self.revision is None:
            present = [path for path in paths if (self.root / path).is_file()]
            return {path: (self.root / path).read_bytes() for path in present}
        inside = [f"{self.revision}:{self.repository.in_repository(path)}" for path in paths]
        found = zip(paths, self.repository.contents(inside), strict=True)
        return {path: item.content for path, item in found if item and item.type == "blob"}

    def entries(self, paths: Sequence[str]) -> dict[str, Entry]:
        """Mode and blob of those of `paths` that are files here; of a link its own mode and the
        blob that it leads to."""
        paths = list(dict.fromkeys(paths))
        if self.revision is None or not paths:
            return self.repository.tree_entries(None, paths) if paths else {}
        listed = self._held if self.revision else self._staged(paths)
        found = {path: listed[path] for path in paths if path in listed}
        links = [path for path, entry in found.items() if entry.mode == LINK]
        folders = {path for path, entry in listed.items() if entry.mode == LINK}
        links += [
            path
            for path in paths
            if path not in found and folders & {str(p) for p in PurePosixPath(path).parents}
        ]
        led = self.repository.blobs_at(self.revision, links) if links else {}
        return found | {path: Entry(LINK, blob) for path, blob in led.items()}

    def real_path(self, path: str) -> str | None:
        """Where a path of the project leads through symbolic links; None: out of the project."""
        if self.revision is None:
            real, root = (self.root / path).resolve(), self.root.resolve()
            return real.relative_to(root).as_posix() if real.is_relative_to(root) else None
        listed = self._held if self.revision else self._staged(["."])
        links = {name for name, entry in listed.items() if entry.mode == LINK}
        for _ in range(MOST_LINKS):
            parents = [str(each) for each in PurePosixPath(path).parents]
            link = next((name for name in (*reversed(parents), path) if name in links), None)
            if link is None:
                return path
            target = self.repository.read_blob(listed[link].blob)
            rest = path.removeprefix(link)
            path = normpath(f"{link}/../{target.decode('utf-8', 'surrogateescape')}") + rest
            if path.startswith(("/", "..")):
                return None
        return None

    @cached_property
    def _held(self) -> dict[str, Entry]:
        """All files of the project at a commit, by the project's path: it stays as it is."""
        assert self.revision
        said = self.repository.plumbing(
            "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", self.revision,
            *([] if self._is_whole else [self.repository.pathspec(".")]),
        )  # fmt: skip
        listed = parse_listing(said.decode("utf-8", "surrogateescape"))
        return {self.repository.in_project(name): entry for name, entry in listed.items()}

    @property
    def _is_whole(self) -> bool:
        return self.repository.in_repository(".") == "."

    def _staged(self, paths: Sequence[str]) -> dict[str, Entry]:
        """The files under `paths` as the index has them, by the project's path."""
        few = [self.repository.pathspec(path) for path in paths] if len(paths) <= MANY else []
        said = self.repository.plumbing("ls-files", "--stage", "-z", "--full-name", "--", *few)
        listed = parse_staged(said.decode("utf-8", "surrogateescape"))
        return {self.repository.in_project(name): entry for name, entry in listed.items()}

    def export(self, folder: Path) -> Path:
        """Write the project's files into `folder` as a checkout would; returns its root there.

        The user's checkout, index and HEAD are not touched. UserError for the working tree, which
        is there already.
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
                quiet = ("-c", f"core.hooksPath={os.devnull}")  # a private index is nobody's event
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
        """As `export`, of a commit that is not trusted: contents alone, without symbolic links, and
        without filters, which its `.gitattributes` could start."""
        inside = self.repository.in_repository(".")
        root = folder if inside == "." else folder / inside
        root.mkdir(parents=True, exist_ok=True)
        plain = [path for path in self._held if not {"..", ".git"} & set(path.split("/"))]
        for path, content in self.read(plain).items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return root

    def commit(self, dependencies: Sequence[str] = ()) -> Commit:
        """The commit that the files belong to, or (working tree, index) follow: then it is dirty
        where they differ from it. `dependencies` count as changed while they are untracked."""
        if self.revision is None:
            return self.repository.head(dependencies)
        if self.revision != INDEX:
            return replace(self.repository.commit(self.revision), dirty=False)
        head = self.repository.head()
        if head.id == UNBORN:
            return head
        said = self.repository.plumbing(
            "diff-index", "--cached", "--name-only", "-z", "HEAD", "--",
            self.repository.pathspec("."),
        )  # fmt: skip
        return replace(head, dirty=bool(said))


def check_readable(folder: Path) -> None:
    """Raise WorldError for a folder, at any depth, that cannot be listed."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise WorldError(f"{error.filename} cannot be read: {error.strerror}") from error

    for _ in os.walk(folder, onerror=fail):
        pass
