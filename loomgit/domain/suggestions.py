"""Suggests the valid word that is nearest to a misspelt word, for hints like `did you mean`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LISTED = 10
MIN_SIMILARITY = 0.6  # difflib's ratio; it allows one wrong letter in a word of three letters


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that `word` most likely means, or None if no option is similar.

    Case is ignored, and `-`, `_` and space are treated as equal.
    """
    folded = {_fold(option): option for option in options}
    matches = difflib.get_close_matches(_fold(word[:100]), folded, n=1, cutoff=MIN_SIMILARITY)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, options: Iterable[str]) -> str | None:
    """Return the hint `did you mean '...'?`, or None if no option is similar to `word`."""
    option = nearest(word, options)
    return f"did you mean '{option}'?" if option else None


def suggest_or_list(word: str, options: Iterable[str], noun: str) -> str | None:
    """Return a hint with the nearest option. If no option is similar, list the options.

    The list has the form `noun: a, b`, with at most ten options. The hint is None if there are no
    options.
    """
    names = list(options)
    if not names:
        return None
    more = ", ..." if len(names) > MAX_LISTED else ""
    return did_you_mean(word, names) or f"{noun}: {', '.join(names[:MAX_LISTED])}{more}"


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
