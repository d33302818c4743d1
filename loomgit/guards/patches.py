"""What a change does to files, as Git's patches show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomgit.guards.guard import Change
    from loomgit.wiring.project import Wiring

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)", re.MULTILINE)


def _ends(change: Change) -> list[str]:
    """Both sides for `git diff`; there is a base."""
    assert change.base is not None
    if change.head == "":
        return ["--cached", change.base]
    return [change.base] if change.head is None else [change.base, change.head]


def prompt_patch(wiring: Wiring, change: Change) -> str:
    """How prompts and context differ, as a patch."""
    if change.base is None:
        return ""
    paths = [wiring.repository.pathspec(folder) for folder in ("prompts", "context")]
    return _patch(wiring, *_ends(change), "--", *paths)


def first_changed_line(wiring: Wiring, change: Change, path: str) -> int:
    """Return the number of the first line that differs, or 1 for a deleted file."""
    patch = _patch(wiring, "-U0", *_ends(change), "--", wiring.repository.pathspec(path))
    match = _HUNK.search(patch)
    return max(1, int(match[1])) if match else 1


def _patch(wiring: Wiring, *arguments: str) -> str:
    plain = ("--no-color", "--no-ext-diff", "--no-textconv")
    return wiring.repository.plumbing("diff", *plain, *arguments).decode("utf-8", "replace")


def changed_paths(inputs: tuple[str, ...]) -> list[str]:
    """The paths among changed inputs, prompts first."""
    paths = [line.partition(": ")[0] for line in inputs]
    return sorted((p for p in paths if "/" in p), key=lambda path: not path.startswith("prompts/"))
