"""Globs over a project's paths: `*` and `?` stay within a folder, `**` goes through all of them."""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache

_WILD = re.compile(r"[*?\[]")
_SHOWN = r"(?!\.)"  # what begins with a dot is meant only by who writes the dot


def folder_of(glob: str) -> str:
    """The folder that all matches are in, as far as the glob says; `.` for the project's own."""
    fixed = []
    for part in glob.split("/")[:-1]:
        if _WILD.search(part):
            break
        fixed.append(part)
    return "/".join(fixed) or "."


def matches(glob: str, path: str) -> bool:
    """Whether the glob means the whole of a path with forward slashes; quick whatever it says."""
    parts = _parts(glob)
    reached = _through({0}, parts)
    for name in path.split("/"):
        step: set[int] = set()
        for at in reached - {len(parts)}:
            part = parts[at]
            if part is None:
                step |= set() if name.startswith(".") else {at}
            elif part.fullmatch(name):
                step.add(at + 1)
        reached = _through(step, parts)
    return len(parts) in reached


def _through(reached: set[int], parts: tuple[re.Pattern[str] | None, ...]) -> set[int]:
    """Where one stands also, since `**` (None) may mean no folder at all."""
    found = set(reached)
    for at, part in enumerate(parts):
        if part is None and at in found:
            found.add(at + 1)
    return found


@lru_cache(maxsize=256)
def _parts(glob: str) -> tuple[re.Pattern[str] | None, ...]:
    parts = [part for part in glob.split("/") if part not in ("", ".")]
    if parts[-1:] == ["**"]:
        parts.append("*")
    return tuple(None if part == "**" else _pattern(part) for part in parts)


def _pattern(part: str) -> re.Pattern[str]:
    hidden = _SHOWN if _WILD.match(part) else ""
    return re.compile(hidden + fnmatch.translate(part))
