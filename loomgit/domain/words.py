"""The nearest valid word to a misspelt one, for `did you mean`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LISTED = 10
LIKENESS = 0.6  # of difflib's ratio: one slip in a word of three letters still counts


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Find the option that `word` most likely means, None where none is near.

    Case does not count, nor does which of `-`, `_` and space joins the words.
    """
    folded = {_fold(option): option for option in options}
    found = difflib.get_close_matches(_fold(word[:100]), folded, n=1, cutoff=LIKENESS)
    return folded[found[0]] if found else None


def did_you_mean(word: str, options: Iterable[str]) -> str | None:
    """The hint for a misspelt word, None where no option is near."""
    found = nearest(word, options)
    return f"did you mean '{found}'?" if found else None


def one_of(word: str, options: Iterable[str], noun: str) -> str | None:
    """The nearest option where there is one, else all of them (ten at most) as `noun: a, b`."""
    names = list(options)
    if not names:
        return None
    more = ", ..." if len(names) > LISTED else ""
    return did_you_mean(word, names) or f"{noun}: {', '.join(names[:LISTED])}{more}"


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
