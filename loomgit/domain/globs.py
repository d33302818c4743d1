"""Globs for the paths of a project.

`*` and `?` do not match `/`. `**` matches any number of folders.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache

_WILD = re.compile(r"[*?\[]")
_NOT_HIDDEN = r"(?!\.)"  # a leading wildcard does not match a name that begins with a dot


def folder_of(glob: str) -> str:
    """Return the deepest folder that contains all possible matches of a glob.

    The result is `.` for the folder of the project.
    """
    fixed = []
    for part in glob.split("/")[:-1]:
        if _WILD.search(part):
            break
        fixed.append(part)
    return "/".join(fixed) or "."


def matches(glob: str, path: str) -> bool:
    """Return whether the glob matches a whole path with forward slashes.

    The running time does not grow exponentially with the number of `**` wildcards.
    """
    parts = _parts(glob)
    states = _skip_double_stars({0}, parts)
    for name in path.split("/"):
        following: set[int] = set()
        for state in states - {len(parts)}:
            part = parts[state]
            if part is None:
                following |= set() if name.startswith(".") else {state}
            elif part.fullmatch(name):
                following.add(state + 1)
        states = _skip_double_stars(following, parts)
    return len(parts) in states


def _skip_double_stars(states: set[int], parts: tuple[re.Pattern[str] | None, ...]) -> set[int]:
    """Return `states`, and the states that are reached from them if a `**` matches no folder.

    A state is an index in `parts`: the index of the part to match next. In `parts`, `**` is None.
    """
    reachable = set(states)
    for index, part in enumerate(parts):
        if part is None and index in reachable:
            reachable.add(index + 1)
    return reachable


@lru_cache(maxsize=256)
def _parts(glob: str) -> tuple[re.Pattern[str] | None, ...]:
    parts = [part for part in glob.split("/") if part not in ("", ".")]
    if parts[-1:] == ["**"]:
        parts.append("*")
    return tuple(None if part == "**" else _pattern(part) for part in parts)


def _pattern(part: str) -> re.Pattern[str]:
    prefix = _NOT_HIDDEN if _WILD.match(part) else ""
    return re.compile(prefix + fnmatch.translate(part))
