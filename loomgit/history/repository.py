"""The Git repository around a project: the only place that talks to Git.

GitPython finds and opens the repository; questions about objects go through plumbing (`cat-file`,
`hash-object`), one process for many questions, because walking objects in Python is tens of times
slower.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import git
from git.exc import GitCommandNotFound, InvalidGitRepositoryError, NoSuchPathError

from loomgit.domain.versions import Commit
from loomgit.errors import UserError, WorldError
from loomgit.history.command import NOTHING, GitCommand
from loomgit.history.objects import (
    FOLDER,
    LINK,
    Entry,
    Found,
    parse_batch,
    parse_commit,
    parse_listing,
    parse_tree,
)
from loomgit.history.scopes import stem_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

UNBORN = "unborn"
MANY = 500  # paths on a command line; more are filtered here
_UNASKABLE = re.compile(r"[\n\0]|@\{|:\.\./")


class Tag(NamedTuple):
    """A tag that leads to a commit."""

    name: str
    commit: str


class Repository:
    """One repository, seen from a project's folder inside it; paths are the project's own."""

    def __init__(self, repo: git.Repo, root: Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self.worktree = Path(str(repo.working_tree_dir)).resolve()
        self._prefix = root.resolve().relative_to(self.worktree).as_posix()
        self._git_dir = Path(repo.git_dir).resolve()
        index = _own_index(environment.get("GIT_INDEX_FILE"), self.worktree, self._git_dir)
        self._command = GitCommand(root, environment, index)

    @classmethod
    def open(cls, root: Path, environment: Mapping[str, str] = os.environ) -> Repository:
        """Open the repository that holds `root`; UserError where there is none.

        The repository is the one that `root` stands in, whatever a hook's `GIT_DIR` says; of its
        `GIT_INDEX_FILE` this repository's own is heard, since `git commit -a` commits from it.
        """
        try:
            repo = git.Repo(root, search_parent_directories=True, expand_vars=False)
        except (InvalidGitRepositoryError, NoSuchPathError) as error:
            raise UserError(
                f"{root} is in no Git repository, and versions come from Git", hint="run `git init`"
            ) from error
        except GitCommandNotFound as error:
            raise WorldError("the `git` command is not to be found", hint="install Git") from error
        with repo:
            if repo.bare or repo.working_tree_dir is None:
                raise UserError(f"{root} is a bare repository: it has no files to work with")
            return cls(repo, root, environment)

    # -- paths

    def in_repository(self, path: str) -> str:
        """The project's path as the repository's: with the subfolder of a monorepo before it."""
        return posixpath.normpath(posixpath.join(self._prefix, path))

    def in_project(self, path: str) -> str:
        """The repository's path as the project's; `../` leads out of a subfolder."""
        return posixpath.relpath(path, self._prefix)

    def pathspec(self, path: str) -> str:
        """The path for a command line, where it means itself whatever it is made of."""
        inside = self.in_repository(path)
        return ":(top)" if inside == "." else f":(top,literal){inside}"

    def stems(self, path: str) -> tuple[str, ...]:
        """What a file's tags begin with: its path in the repository without the ending.

        In a monorepo's subfolder second to that its path in the project, for tags made by hand.
        """
        return tuple(dict.fromkeys(stem_of(name) for name in (self.in_repository(path), path)))

    def of_stem(self, stem: str) -> str:
        """The project's path that a stem means, whichever way it is written."""
        inside = self._prefix != "." and stem.startswith(f"{self._prefix}/")
        return self.in_project(stem) if inside else stem

    # -- processes

    def plumbing(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] = NOTHING,
        good: Collection[int] = (0,),
    ) -> bytes:
        """What a plumbing command prints; WorldError with Git's own words where it fails.

        `good` are the exit codes that are no failure.
        """
        return self._command.run(*arguments, stdin=stdin or b"", env=env, good=good)

    def _git(self, *arguments: str, stdin: str = "") -> str:
        said = self.plumbing(*arguments, stdin=stdin.encode("utf-8", "surrogateescape"))
        return said.decode("utf-8", "surrogateescape")

    # -- the repository as a whole

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
        try:
            said = (self._git_dir / "commondir").read_text(encoding="utf-8").rstrip("\r\n")
        except FileNotFoundError:
            return self._git_dir
        return (self._git_dir / said).resolve()

    def head(self, dependencies: Sequence[str] = ()) -> Commit:
        """Where HEAD stands; dirty when a tracked file is changed or a dependency is untracked."""
        said = self._git(
            "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z",
            "--untracked-files=no", "--no-renames", "--", ".",
        )  # fmt: skip
        lines = said.split("\0")
        about = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
        changed = any(line and not line.startswith("# ") for line in lines)
        branch = about["branch.head"]
        branch = "" if branch == "(detached)" else branch
        identity = about["branch.oid"]
        if identity == "(initial)":
            return Commit(UNBORN, branch=branch, dirty=True, object_format=self.object_format)
        staged = [f":{self.in_repository(path)}" for path in dependencies]
        commit, *found = self.contents([identity, *staged])
        assert commit is not None  # status named it
        tree, time, author = parse_commit(commit.content)
        present = [(self.root / path).is_file() for path in dependencies]
        loose = any(p and f is None for p, f in zip(present, found, strict=True))
        kind = "sha1" if len(identity) == 40 else "sha256"
        return Commit(identity, tree, branch, time, author, changed or loose, kind)

    def commit(self, identity: str) -> Commit:
        """A commit by its whole id. WorldError where it is not here."""
        tree, time, author = parse_commit(self.plumbing("cat-file", "commit", identity))
        kind = "sha1" if len(identity) == 40 else "sha256"
        return Commit(identity, tree, "", time, author, object_format=kind)

    # -- objects

    def objects(self, names: Sequence[str]) -> list[tuple[str, str] | None]:
        """(id, type) of each object name, None where there is none: one process for all.

        A name is whatever `git rev-parse` takes, but for reflogs and upstreams (`@{u}`): they
        differ between clones, and Git gives up on a batch that asks for one that is not there, as
        for a path outside the repository.
        Of `revision:path` symbolic links are followed, as opening the file would.
        """
        how = "--batch-check=%(objectname) %(objecttype)"
        found = self._batch(how, names, contents=False)
        return [(item.id, item.type) if item else None for item in found]

    def contents(self, names: Sequence[str]) -> list[Found | None]:
        """As `objects`, with the content of each; what is asked for twice is read twice."""
        return self._batch("--batch", names, contents=True)

    def _batch(self, how: str, names: Sequence[str], *, contents: bool) -> list[Found | None]:
        asked = [name for name in names if not _UNASKABLE.search(name)]
        if not asked:
            return [None] * len(names)
        lines = "".join(f"{name}\n" for name in asked).encode("utf-8", "surrogateescape")
        output = self.plumbing("cat-file", how, "--follow-symlinks", "--buffer", stdin=lines)
        found = iter(parse_batch(output, contents=contents))
        return [None if _UNASKABLE.search(name) else next(found) for name in names]

    def read_blob(self, blob: str) -> bytes:
        """The content of a blob by its id."""
        return self.plumbing("cat-file", "blob", blob)

    def hash_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Blob ids of files in the working tree as Git would store them (line endings, filters)."""
        plain = [path for path in paths if "\n" not in path and (self.root / path).is_file()]
        # Paths as .gitattributes knows them; Git reads a line that opens with a quote as quoted.
        names = [self.in_repository(path) for path in plain]
        lines = [_quoted(name) if name.startswith('"') else name for name in names]
        if not lines:
            return {}
        said = self._git("hash-object", "--stdin-paths", stdin="".join(f"{n}\n" for n in lines))
        return dict(zip(plain, said.split(), strict=True))

    def blobs_at(self, revision: str, paths: Sequence[str]) -> dict[str, str]:
        """Blob ids of those of `paths` that `revision` has."""
        names = [f"{revision}:{self.in_repository(path)}" for path in paths]
        found = zip(paths, self.objects(names), strict=True)
        return {path: item[0] for path, item in found if item and item[1] == "blob"}

    def folders(self, trees: Iterable[str]) -> dict[str, dict[str, str]]:
        """The blobs of each tree by file name, folders and links left out: one process for all."""
        asked = list(dict.fromkeys(trees))
        found: dict[str, dict[str, str]] = {}
        for tree, item in zip(asked, self.contents(asked), strict=True):
            entries = parse_tree(item.content, len(tree) // 2) if item else {}
            found[tree] = {n: e.blob for n, e in entries.items() if e.mode not in (LINK, FOLDER)}
        return found

    def tree_files(self, revision: str) -> dict[str, str]:
        """Blob ids of all files of the project at a revision, by the project's path."""
        inside = [] if self._prefix == "." else [self.pathspec(".")]
        said = self._git(
            "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", revision, *inside
        )
        entries = parse_listing(said)
        return {self.in_project(path): entry.blob for path, entry in entries.items()}

    def tree_entries(self, revision: str | None, paths: Sequence[str]) -> dict[str, Entry]:
        """Mode and blob id of those of `paths` that are files at `revision`.

        None: in the working tree, untracked files too. A symbolic link has its own mode and the
        blob that it leads to, since that is what a reader of the path gets.
        """
        return self._working(paths) if revision is None else self._committed(revision, paths)

    def _committed(self, revision: str, paths: Sequence[str]) -> dict[str, Entry]:
        asked = {self.in_repository(path): path for path in paths}
        few = [self.pathspec(path) for path in paths] if len(asked) <= MANY else []
        said = self._git("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", revision, *few)
        listed = parse_listing(said)
        found = {path: listed[name] for name, path in asked.items() if name in listed}
        links = [path for path, entry in found.items() if entry.mode == LINK]
        led = self.blobs_at(revision, links)
        return found | {path: Entry(LINK, blob) for path, blob in led.items()}

    def _working(self, paths: Sequence[str]) -> dict[str, Entry]:
        asked = {self.in_repository(path): path for path in paths}
        few = [self.pathspec(path) for path in paths] if len(paths) <= MANY else [":(top)"]
        if not paths:
            return {}
        said = self._git(
            "ls-files", "-z", "-t", "--full-name", "--stage", "--cached", "--modified",
            "--deleted", "--others", "--", *few,
        )  # fmt: skip
        found: dict[str, Entry] = {}
        loose: dict[str, str] = {}  # what the index does not hold as it is, with its mode there
        for line in filter(None, said.split("\0")):
            mark, rest = line[0], line[2:]
            about, tab, name = rest.partition("\t")
            if (path := asked.get(name if tab and mark != "?" else rest)) is None:
                continue
            mode = about.split(" ")[0] if tab and mark != "?" else ""
            if mark in "HS" and mode != LINK:
                found[path] = Entry(mode, about.split(" ")[1])
            else:
                loose[path] = mode
        hashed = self.hash_files(list(loose))
        found = {path: entry for path, entry in found.items() if path not in loose}
        return found | {
            path: Entry(self._mode(path, loose[path]), blob) for path, blob in hashed.items()
        }

    def _mode(self, path: str, indexed: str) -> str:
        """The mode that `git add` would give; where the disk knows none, the index's stays."""
        about = (self.root / path).lstat()
        if stat.S_ISLNK(about.st_mode):
            return LINK
        if not self._disk_has_modes and indexed in ("100644", "100755"):
            return indexed
        return "100755" if about.st_mode & stat.S_IXUSR else "100644"

    @cached_property
    def _disk_has_modes(self) -> bool:
        return self._git("config", "--type=bool", "--default=true", "core.fileMode").strip() != (
            "false"
        )

    # -- tags and files

    def tags(self) -> list[Tag]:
        """All tags that lead to a commit, newest version first; `v1.0-rc1` is older than `v1.0`."""
        said = self._git(
            "-c", "versionsort.suffix=-", "for-each-ref", "--sort=-v:refname",
            "--format=%(refname:strip=2)%00%(objecttype) %(objectname)"
            "%00%(*objecttype) %(*objectname)",
            "refs/tags",
        )  # fmt: skip
        lines = [line.split("\0") for line in said.splitlines()]
        # Of a tag of a tag, old versions of Git say only the inner tag.
        deep = [peeled for _, _, peeled in lines if peeled.startswith("tag ")]
        bottoms = self.objects([f"{peeled[4:]}^{{commit}}" for peeled in deep])
        bottom = {peeled: item for peeled, item in zip(deep, bottoms, strict=True) if item}
        tags = []
        for name, whole, peeled in lines:
            inner = bottom.get(peeled)
            kind, _, identity = (peeled if peeled.strip() else whole).partition(" ")
            if inner is not None or kind == "commit":
                tags.append(Tag(name, inner[0] if inner is not None else identity))
        return tags

    def create_tag(self, name: str, message: str) -> None:
        """Make an annotated tag at HEAD; UserError where the name is bad or taken."""
        if self.objects([f"refs/tags/{name}"])[0] is not None:
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
            "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
            f":(literal){folder}",
        )  # fmt: skip
        return [name for name in said.split("\0") if name and os.path.lexists(self.root / name)]


def _own_index(said: str | None, worktree: Path, git_dir: Path) -> dict[str, str]:
    """The hook's GIT_INDEX_FILE made absolute; nothing where it is another repository's."""
    if not said:
        return {}
    index = worktree / said
    folder = index.parent
    if not folder.is_dir() or ((folder / "HEAD").exists() and folder.resolve() != git_dir):
        return {}
    return {"GIT_INDEX_FILE": str(index)}


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
