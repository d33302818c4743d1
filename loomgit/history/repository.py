"""The Git repository around a project: the only place that talks to Git.

GitPython opens the repository and runs its commands; questions about objects go through plumbing
(`cat-file --batch-check`, `hash-object`), one process for many questions, because walking objects
in Python is tens of times slower.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import git
from git.exc import GitCommandError, GitCommandNotFound, InvalidGitRepositoryError, NoSuchPathError

from loomgit.domain.versions import Commit
from loomgit.errors import UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNBORN = "unborn"
_UNASKABLE = re.compile(r"[\n\0]|@\{")
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a tree: Git's mode and blob id."""

    mode: str
    blob: str


class Repository:
    """One repository, seen from a project's folder inside it; paths are the project's own."""

    def __init__(self, repo: git.Repo, root: Path) -> None:
        self._command = git.Git(root)
        self.root = root
        worktree = Path(str(repo.working_tree_dir)).resolve()
        self._prefix = root.resolve().relative_to(worktree).as_posix()

    @classmethod
    def open(cls, root: Path) -> Repository:
        """Open the repository that holds `root`; UserError where there is none."""
        try:
            repo = git.Repo(root, search_parent_directories=True)
        except (InvalidGitRepositoryError, NoSuchPathError) as error:
            raise UserError(
                f"{root} is in no Git repository, and versions come from Git", hint="run `git init`"
            ) from error
        except GitCommandNotFound as error:
            raise WorldError("the `git` command is not to be found", hint="install Git") from error
        if repo.bare or repo.working_tree_dir is None:
            raise UserError(f"{root} is a bare repository: it has no files to work with")
        return cls(repo, root)

    def in_repository(self, path: str) -> str:
        """The project's path as the repository's: with the subfolder of a monorepo before it."""
        return path if self._prefix == "." else f"{self._prefix}/{path}"

    def _git(self, *arguments: str, stdin: str | None = None) -> str:
        return self._git_bytes(*arguments, stdin=stdin).decode("utf-8", "surrogateescape")

    def _git_bytes(self, *arguments: str, stdin: str | None = None) -> bytes:
        command = [git.Git.GIT_PYTHON_GIT_EXECUTABLE or "git", *arguments]
        try:
            if stdin is not None:
                return self._git_fed(command, stdin.encode("utf-8", "surrogateescape"))
            return self._command.execute(
                command, env=_QUIET, stdout_as_string=False, strip_newline_in_stdout=False
            )
        except GitCommandError as error:
            raise WorldError(f"git {arguments[0]}: {_last_line(error)}") from error
        except GitCommandNotFound as error:
            raise WorldError("the `git` command is not to be found", hint="install Git") from error

    def _git_fed(self, command: list[str], stdin: bytes) -> bytes:
        process = self._command.execute(
            command, env=_QUIET, as_process=True, istream=-1, stdout_as_string=False
        )
        output: bytes
        output, errors = process.communicate(stdin)
        if process.returncode:
            raise GitCommandError(command, process.returncode, errors)
        return output

    @cached_property
    def object_format(self) -> str:
        """`sha1` or `sha256`."""
        return self._git("rev-parse", "--show-object-format").strip()

    @cached_property
    def is_shallow(self) -> bool:
        """Whether history is cut off: then nothing may be counted in it."""
        return self._git("rev-parse", "--is-shallow-repository").strip() == "true"

    @cached_property
    def common_dir(self) -> Path:
        """The `.git` folder that all worktrees share."""
        said = self._git("rev-parse", "--git-common-dir").strip()
        return (self.root / said).resolve()

    def head(self, dependencies: Sequence[str] = ()) -> Commit:
        """Where HEAD stands; dirty when a tracked file is changed or a dependency is untracked."""
        branch = self._branch()
        changed = self._git("status", "--porcelain", "-z", "-uno", "--no-renames", "--", ".")
        loose = self._untracked(dependencies)
        dirty = bool(changed or loose)
        if not self._exists("HEAD^{commit}"):
            return Commit(UNBORN, branch=branch, dirty=True, object_format=self.object_format)
        shown = self._git("show", "-s", "--format=%H%x00%T%x00%aI%x00%an", "HEAD", "--")
        commit, tree, time, author = shown.strip("\n").split("\0")
        return Commit(commit, tree, branch, time, author, dirty, self.object_format)

    def _branch(self) -> str:
        try:
            return self._git("symbolic-ref", "--quiet", "--short", "HEAD").strip()
        except WorldError:
            return ""  # detached

    def _untracked(self, paths: Sequence[str]) -> str:
        if not paths:
            return ""
        return self._git("ls-files", "-z", "--others", "--", *(f":(literal){p}" for p in paths))

    def _exists(self, name: str) -> bool:
        return self.objects([name])[0] is not None

    def objects(self, names: Sequence[str]) -> list[tuple[str, str] | None]:
        """(id, type) of each object name, None where there is none: one process for all.

        A name is whatever `git rev-parse` takes, but for reflogs and upstreams (`@{u}`): they
        differ between clones, and Git gives up on a batch that asks for one that is not there.
        """
        asked = [name for name in names if not _UNASKABLE.search(name)]
        if not asked:
            return [None] * len(names)
        said = self._git("cat-file", "--batch-check", stdin="".join(f"{n}\n" for n in asked))
        found: dict[str, tuple[str, str] | None] = {}
        for name, line in zip(asked, said.splitlines(), strict=True):
            match = re.fullmatch(r"([0-9a-f]{40,64}) (\w+) \d+", line)
            found[name] = (match[1], match[2]) if match else None
        return [found.get(name) for name in names]

    def read_blob(self, blob: str) -> bytes:
        """The content of a blob by its id."""
        return self._git_bytes("cat-file", "blob", blob)

    def hash_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Blob ids of files in the working tree as Git would store them (line endings, filters)."""
        present = [path for path in paths if (self.root / path).is_file()]
        plain = [path for path in present if "\n" not in path]
        said = ""
        if plain:
            names = "".join(f"{self.root / path}\n" for path in plain)
            said = self._git("hash-object", "--stdin-paths", stdin=names)
        return dict(zip(plain, said.split(), strict=True))

    def blobs_at(self, revision: str, paths: Sequence[str]) -> dict[str, str]:
        """Blob ids of those of `paths` that `revision` has."""
        names = [f"{revision}:{self.in_repository(path)}" for path in paths]
        found = zip(paths, self.objects(names), strict=True)
        return {path: item[0] for path, item in found if item and item[1] == "blob"}

    def tags(self) -> list[str]:
        """The names of all tags, newest version first."""
        return self._git(
            "for-each-ref", "--sort=-v:refname", "--format=%(refname:strip=2)", "refs/tags"
        ).splitlines()

    def reachable_tags(self, pattern: str) -> list[str]:
        """The tags under `refs/tags/<pattern>` that HEAD contains, newest version first."""
        if not self._exists("HEAD^{commit}"):
            return []
        return self._git(
            "for-each-ref",
            "--merged=HEAD",
            "--sort=-v:refname",
            "--format=%(refname:strip=2)",
            f"refs/tags/{pattern}",
        ).splitlines()

    def changes_since(self, revision: str, path: str) -> int:
        """How many commits between `revision` and HEAD changed the file."""
        said = self._git(
            "rev-list",
            "--count",
            "--end-of-options",
            f"{revision}..HEAD",
            "--",
            f":(top,literal){self.in_repository(path)}",
        )
        return int(said)

    def create_tag(self, name: str, message: str) -> None:
        """Make an annotated tag at HEAD; UserError where the name is bad or taken."""
        if self._exists(f"refs/tags/{name}"):
            raise UserError(f"tag {name} exists already")
        try:
            self._git("check-ref-format", f"refs/tags/{name}")
        except WorldError as error:
            raise UserError(f"{name!r} is no name that Git allows for a tag") from error
        self._git("tag", "-a", "-m", message, "--end-of-options", name, "HEAD")

    def push_tag(self, name: str, remote: str = "origin") -> None:
        """Push one tag; WorldError with Git's own words where the remote refuses."""
        self._git("push", "--end-of-options", remote, f"refs/tags/{name}")

    def list_files(self, folder: str) -> Iterable[str]:
        """Files under a folder that are tracked, or untracked and not ignored."""
        said = self._git(
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            f":(literal){folder}",
        )
        return [name for name in said.split("\0") if name and os.path.lexists(self.root / name)]


def _last_line(error: GitCommandError) -> str:
    """What Git said last, out of the dress that GitPython gives it."""
    said = str(error.stderr or error).strip().removeprefix("stderr:").strip().strip("'\"")
    return (said.splitlines() or ["failed and said nothing"])[-1]
