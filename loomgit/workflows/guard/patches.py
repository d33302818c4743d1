"""Reads the diff of a change from Git, to show the changed prompts and the changed lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomgit.wiring.project import Wiring
    from loomgit.workflows.guard.guard import GuardedChange

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)", re.MULTILINE)


def _diff_arguments(change: GuardedChange) -> list[str]:
    """Return the arguments of `git diff` that compare the base and the head of a change."""
    assert change.base is not None
    if change.head == "":
        return ["--cached", change.base]
    return [change.base] if change.head is None else [change.base, change.head]


def prompt_patch(wiring: Wiring, change: GuardedChange) -> str:
    """Return the changes to prompts and context files as a patch, or "" if there is no base."""
    if change.base is None:
        return ""
    paths = [wiring.repository.pathspec(folder) for folder in ("prompts", "context")]
    return _patch(wiring, *_diff_arguments(change), "--", *paths)


def first_changed_line(wiring: Wiring, change: GuardedChange, path: str) -> int:
    """Return the number of the first changed line of the file `path` at the head.

    The number is 1 if the file is deleted or unchanged.
    """
    patch = _patch(wiring, "-U0", *_diff_arguments(change), "--", wiring.repository.pathspec(path))
    match = _HUNK.search(patch)
    return max(1, int(match[1])) if match else 1


def _patch(wiring: Wiring, *arguments: str) -> str:
    plain = ("--no-color", "--no-ext-diff", "--no-textconv")
    return wiring.repository.plumbing("diff", *plain, *arguments).decode("utf-8", "replace")
