"""The word a user probably meant: the hint of every "no such ..." in this room."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the choice nearest to `word`, None where none is near."""
    by_folded = {choice.casefold(): choice for choice in choices}
    near = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return f"did you mean '{by_folded[near[0]]}'?" if near else None


def one_of(word: str, choices: Iterable[str], noun: str) -> str | None:
    """The nearest choice where there is one, else all of them (ten at most) as `noun: a, b`."""
    names = list(choices)
    if hint := did_you_mean(word, names):
        return hint
    if not names:
        return None
    return f"{noun}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
