"""Which folder keeps the results of a project: linked worktrees share the main one's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Worktree(Protocol):
    """What is needed of a repository to find what its worktrees share."""

    @property
    def common_dir(self) -> Path:
        """The `.git` folder of all worktrees."""
        ...

    def plumbing(self, *arguments: str) -> bytes:
        """What a Git command prints."""
        ...

    def in_repository(self, path: str) -> str:
        """A project's path as the repository's."""
        ...


def find_folder(root: Path, repository: Callable[[], Worktree]) -> Path:
    """The `.loom` whose runs a project uses: in a linked worktree, the main worktree's.

    A submodule is a project of its own, and a worktree of a bare repository keeps its own. Git is
    asked only where `.git` is a file, so that the usual case costs nothing.
    """
    own = root / ".loom"
    marks = (folder / ".git" for folder in (root, *root.parents))
    mark = next((mark for mark in marks if mark.exists()), None)
    if mark is None or mark.is_dir():
        return own
    git = repository()
    common = git.common_dir
    if Path(_said(git, "rev-parse", "--absolute-git-dir")).resolve() == common:
        return own
    if _said(git, f"--git-dir={common}", "rev-parse", "--is-bare-repository") == "true":
        return own
    if common.name == ".git":
        main = common.parent
    else:
        # A submodule's own `.git` folder says where its files are; others do not.
        place = ("config", "--default", "", "--get", "core.worktree")
        said = _said(git, f"--git-dir={common}", *place)
        if not said:
            return own
        main = (common / said).resolve()
    return main / git.in_repository(".loom") if main.is_dir() else own


def _said(git: Worktree, *arguments: str) -> str:
    return git.plumbing(*arguments).decode("utf-8", "surrogateescape").rstrip("\n")
