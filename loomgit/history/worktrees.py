"""Finds the results folder of a project.

Linked worktrees share the results folder of the main worktree.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.history.repository import Repository


def find_folder(root: Path, repository: Callable[[], Repository]) -> Path:
    """Return the `.loom` folder with a project's runs.

    In a linked worktree, this is the folder of the main worktree. A submodule and a worktree of a
    bare repository have their own folder. `repository` opens the Git repository. It is called only
    if `.git` is a file, so that no Git process runs in the usual case.
    """
    own = root / ".loom"
    candidates = (folder / ".git" for folder in (root, *root.parents))
    git_path = next((path for path in candidates if path.exists()), None)
    if git_path is None or git_path.is_dir():
        return own
    git = repository()
    common = git.common_dir
    if Path(_output(git, "rev-parse", "--absolute-git-dir")).resolve() == common:
        return own
    if _output(git, f"--git-dir={common}", "rev-parse", "--is-bare-repository") == "true":
        return own
    if common.name == ".git":
        main = common.parent
    else:
        # The Git folder of a submodule is not in the working tree of the submodule. The setting
        # core.worktree in the Git folder is the path of this working tree.
        command = ("config", "--default", "", "--get", "core.worktree")
        worktree = _output(git, f"--git-dir={common}", *command)
        if not worktree:
            return own
        main = (common / worktree).resolve()
    return main / git.in_repository(".loom") if main.is_dir() else own


def _output(git: Repository, *arguments: str) -> str:
    return git.plumbing(*arguments).decode("utf-8", "surrogateescape").rstrip("\n")
