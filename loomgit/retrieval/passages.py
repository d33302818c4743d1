"""Documents cut into passages: sections and paragraphs, as many together as are read at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.domain.passages import Passage

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 1000  # characters of a passage
_MARKDOWN = (".md", ".markdown", ".mdx")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n")  # noqa: RUF001 - full stops of other scripts


def cut(document: str, text: str) -> list[Passage]:
    """The passages of a document, none longer than 1,000 characters, in its order.

    A section of Markdown begins a passage of its own, and where it takes several its heading stands
    before each, so that all of them are found by it.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    markdown = document.lower().endswith(_MARKDOWN)
    found: list[str] = []
    for heading, body in _sections(lines) if markdown else [("", lines)]:
        found.extend(_pack(heading[: LONGEST // 4], list(_paragraphs(body))))
    return [Passage(document, number, piece) for number, piece in enumerate(found, 1)]


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(heading, lines) of each section; what looks like a heading in a code fence is none."""
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
    """Paragraphs joined while they fit, the heading before each passage."""
    head = f"{heading}\n\n" if heading else ""
    room = LONGEST - len(head)
    if heading and not paragraphs:
        yield heading
    held = ""
    for paragraph in paragraphs:
        for piece in _pieces(paragraph, room):
            if held and len(held) + 2 + len(piece) > room:
                yield head + held
                held = ""
            held = f"{held}\n\n{piece}" if held else piece
    if held:
        yield head + held


def _pieces(paragraph: str, room: int) -> Iterator[str]:
    """A paragraph cut at the ends of sentences, else between words, else anywhere."""
    rest = paragraph.strip()
    while len(rest) > room:
        ends = [found.start() for found in _SENTENCE.finditer(rest, 0, room)]
        at = ends[-1] if ends and ends[-1] > room // 4 else rest.rfind(" ", room // 4, room)
        at = at if at > 0 else room
        if piece := rest[:at].strip():
            yield piece
        rest = rest[at:].strip()
    if rest:
        yield rest
