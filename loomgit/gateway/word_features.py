"""The words of a text and their features, from which the embedded model learns and decides."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Word: TypeAlias = tuple[str, int, int, float, int]

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # noqa: RUF001 - people type both apostrophes
NEGATOR = re.compile(r"no|not|never|none|nobody|nothing|nor|cannot|without|hardly|\w*n\Wt")
INTENSIFIERS = {"very", "really", "so", "extremely", "absolutely", "totally", "completely"}
SMALL = "a an and are as at be by for had has have i if in is it my of on or our that the to was we"
STOP_WORDS = frozenset(SMALL.split())
STEM = re.compile(r"(?<=\w{3})(?:e?ing|ed|edly|ment|ness|i?ly|i?er|i?est|ies|es|s|e|y)$")
PAIR_WEIGHT, PARTS_WEIGHT = 0.7, 0.6  # weights of a pair, and of all parts of a stem together
CACHED_WORDS = 8192  # the words that are analysed once; a text repeats most of its words
LONGEST_CACHED = 40  # characters; limits the memory of the caches
SENTENCE_END, CLAUSE_END, CONTRAST, NEGATION, INTENSIFIER, ONLY, PLAIN = range(7)


def parse_words(text: str) -> list[Word]:
    """Return a tuple for each word: stem, start, end, weight, and the start of the negator.

    A negator is a word such as `not`. Its start is -1 if no negator applies to the word.
    """
    words: list[Word] = []
    weight, negated, reach, since = 1.0, -1, 0, 0
    for match in WORD.finditer(text):
        start, end = match.span()
        analyse = _analyse if end - start <= LONGEST_CACHED else _analyse.__wrapped__
        kind, stem = analyse(match[0])
        if kind <= CLAUSE_END:
            negated, since = -1, since if kind else len(words)
            continue
        if kind == CONTRAST:  # halves the weight of the words before it
            negated, since = -1, max(since - 12 * (since == len(words)), len(words) - 40, 0)
            words[since:] = [(s, a, b, w * 0.5, n) for s, a, b, w, n in words[since:]]
        words.append((stem, start, end, weight, negated))
        weight, reach = 1.5 if kind == INTENSIFIER else 1.0, reach - 1
        if kind == NEGATION:
            negated, reach = (start if negated < 0 else -1), 5
        elif not reach or kind == ONLY:
            negated = -1
    return words


@lru_cache(maxsize=CACHED_WORDS)
def _analyse(word: str) -> tuple[int, str]:
    """Return the kind of a word or punctuation mark, and the stem of the word."""
    word = word.lower()
    if word in ".,;:!?()":
        return (SENTENCE_END if word in ".!?" else CLAUSE_END), ""
    kind = PLAIN
    if word in ("but", "however"):
        kind = CONTRAST
    elif word in INTENSIFIERS:
        kind = INTENSIFIER
    elif NEGATOR.fullmatch(word):
        kind = NEGATION
    elif word == "only":
        kind = ONLY
    return kind, STEM.sub("", word)


def find_features(words: Sequence[Word]) -> Iterator[tuple[str, float]]:
    """Yield each feature of the words with its weight: stems, parts of stems, and pairs of stems.

    A feature can occur more than once.
    """
    last = "a"
    for stem, _, _, weight, negated in words:
        yield from weigh_features(stem, weight, negated >= 0)
        if not (stem in STOP_WORDS and last in STOP_WORDS):
            yield f"{last} {stem}", weight * PAIR_WEIGHT
        last = stem


def weigh_features(stem: str, weight: float, negated: bool) -> Iterator[tuple[str, float]]:
    """Yield the features of one word with their weights: its stem, and the parts of its stem.

    A stop word has none.
    """
    if stem not in STOP_WORDS:
        mark = "!" if negated else ""
        yield mark + stem, weight
        for place in range(len(stem) - 3):
            yield f"{mark}#{stem[place : place + 4]}", weight * PARTS_WEIGHT / (len(stem) - 3)
