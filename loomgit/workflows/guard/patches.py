"""Reads the diff of a change from Git, to show the changed prompts and the changed lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomgit.wiring.project import Wiring
    from loomgit.workflows.guard.guard import GuardedChange

# A line of `PipelinePair.inputs` about a file. Lines about settings have the same form, but other
# values: `models.openai/gpt-4o.timeout: 30 -> 60`.
_CHANGED_FILE = re.compile(
    r"(.+): (?:added|removed|mode \d{6} -> \d{6}|[0-9a-f]{8} -> [0-9a-f]{8})"
)
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


def changed_paths(inputs: tuple[str, ...]) -> list[str]:
    """Return the file paths in the lines of `PipelinePair.inputs`, prompts first."""
    matches = [match for line in inputs if (match := _CHANGED_FILE.fullmatch(line))]
    return sorted((match[1] for match in matches), key=lambda path: not path.startswith("prompts/"))
