"""The Git repository of a project, and the Git commands that read and tag it.

GitPython finds and opens the repository. Git's plumbing commands (such as `cat-file`) read its
objects, because GitPython is tens of times slower. One Git process reads many objects.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import git
from git.exc import GitCommandNotFound, InvalidGitRepositoryError, NoSuchPathError

from loomgit.domain.versions import Commit
from loomgit.errors import UserError, WorldError
from loomgit.history.git_command import NO_VARIABLES, GitCommand
from loomgit.history.git_objects import (
    FOLDER,
    LINK,
    GitObject,
    TreeEntry,
    parse_batch,
    parse_commit,
    parse_listing,
    parse_tree,
)
from loomgit.history.tag_scopes import Tag, stem_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

UNBORN = "unborn"
MAX_PATHSPECS = 500  # maximum per Git command; for more paths, Loom filters a list of all files
_UNSUPPORTED = re.compile(r"[\n\0]|@\{|:\.\./")


class Repository:
    """The Git repository that contains a project.

    Paths are relative to the project's folder.
    """

    def __init__(self, repo: git.Repo, root: Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self.worktree = Path(str(repo.working_tree_dir)).resolve()
        self._prefix = root.resolve().relative_to(self.worktree).as_posix()
        self._git_dir = Path(repo.git_dir).resolve()
        index = _own_index(environment.get("GIT_INDEX_FILE"), self.worktree, self._git_dir)
        self._command = GitCommand(root, environment, index)

    @classmethod
    def open(cls, root: Path, environment: Mapping[str, str] = os.environ) -> Repository:
        """Open the repository that contains `root`.

        The variable `GIT_DIR`, which Git sets for hooks, is ignored. `GIT_INDEX_FILE` is used if it
        belongs to this repository: in the hooks of `git commit -a`, it is the path of the index to
        commit. Raises UserError if `root` is in no repository or in a bare repository, and
        WorldError if Git is not installed.
        """
        try:
            repo = git.Repo(root, search_parent_directories=True, expand_vars=False)
        except (InvalidGitRepositoryError, NoSuchPathError) as error:
            raise UserError(
                f"{root} is not in a Git repository, which Loom needs for versions",
                hint="run `git init`",
            ) from error
        except GitCommandNotFound as error:
            raise WorldError("the `git` command was not found", hint="install Git") from error
        with repo:
            if repo.bare or repo.working_tree_dir is None:
                raise UserError(f"{root} is a bare repository: it has no working tree")
            return cls(repo, root, environment)

    # -- paths

    def in_repository(self, path: str) -> str:
        """Convert a path in the project to a path in the repository.

        The two paths differ if the project is a subfolder of the repository.
        """
        return posixpath.normpath(posixpath.join(self._prefix, path))

    def in_project(self, path: str) -> str:
        """Convert a path in the repository to a path in the project.

        A path outside the project starts with `../`.
        """
        return posixpath.relpath(path, self._prefix)

    def pathspec(self, path: str) -> str:
        """Return the path as a literal pathspec for a Git command line."""
        inside = self.in_repository(path)
        return ":(top)" if inside == "." else f":(top,literal){inside}"

    def stems(self, path: str) -> tuple[str, ...]:
        """Return the prefixes that the names of a file's tags can have.

        The first is the path in the repository, without suffix. If the project is in a subfolder,
        the second is the path in the project, because users may create such tags by hand.
        """
        return tuple(dict.fromkeys(stem_of(name) for name in (self.in_repository(path), path)))

    def of_stem(self, stem: str) -> str:
        """Return the path in the project (without suffix) for one of the prefixes of `stems`."""
        inside = self._prefix != "." and stem.startswith(f"{self._prefix}/")
        return self.in_project(stem) if inside else stem

    # -- processes

    def plumbing(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] = NO_VARIABLES,
        good: Collection[int] = (0,),
    ) -> bytes:
        """Run a Git command and return its standard output.

        The exit codes in `good` mean success. For any other exit code, raises UserError if the user
        must configure Git, else WorldError with Git's message.
        """
        return self._command.run(*arguments, stdin=stdin or b"", env=env, good=good)

    def _git(self, *arguments: str, stdin: str = "") -> str:
        output = self.plumbing(*arguments, stdin=stdin.encode("utf-8", "surrogateescape"))
        return output.decode("utf-8", "surrogateescape")

    # -- the repository as a whole

    @cached_property
    def object_format(self) -> str:
        """The hash algorithm of the repository: `sha1` or `sha256`."""
        return self._git("rev-parse", "--show-object-format").strip()

    @cached_property
    def is_shallow(self) -> bool:
        """Whether this is a shallow clone. Its missing commits cannot be counted."""
        return self._git("rev-parse", "--is-shallow-repository").strip() == "true"

    @cached_property
    def common_dir(self) -> Path:
        """The `.git` folder that all worktrees share."""
        try:
            path = (self._git_dir / "commondir").read_text(encoding="utf-8").rstrip("\r\n")
        except FileNotFoundError:
            return self._git_dir
        return (self._git_dir / path).resolve()

    def head(self, dependencies: Sequence[str] = ()) -> Commit:
        """Return the commit at HEAD.

        The commit is marked as dirty if a tracked file is changed or a dependency is untracked.
        """
        output = self._git(
            "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z",
            "--untracked-files=no", "--no-renames", "--", ".",
        )  # fmt: skip
        lines = output.split("\0")
        headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
        changed = any(line and not line.startswith("# ") for line in lines)
        branch = headers["branch.head"]
        branch = "" if branch == "(detached)" else branch
        identity = headers["branch.oid"]
        if identity == "(initial)":
            return Commit(UNBORN, branch=branch, dirty=True, object_format=self.object_format)
        staged = [f":{self.in_repository(path)}" for path in dependencies]
        commit, *tracked = self.contents([identity, *staged])
        assert commit is not None  # `git status` printed its id
        tree, time, author = parse_commit(commit.content)
        present = [(self.root / path).is_file() for path in dependencies]
        untracked = any(p and t is None for p, t in zip(present, tracked, strict=True))
        kind = "sha1" if len(identity) == 40 else "sha256"
        return Commit(identity, tree, branch, time, author, changed or untracked, kind)

    def commit(self, identity: str) -> Commit:
        """Return the commit with this full id. Raises WorldError if the clone lacks the commit."""
        tree, time, author = parse_commit(self.plumbing("cat-file", "commit", identity))
        kind = "sha1" if len(identity) == 40 else "sha256"
        return Commit(identity, tree, "", time, author, object_format=kind)

    # -- objects

    def objects(self, names: Sequence[str]) -> list[tuple[str, str] | None]:
        """Return (id, type) of each named object, or None if it does not exist. Runs one process.

        A name is any revision that `git rev-parse` accepts. Symbolic links in `revision:path` are
        followed. The result is always None for reflogs, upstreams (`@{u}`) and paths outside the
        repository. Git is not asked for these, because it stops at the first one that is missing.
        """
        mode = "--batch-check=%(objectname) %(objecttype)"
        objects = self._batch(mode, names, contents=False)
        return [(item.id, item.type) if item else None for item in objects]

    def contents(self, names: Sequence[str]) -> list[GitObject | None]:
        """Return each object with its content. Names have the same form as in `objects`.

        If a name occurs several times, its object is read several times.
        """
        return self._batch("--batch", names, contents=True)

    def _batch(self, mode: str, names: Sequence[str], *, contents: bool) -> list[GitObject | None]:
        supported = [name for name in names if not _UNSUPPORTED.search(name)]
        if not supported:
            return [None] * len(names)
        lines = "".join(f"{name}\n" for name in supported).encode("utf-8", "surrogateescape")
        output = self.plumbing("cat-file", mode, "--follow-symlinks", "--buffer", stdin=lines)
        objects = iter(parse_batch(output, contents=contents))
        return [None if _UNSUPPORTED.search(name) else next(objects) for name in names]

    def read_blob(self, blob: str) -> bytes:
        """Return the content of the blob with this id."""
        return self.plumbing("cat-file", "blob", blob)

    def hash_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the blob ids of files in the working tree, by path.

        Git's line-end conversion and filters are applied. Paths that are not files are left out.
        """
        files = [path for path in paths if "\n" not in path and (self.root / path).is_file()]
        # The rules in `.gitattributes` apply to paths relative to the repository. Git unquotes an
        # input line that starts with a quotation mark, so such paths are quoted first.
        names = [self.in_repository(path) for path in files]
        lines = [_quoted(name) if name.startswith('"') else name for name in names]
        if not lines:
            return {}
        output = self._git("hash-object", "--stdin-paths", stdin="".join(f"{n}\n" for n in lines))
        return dict(zip(files, output.split(), strict=True))

    def blobs_at(self, revision: str, paths: Sequence[str]) -> dict[str, str]:
        """Return the blob ids of those `paths` that are files at `revision`."""
        names = [f"{revision}:{self.in_repository(path)}" for path in paths]
        objects = zip(paths, self.objects(names), strict=True)
        return {path: item[0] for path, item in objects if item and item[1] == "blob"}

    def folders(self, trees: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the blob ids of the files in each tree: tree id -> file name -> blob id.

        Subfolders and symbolic links are left out. Runs one process.
        """
        ids = list(dict.fromkeys(trees))
        blobs: dict[str, dict[str, str]] = {}
        for tree, item in zip(ids, self.contents(ids), strict=True):
            entries = parse_tree(item.content, len(tree) // 2) if item else {}
            blobs[tree] = {n: e.blob for n, e in entries.items() if e.mode not in (LINK, FOLDER)}
        return blobs

    def tree_files(self, revision: str) -> dict[str, str]:
        """Return the blob ids of the project's files at a revision, by the path in the project."""
        inside = [] if self._prefix == "." else [self.pathspec(".")]
        output = self._git(
            "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", revision, *inside
        )
        entries = parse_listing(output)
        return {self.in_project(path): entry.blob for path, entry in entries.items()}

    def tree_entries(self, revision: str | None, paths: Sequence[str]) -> dict[str, TreeEntry]:
        """Return the mode and blob id of those `paths` that are files at `revision`.

        If `revision` is None, the files are those of the working tree, including untracked files.
        For a symbolic link, the mode is that of the link, but the blob is that of its target,
        because a program that reads the path gets the target's content.
        """
        return self._working(paths) if revision is None else self._committed(revision, paths)

    def _committed(self, revision: str, paths: Sequence[str]) -> dict[str, TreeEntry]:
        path_of = {self.in_repository(path): path for path in paths}
        specs = [self.pathspec(path) for path in paths] if len(path_of) <= MAX_PATHSPECS else []
        output = self._git(
            "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", revision, *specs
        )
        listed = parse_listing(output)
        entries = {path: listed[name] for name, path in path_of.items() if name in listed}
        links = [path for path, entry in entries.items() if entry.mode == LINK]
        targets = self.blobs_at(revision, links)
        return entries | {path: TreeEntry(LINK, blob) for path, blob in targets.items()}

    def _working(self, paths: Sequence[str]) -> dict[str, TreeEntry]:
        path_of = {self.in_repository(path): path for path in paths}
        specs = (
            [self.pathspec(path) for path in paths] if len(paths) <= MAX_PATHSPECS else [":(top)"]
        )
        if not paths:
            return {}
        output = self._git(
            "ls-files", "-z", "-t", "--full-name", "--stage", "--cached", "--modified",
            "--deleted", "--others", "--", *specs,
        )  # fmt: skip
        entries: dict[str, TreeEntry] = {}
        changed: dict[str, str] = {}  # path that differs from the index -> its mode in the index
        for line in filter(None, output.split("\0")):
            status, rest = line[0], line[2:]
            fields, tab, name = rest.partition("\t")
            if (path := path_of.get(name if tab and status != "?" else rest)) is None:
                continue
            mode = fields.split(" ")[0] if tab and status != "?" else ""
            if status in "HS" and mode != LINK:
                entries[path] = TreeEntry(mode, fields.split(" ")[1])
            else:
                changed[path] = mode
        hashed = self.hash_files(list(changed))
        entries = {path: entry for path, entry in entries.items() if path not in changed}
        return entries | {
            path: TreeEntry(self._mode(path, changed[path]), blob) for path, blob in hashed.items()
        }

    def _mode(self, path: str, indexed: str) -> str:
        """Return the mode that `git add` would record.

        `indexed` is the file's mode in the index. If the disk does not support modes, Git keeps
        this mode.
        """
        status = (self.root / path).lstat()
        if stat.S_ISLNK(status.st_mode):
            return LINK
        if not self._disk_has_modes and indexed in ("100644", "100755"):
            return indexed
        return "100755" if status.st_mode & stat.S_IXUSR else "100644"

    @cached_property
    def _disk_has_modes(self) -> bool:
        return self._git("config", "--type=bool", "--default=true", "core.fileMode").strip() != (
            "false"
        )

    # -- tags and files

    def tags(self) -> list[Tag]:
        """Return all tags that refer to commits, newest version first.

        `v1.0-rc1` is older than `v1.0`.
        """
        output = self._git(
            "-c", "versionsort.suffix=-", "for-each-ref", "--sort=-v:refname",
            "--format=%(refname:strip=2)%00%(objecttype) %(objectname)"
            "%00%(*objecttype) %(*objectname)",
            "refs/tags",
        )  # fmt: skip
        lines = [line.split("\0") for line in output.splitlines()]
        # If a tag refers to a tag, old versions of Git return the inner tag instead of the commit.
        nested = [peeled for _, _, peeled in lines if peeled.startswith("tag ")]
        commits = self.objects([f"{peeled[4:]}^{{commit}}" for peeled in nested])
        commit_of = {peeled: item for peeled, item in zip(nested, commits, strict=True) if item}
        tags = []
        for name, direct, peeled in lines:
            commit = commit_of.get(peeled)
            kind, _, identity = (peeled if peeled.strip() else direct).partition(" ")
            if commit is not None or kind == "commit":
                tags.append(Tag(name, commit[0] if commit is not None else identity))
        return tags

    def create_tag(self, name: str, message: str) -> None:
        """Create an annotated tag at HEAD.

        Raises UserError if the name is invalid, or if the tag exists.
        """
        if self.objects([f"refs/tags/{name}"])[0] is not None:
            raise UserError(f"tag {name} already exists")
        try:
            self._git("check-ref-format", f"refs/tags/{name}")
        except WorldError as error:
            raise UserError(f"{name!r} is not a valid name for a Git tag") from error
        self._git("tag", "-a", "-m", message, "--end-of-options", name, "HEAD")

    def push_tag(self, name: str, remote: str = "origin") -> None:
        """Push one tag. Raises WorldError with Git's message if the remote refuses it."""
        self._git("push", "--end-of-options", remote, f"refs/tags/{name}")

    def list_files(self, folder: str) -> Iterable[str]:
        """Return the existing files under a folder that are tracked or not ignored by Git."""
        output = self._git(
            "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
            f":(literal){folder}",
        )  # fmt: skip
        return [name for name in output.split("\0") if name and os.path.lexists(self.root / name)]


def _own_index(path: str | None, worktree: Path, git_dir: Path) -> dict[str, str]:
    """Return a map that sets GIT_INDEX_FILE to the absolute path of the index file `path`.

    The map is empty if `path` is empty or belongs to another repository.
    """
    if not path:
        return {}
    index = worktree / path
    folder = index.parent
    if not folder.is_dir() or ((folder / "HEAD").exists() and folder.resolve() != git_dir):
        return {}
    return {"GIT_INDEX_FILE": str(index)}


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
