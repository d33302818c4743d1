"""Splits text into sentences by punctuation and line breaks, without a model of the language."""
# ruff: noqa: RUF001, RUF002 - marks that resemble ASCII characters

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Marks that end a sentence if white space follows: Latin, Arabic, Urdu and Devanagari. Closing
# quotes and brackets belong to the sentence. The lookbehind and the possessive quantifiers keep the
# search linear in a long run of marks.
_MARKS = ".!?…؟۔।"
_SPACED_END = rf"(?<![{_MARKS}])(?P<marks>[{_MARKS}]++)[\"'”’»)\]}}]*+(?=\s)"
_FULL_WIDTH_END = "[。！？｡]++[」』”’）】]*+"  # the full-width marks of Chinese and Japanese
_END = re.compile(f"{_SPACED_END}|{_FULL_WIDTH_END}")
_NEXT_LETTER = re.compile("\\s*+[\"'“‘«(\\[¿¡]*+(?P<letter>.?)")
_LIST_MARK = re.compile(r"(?:[-*+•·–]|\(?\w{1,3}[.)])\s")
# Abbreviations that often stand before a capital letter, in several languages.
_ABBREVIATION = re.compile(
    "al|art|bzw|ca|capt|cf|col|dept|dr|dra|ed|eds|fig|figs|gen|gov|hr|hrsg|inc|jr|lt|ltd|m|mag|"
    "mio|mlle|mme|mr|mrd|mrs|ms|mt|nr|no|nos|op|pp|prof|rev|sen|sgt|sr|sra|st|str|vgl|vol|vs",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION = 12  # characters before a period; also of the number of a list item
_NARROWEST_WRAP = 50  # characters; shorter lines are not the result of wrapping


def split_sentences(text: str) -> list[str]:
    """Return the sentences of the text in order. White space in a sentence becomes one space.

    A sentence ends after `.`, `!`, `?`, `…` or a similar mark if white space follows, after the
    full-width marks `。！？｡`, and at a line break. These are not ends:

    - a mark before a word in lower case
    - a period after a common abbreviation, a single letter, or the number of a list item
    - a line break that wraps a line: the first word of the next line did not fit into the width of
      the paragraph
    """
    sentences = []
    for block in _blocks(text):
        start = 0
        for end in _END.finditer(block):
            if _is_end(block, start, end):
                sentences.append(block[start : end.end()].strip())
                start = end.end()
        sentences.append(block[start:].strip())
    return [sentence for sentence in sentences if any(map(str.isalnum, sentence))]


def _blocks(text: str) -> Iterator[str]:
    """Yield the parts of the text between line breaks that end a sentence, each in one line."""
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        words = " ".join(line.split())
        if words:
            paragraph.append(words)
        elif paragraph:
            yield from _unwrap(paragraph)
            paragraph = []


def _unwrap(lines: Sequence[str]) -> Iterator[str]:
    """Join the lines of a paragraph that were wrapped at its width, which is the longest line."""
    width = max(map(len, lines))
    block = [lines[0]]
    for line, following in pairwise(lines):
        is_full = len(line) + 1 + len(following.partition(" ")[0]) > width
        if width >= _NARROWEST_WRAP and is_full and not _LIST_MARK.match(following):
            block.append(following)
        else:
            yield " ".join(block)
            block = [following]
    yield " ".join(block)


def _is_end(block: str, start: int, end: re.Match[str]) -> bool:
    """Whether the sentence that begins at `start` ends at the marks that `end` has found."""
    marks = end["marks"]
    if marks is None:  # full-width marks
        return True
    following = _NEXT_LETTER.match(block, end.end())
    if following is not None and following["letter"].islower():
        return False
    if marks != ".":
        return True
    before = block[max(start, end.start() - _LONGEST_ABBREVIATION) : end.start()]
    if end.start() - start <= _LONGEST_ABBREVIATION and not any(map(str.isalpha, before)):
        return False
    word = before.rpartition(" ")[2].lstrip("\"'“‘«([")
    is_initials = all(len(part) == 1 and part.isalpha() for part in word.split("."))
    return not is_initials and not _ABBREVIATION.fullmatch(word)
