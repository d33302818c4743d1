"""Cuts documents into passages.

A passage consists of paragraphs of one section, up to a maximum length.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.domain.passages import Passage

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHARACTERS = 1000  # maximum length of a passage
_MARKDOWN = (".md", ".markdown", ".mdx")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n")  # noqa: RUF001 - full stops of other scripts


def cut(document: str, text: str) -> list[Passage]:
    """Return the passages of a document in order, each with at most 1,000 characters.

    Each Markdown section starts a new passage. If a section needs several passages, each of these
    passages starts with the section's heading, so that a search for the heading finds all of them.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    markdown = document.lower().endswith(_MARKDOWN)
    pieces: list[str] = []
    for heading, body in _sections(lines) if markdown else [("", lines)]:
        pieces.extend(_pack(heading[: MAX_CHARACTERS // 4], list(_paragraphs(body))))
    return [Passage(document, number, piece) for number, piece in enumerate(pieces, 1)]


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (heading, lines) for each section of a Markdown document.

    The heading is "" for the lines before the first heading. A line in a code block is not a
    heading.
    """
    heading, body, fence = "", list[str](), ""
    for line in lines:
        mark = _FENCE.match(line)
        if mark is not None and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        if not fence and mark is None and _HEADING.match(line):
            yield heading, body
            heading, body = line.strip(), []
        else:
            body.append(line)
    yield heading, body


def _paragraphs(lines: list[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in (*lines, ""):
        if line.strip():
            paragraph.append(line.rstrip())
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []


def _pack(heading: str, paragraphs: list[str]) -> Iterator[str]:
    """Yield the passages of a section.

    Each passage starts with the heading, if there is one. Paragraphs are added until the passage
    would be longer than MAX_CHARACTERS. A paragraph that is too long for one passage is split.
    """
    head = f"{heading}\n\n" if heading else ""
    room = MAX_CHARACTERS - len(head)
    if heading and not paragraphs:
        yield heading
    joined = ""
    for paragraph in paragraphs:
        for piece in _pieces(paragraph, room):
            if joined and len(joined) + 2 + len(piece) > room:
                yield head + joined
                joined = ""
            joined = f"{joined}\n\n{piece}" if joined else piece
    if joined:
        yield head + joined


def _pieces(paragraph: str, room: int) -> Iterator[str]:
    """Split a paragraph into pieces of at most `room` characters.

    If possible, a piece ends at the end of a sentence. Otherwise, it ends between two words or, if
    this is also impossible, within a word.
    """
    rest = paragraph.strip()
    while len(rest) > room:
        ends = [match.start() for match in _SENTENCE.finditer(rest, 0, room)]
        end = ends[-1] if ends and ends[-1] > room // 4 else rest.rfind(" ", room // 4, room)
        end = end if end > 0 else room
        if piece := rest[:end].strip():
            yield piece
        rest = rest[end:].strip()
    if rest:
        yield rest
