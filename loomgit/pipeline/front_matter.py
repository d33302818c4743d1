"""Where a prompt's metadata ends and its text begins."""

from __future__ import annotations

import re

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def split_front_matter(text: str) -> tuple[str, int, str]:
    """(metadata's YAML, how many lines it takes with its marks, body); "" and 0 where none is."""
    match = _FRONT.match(text)
    if match is None:
        return "", 0, text
    return match[1], match[0].count("\n"), text[match.end() :]
