"""Split an assertion into tokens, and find the line and column of a token in the YAML file."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from loomgit.domain.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ASSERTION_LENGTH = 2_000  # characters
KEYWORDS = ("and", "or", "not", "in", "contains", "matches", "true", "false", "null")

TokenKind = Literal["number", "text", "name", "keyword", "sign", "end"]

_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NAME = re.compile(r"[^\W\d]\w*(?:-\w+)*(?:\.\w+(?:-\w+)*)*")
_SIGN = re.compile(r"<=|>=|==|!=|[<>()\[\],]")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t"}
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_FOLD = re.compile(r"[ \t]*(?:\r\n|[\r\n\x85\u2028\u2029])[ \t\r\n\x85\u2028\u2029]*")
_ANCHOR = re.compile(r"[&!]\S+[ \t]+['\"]?")
_ESCAPED_LENGTH = {"x": 4, "u": 6, "U": 10}
# Signs that are not part of the assertion syntax, each with a hint for the user.
_FOREIGN_SYNTAX = (
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
    ("%", "write a fraction, for example 0.05 for 5%"),
    ("\u201c", "use straight quotes"),
    ("\u201d", "use straight quotes"),
    ("\u2018", "use straight quotes"),
    ("\u2019", "use straight quotes"),
    ("`", "put text in quotes: 'text'"),
    *((sign, "assertions do not support arithmetic") for sign in "+-*/^"),
)


class Token(Struct, frozen=True):
    """One token of an assertion. `offset` is the index of its first character in the assertion.

    If the token is quoted text, `text` is the value between the quotes.
    """

    kind: TokenKind
    text: str
    offset: int

    @property
    def shown(self) -> str:
        """The token as it appears in a message."""
        if self.kind == "end":
            return "the end"
        return "text" if self.kind == "text" else f"'{self.text[:40]}'"


class AssertionSyntaxError(Exception):
    """A syntax error in an assertion. `offset` is the index of the character with the error."""

    def __init__(self, offset: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message
        self.hint = hint


def tokenize(text: str) -> list[Token]:
    """Split an assertion into tokens. The last token has the kind `end`.

    Raises AssertionSyntaxError for an unknown character, an invalid number, an unclosed quote, or
    an assertion that is longer than MAX_ASSERTION_LENGTH characters.
    """
    if len(text) > MAX_ASSERTION_LENGTH:
        raise AssertionSyntaxError(
            0, f"an assertion has at most {MAX_ASSERTION_LENGTH:,} characters, found {len(text):,}"
        )
    return [*_words(text), Token("end", "", len(text.rstrip()))]


def _words(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        if space := _SPACE.match(text, position):
            position = space.end()
        elif text[position] in "'\"":
            value, end = _quoted(text, position)
            yield Token("text", value, position)
            position = end
        elif name := _NAME.match(text, position):
            yield Token("keyword" if name[0] in KEYWORDS else "name", name[0], position)
            position = name.end()
        elif number := _NUMBER.match(text, position):
            end = number.end()
            if text[end : end + 1].isalnum() or text[end : end + 1] in ("_", "."):
                tail = re.compile(r"[\w.]+").match(text, end)
                written = number[0] + (tail[0] if tail else "")
                raise AssertionSyntaxError(position, f"'{written[:40]}' is not a number")
            yield Token("number", number[0], position)
            position = end
        elif sign := _SIGN.match(text, position):
            yield Token("sign", sign[0], position)
            position = sign.end()
        else:
            raise _unexpected(text, position)


def _unexpected(text: str, offset: int) -> AssertionSyntaxError:
    for sign, hint in _FOREIGN_SYNTAX:
        if text.startswith(sign, offset):
            return AssertionSyntaxError(offset, f"unexpected '{sign}'", hint)
    return AssertionSyntaxError(offset, f"unexpected '{text[offset]}'")


def _quoted(text: str, start: int) -> tuple[str, int]:
    """Return the value of the quoted text at `start`, and the offset after the closing quote.

    A backslash escapes a quote or a backslash. Before `n` or `t`, it forms a line break or a tab.
    Before any other character, it is literal, so regular expressions need no double backslashes.
    Raises AssertionSyntaxError if the quote is not closed.
    """
    quote, position = text[start], start + 1
    value: list[str] = []
    while position < len(text):
        character = text[position]
        if character == quote:
            return "".join(value), position + 1
        if character == "\\" and text[position + 1 : position + 2] in _ESCAPES:
            value.append(_ESCAPES[text[position + 1]])
            position += 2
        else:
            value.append(character)
            position += 1
    raise AssertionSyntaxError(start, f"the quote {quote} is not closed")


class SourceLayout:
    """Finds the position in a YAML file (line and column) of each character of a scalar."""

    __slots__ = ("_source", "_starts")

    def __init__(self, source: str) -> None:
        self._source = source.removeprefix("\ufeff")
        self._starts = [0, *(line_break.end() for line_break in _BREAK.finditer(self._source))]

    def place(self, begin: Place, text: str, offset: int) -> Place:
        """Convert an offset in the text of a scalar to a position in the file.

        `begin` is the position where the scalar begins. Escapes, doubled quotes and folded lines
        are longer in the file than in `text`, and the result takes this into account. Returns
        `begin` if the file does not contain the scalar at this position.
        """
        source = self._source
        start = self._starts[min(begin.line, len(self._starts)) - 1] + begin.column - 1
        start = self._skip_anchor(start)
        if source.startswith(text, start) and not _BREAK.search(text):
            return self._place_of(begin, start + offset)
        index = start
        quote = source[start - 1 : start]
        for character in text[:offset]:
            length = _source_length(source, index, character, quote)
            if length == 0 and not character.isspace():
                return begin
            index += length
        if quote == '"':  # a line that ends in a backslash continues on the next line
            index += _continuation_length(source, index)
        return self._place_of(begin, index)

    def _place_of(self, begin: Place, index: int) -> Place:
        line = bisect_right(self._starts, index)
        return Place(begin.path, line, index - self._starts[line - 1] + 1)

    def _skip_anchor(self, start: int) -> int:
        """Return the index where the text begins after an anchor or a tag, as in `&name 'text'`.

        Returns `start` if the scalar has no anchor and no tag.
        """
        for begin in (start, start - 1):
            if anchor := _ANCHOR.match(self._source, max(begin, 0)):
                return anchor.end()
        return start


def _continuation_length(source: str, index: int) -> int:
    continuation = re.compile(r"\\(?:\r\n|[\r\n])[ \t]*").match(source, index)
    return continuation.end() - index if continuation else 0


def _source_length(source: str, index: int, character: str, quote: str) -> int:
    """Return how many characters of the YAML text, from `index` on, represent `character`.

    `character` is a character of the parsed scalar. The result is 1 for a plain character, and 2 or
    more for an escape or a continued line. It is 0 if the text has another character at `index`.
    """
    skipped = _continuation_length(source, index) if quote == '"' else 0
    index += skipped
    if quote == '"' and source[index : index + 1] == "\\":
        return skipped + _ESCAPED_LENGTH.get(source[index + 1 : index + 2], 2)
    if quote == "'" and source[index : index + 2] == "''":
        return skipped + 2
    # A fold is a line break in the file, together with the white space around it. YAML can convert
    # one fold to several white space characters of the scalar. The result for the first of these
    # characters is the length of the whole fold. The result for each other character is 0.
    fold = _FOLD.match(source, index) if character.isspace() else None
    if fold:
        return skipped + fold.end() - index
    return skipped + (1 if source[index : index + 1] == character else 0)
