"""An assertion's text -> words, each with its place in the user's file."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loomgit.domain.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 2_000  # characters of an assertion
KEYWORDS = ("and", "or", "not", "in", "contains", "matches", "true", "false", "null")

WordKind = Literal["number", "text", "name", "keyword", "sign", "end"]

_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NAME = re.compile(r"[^\W\d]\w*(?:-\w+)*(?:\.\w+(?:-\w+)*)*")
_SIGN = re.compile(r"<=|>=|==|!=|[<>()\[\],]")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t"}
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_FOLD = re.compile(r"[ \t]*(?:\r\n|[\r\n\x85\u2028\u2029])[ \t\r\n\x85\u2028\u2029]*")
_ANCHOR = re.compile(r"[&!]\S+[ \t]+['\"]?")
_ESCAPED_LENGTH = {"x": 4, "u": 6, "U": 10}
# What people write for what the language has.
_STRANGERS = (
    ("&&", "write 'and'"),
    ("&", "write 'and'"),
    ("||", "write 'or'"),
    ("|", "write 'or'"),
    ("!", "write 'not'"),
    ("=<", "write '<='"),
    ("=>", "write '>='"),
    ("=~", "write 'matches'"),
    ("=", "write '=='"),
    ("\u2264", "write '<='"),
    ("\u2265", "write '>='"),
    ("\u2260", "write '!='"),
    ("%", "write a share, as 0.05 for 5%"),
    ("\u201c", "use straight quotes"),
    ("\u201d", "use straight quotes"),
    ("\u2018", "use straight quotes"),
    ("\u2019", "use straight quotes"),
    ("`", "put a text in quotes: 'text'"),
    *((sign, "there is no arithmetic in an assertion") for sign in "+-*/^"),
)


class Word(Struct, frozen=True):
    """One word of an assertion: its text (of a quoted text what it stands for) and its offset."""

    kind: WordKind
    text: str
    offset: int

    @property
    def shown(self) -> str:
        """The word as a message names it."""
        if self.kind == "end":
            return "the end"
        return "a text" if self.kind == "text" else f"'{self.text[:40]}'"


class Misread(Exception):
    """What is wrong at an offset of an assertion, and what to do about it."""

    def __init__(self, offset: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message
        self.hint = hint


def split(text: str) -> list[Word]:
    """The words of an assertion and its end; raises Misread where there is no word."""
    if len(text) > LONGEST:
        raise Misread(0, f"an assertion has {LONGEST:,} characters at most, found {len(text):,}")
    return [*_words(text), Word("end", "", len(text.rstrip()))]


def _words(text: str) -> Iterator[Word]:
    at = 0
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
        elif text[at] in "'\"":
            value, end = _quoted(text, at)
            yield Word("text", value, at)
            at = end
        elif name := _NAME.match(text, at):
            yield Word("keyword" if name[0] in KEYWORDS else "name", name[0], at)
            at = name.end()
        elif number := _NUMBER.match(text, at):
            end = number.end()
            if text[end : end + 1].isalnum() or text[end : end + 1] in ("_", "."):
                tail = re.compile(r"[\w.]+").match(text, end)
                found = number[0] + (tail[0] if tail else "")
                raise Misread(at, f"'{found[:40]}' is no number")
            yield Word("number", number[0], at)
            at = end
        elif sign := _SIGN.match(text, at):
            yield Word("sign", sign[0], at)
            at = sign.end()
        else:
            raise _stranger(text, at)


def _stranger(text: str, at: int) -> Misread:
    for sign, hint in _STRANGERS:
        if text.startswith(sign, at):
            return Misread(at, f"'{sign}' has no meaning here", hint)
    return Misread(at, f"'{text[at]}' has no meaning here")


def _quoted(text: str, start: int) -> tuple[str, int]:
    """The text in quotes at `start`, and where it ends.

    A backslash keeps its meaning before a quote, itself, n and t; before anything else it is a
    character, so that a regular expression can be written as it is.
    """
    quote, at = text[start], start + 1
    value: list[str] = []
    while at < len(text):
        character = text[at]
        if character == quote:
            return "".join(value), at + 1
        if character == "\\" and text[at + 1 : at + 2] in _ESCAPES:
            value.append(_ESCAPES[text[at + 1]])
            at += 2
        else:
            value.append(character)
            at += 1
    raise Misread(start, f"the quote {quote} is never closed")


class Layout:
    """A file's text, to find where the characters of its scalars stand."""

    __slots__ = ("_source", "_starts")

    def __init__(self, source: str) -> None:
        self._source = source.removeprefix("\ufeff")
        self._starts = [0, *(found.end() for found in _BREAK.finditer(self._source))]

    def place(self, begin: Place, text: str, offset: int) -> Place:
        """Where the character at `offset` of a scalar stands, whose text begins at `begin`.

        Escapes, doubled quotes and folded lines are followed; where that fails, the beginning has
        to do.
        """
        source = self._source
        start = self._starts[min(begin.line, len(self._starts)) - 1] + begin.column - 1
        start = self._behind_anchor(start)
        if source.startswith(text, start) and not _BREAK.search(text):
            return self._at(begin, start + offset)
        at = start
        quote = source[start - 1 : start]
        for character in text[:offset]:
            step = _step(source, at, character, quote)
            if step == 0 and not character.isspace():
                return begin
            at += step
        if quote == '"':  # a line that ends in a backslash goes on in the next
            at += _continuation(source, at)
        return self._at(begin, at)

    def _at(self, begin: Place, index: int) -> Place:
        line = bisect_right(self._starts, index)
        return Place(begin.path, line, index - self._starts[line - 1] + 1)

    def _behind_anchor(self, start: int) -> int:
        """Where a scalar's text begins whose place is that of its anchor (`&name 'text'`)."""
        for begin in (start, start - 1):
            if found := _ANCHOR.match(self._source, max(begin, 0)):
                return found.end()
        return start


def _continuation(source: str, at: int) -> int:
    found = re.compile(r"\\(?:\r\n|[\r\n])[ \t]*").match(source, at)
    return found.end() - at if found else 0


def _step(source: str, at: int, character: str, quote: str) -> int:
    """How much of the file stands for the next character of the text."""
    skipped = _continuation(source, at) if quote == '"' else 0
    at += skipped
    if quote == '"' and source[at : at + 1] == "\\":
        return skipped + _ESCAPED_LENGTH.get(source[at + 1 : at + 2], 2)
    if quote == "'" and source[at : at + 2] == "''":
        return skipped + 2
    # White space of the text that a fold has taken in already finds nothing left, and needs none.
    fold = _FOLD.match(source, at) if character.isspace() else None
    if fold:
        return skipped + fold.end() - at
    return skipped + (1 if source[at : at + 1] == character else 0)
