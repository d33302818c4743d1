"""Separate the metadata of a prompt from its text."""

from __future__ import annotations

import re

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def split_front_matter(text: str) -> tuple[str, int, str]:
    """Return the metadata (YAML), the number of lines of the front matter, and the body.

    The number includes the `---` lines. If the text has no front matter, the YAML is "" and the
    number is 0.
    """
    match = _FRONT.match(text)
    if match is None:
        return "", 0, text
    return match[1], match[0].count("\n"), text[match.end() :]
