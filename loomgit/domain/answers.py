"""Finds the answer in a model's reply: the one complete JSON object after the thinking.

Transforms and judges use the same parser. The parser refuses an object that never ends, an object
that is not valid JSON, and an object inside brackets if the text in the brackets is not JSON. It
also refuses a reply with several different objects that are all acceptable answers. Each refusal
has a reason, which the repair call sends to the model.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct

from loomgit.domain.exact_json import MAX_DEPTH, NotExactError, exact_float, exact_integer
from loomgit.domain.thinking import split_thinking
from loomgit.domain.values import JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loomgit.domain.values import Json

MAX_OBJECTS = 200  # a reply that contains this many objects or more is refused
QUOTED_LENGTH = 24  # maximum number of characters of the reply to quote in a message
# A `{` before a key begins an object, and `[{` begins a list of objects. All other braces belong to
# prose or code. The only exception is a reply that consists of an empty object `{}`.
_OPENING = re.compile(r"\{(?=\s*(?:[\"'\u201c]|[A-Za-z_]\w*\s*:\s))|\[(?=\s*\{\s*[\"'])")
_EMPTY = re.compile(r"(?:```\w*\s*)?\{\s*\}(?:\s*```)?")
_BRACKETS = {"{": "}", "[": "]"}
_BRACKET = re.compile(r"[\[\]{}]")


class ParsedReply(Struct, frozen=True):
    """The result of parsing a reply.

    `value` is the answer, or None. `fault` is the reason why there is no answer. `fault` is empty
    if there is an answer, or if the reply contains no object at all. `text` is the reply without
    the thinking.
    """

    value: JsonObject | None
    fault: str = ""
    text: str = ""
    thinking: str = ""


class _Piece(Struct, frozen=True):
    """A part of a reply that begins like an object or a list of objects.

    `values` are the objects in the piece. If there are none, `fault` states why. `ends` is False
    if the closing bracket is missing. `quotes` is True if the first key is in double quotes,
    as JSON requires.
    """

    start: int
    end: int
    values: tuple[JsonObject, ...] = ()
    fault: str = ""
    ends: bool = True
    quotes: bool = True


def read_answer(text: str, fault_of: Callable[[JsonObject], str] = lambda _: "") -> ParsedReply:
    """Parse a reply, and find its answer: the only JSON object that `fault_of` accepts.

    `fault_of` returns "" if it accepts an object. Otherwise, it returns the reason for the
    rejection.
    """
    text = text.strip()
    if not text:
        return ParsedReply(None, "the reply is empty")
    pieces = list(_pieces(text))
    if len(pieces) == 1 and pieces[0].values and pieces[0].end - pieces[0].start == len(text):
        return ParsedReply(*_choose(pieces, fault_of), text)
    quoted = [(piece.start, piece.end) for piece in pieces if piece.values]
    reply = split_thinking(text, quoted)
    if not reply.answer:
        ends = "ends inside its thinking" if reply.unfinished else "is thinking, and no answer"
        return ParsedReply(None, f"the reply {ends}", "", reply.thinking)
    if reply.answer != text:
        pieces = list(_pieces(reply.answer))
    return ParsedReply(*_choose(pieces, fault_of), reply.answer, reply.thinking)


def contains_object(text: str) -> bool:
    """Return whether a text contains a JSON object."""
    return any(piece.values for piece in _pieces(text))


def _choose(
    pieces: list[_Piece], fault_of: Callable[[JsonObject], str]
) -> tuple[JsonObject | None, str]:
    """Return (answer, ""), or (None, reason) if the pieces do not contain exactly one answer.

    The reason is empty if the pieces contain no object.
    """
    good = [piece for piece in pieces if piece.values]
    bad = [piece for piece in pieces if not piece.values and (piece.quotes or not good)]
    if bad and (not good or bad[-1].start > good[-1].start):
        return None, bad[-1].fault  # the final answer is the last piece, and it is invalid
    values = [value for piece in pieces for value in piece.values]
    if not values:
        return None, ""
    different = {_canonical(value): value for value in values}
    faults = {key: fault_of(value) for key, value in different.items()}
    fitting = [different[key] for key, fault in faults.items() if not fault]
    if len(fitting) > 1:
        return None, f"the reply holds {len(fitting)} different objects that fit"
    return (fitting[0], "") if fitting else (None, [*faults.values()][-1])


def _canonical(value: Json) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


# -- finding objects in a text


def _pieces(text: str) -> Iterator[_Piece]:
    """Yield the pieces of a text from left to right. A piece inside another piece is skipped."""
    if match := _EMPTY.fullmatch(text):
        yield _Piece(0, match.end(), ({},))
    position = 0
    for _ in range(MAX_OBJECTS):
        opening = _OPENING.search(text, position) if position < len(text) else None
        if opening is None:
            return
        start = opening.start()
        enclosing = None if start == position else _open_bracket(text, position, start)
        if enclosing is None:
            piece = _parse_piece(text, start)
        else:
            piece = _enclosing_piece(text, enclosing)
        yield piece
        position = piece.end
        if not piece.ends:
            return
    yield _Piece(position, position, fault=f"the reply holds {MAX_OBJECTS} objects or more")


def _parse_piece(text: str, start: int) -> _Piece:
    try:
        value, end = _DECODER.raw_decode(text, start)
        if _depth(value) > MAX_DEPTH:
            return _Piece(start, end, fault=_TOO_DEEP)
        orjson.dumps(value)
    except NotExactError as error:
        return _broken_piece(text, start, str(error))
    except json.JSONDecodeError as error:
        return _broken_piece(text, start, _explain(error, text, start))
    except RecursionError:
        return _broken_piece(text, start, _TOO_DEEP)
    except TypeError:
        return _broken_piece(text, start, "it holds an unpaired surrogate")
    values = value if isinstance(value, list) else [value]
    objects = tuple(item for item in values if isinstance(item, dict))
    return _Piece(start, end, objects)


def _open_bracket(text: str, start: int, end: int) -> int | None:
    """Return the position of the first bracket after `start` that is not closed before `end`.

    Return None if there is no such bracket. A bracket directly after a letter or a digit is
    ignored, because it belongs to a call or a macro, such as `boxed{`.
    """
    positions: list[int] = []
    for match in _BRACKET.finditer(text, start, end):
        bracket, before = match[0], text[match.start() - 1 : match.start()]
        if bracket in _BRACKETS:
            positions.append(-1 if before.isalnum() else match.start())
        elif positions:
            positions.pop()
    return next((position for position in positions if position >= 0), None)


def _enclosing_piece(text: str, start: int) -> _Piece:
    """Return an invalid piece for brackets that contain an object and other text.

    The opening bracket is at `start`. The text in the brackets is not JSON, so the piece has a
    fault and no values. The object is not used, because it is only a part of the model's answer.
    """
    shown = " ".join(text[start : start + QUOTED_LENGTH].split())
    fault = f"the object is inside {shown}, which is not JSON"
    end = _find_end(text, start)
    return _Piece(start, len(text) if end is None else end, fault=fault, ends=end is not None)


def _broken_piece(text: str, start: int, fault: str) -> _Piece:
    end = _find_end(text, start)
    quotes = text[start:].lstrip("[{ \t\r\n").startswith('"')
    if end is None:
        shown = " ".join(text[start : start + QUOTED_LENGTH].split())
        fault = f"the object that begins with {shown} never ends"
        return _Piece(start, len(text), fault=fault, ends=False, quotes=quotes)
    return _Piece(start, end, fault=fault, quotes=quotes)


def _find_end(text: str, start: int) -> int | None:
    """Return the position after the bracket that closes the bracket at `start`, or None.

    Brackets inside strings are ignored.
    """
    open_brackets: list[str] = []
    quote = ""
    position = start
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character == '"':
            quote = character
        elif character in _BRACKETS:
            open_brackets.append(_BRACKETS[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
            if not open_brackets:
                return position + 1
        position += 1
    return None


# -- reading JSON


_TOO_DEEP = f"the object is nested more than {MAX_DEPTH} levels deep"


def _parse_object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for key, value in pairs:
        if key in fields and _canonical(fields[key]) != _canonical(value):
            raise NotExactError(f"the key '{key}' occurs twice, with different values")
        fields[key] = value
    return fields


def _refuse_constant(text: str) -> Json:
    raise NotExactError(f"{text} is not JSON: write a number or null")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_parse_object,
    parse_int=exact_integer,
    parse_float=exact_float,
    parse_constant=_refuse_constant,
)


def _depth(value: Json) -> int:
    """Return the number of nested levels of lists and objects in a value, at most MAX_DEPTH + 1."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        level = [
            item
            for node in level
            for item in (
                node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
            )
            if isinstance(item, dict | list)
        ]
        depth += 1
    return depth


_PYTHON = re.compile(r"(?:True|False|None)\b")
_JSON_WORDS = {"True": "true", "False": "false", "None": "null"}
_CONTROLS = {"\n": ("line break", "\\n"), "\r": ("line break", "\\r"), "\t": ("tab", "\\t")}


def _explain(error: json.JSONDecodeError, text: str, start: int) -> str:
    """Return the reason why the object at `start` is not JSON, with its line number.

    Lines are counted from the start of the object.
    """
    line = text.count("\n", start, error.pos) + 1
    mistake = _common_mistake(text[start : error.pos].rstrip(), text[error.pos :].lstrip(" \t\r"))
    return f"the object is not JSON: {mistake or _reword(error, text)} (line {line} of it)"


def _common_mistake(before: str, rest: str) -> str:
    """Return a description of the mistake if it is a common one, else an empty text.

    `before` and `rest` are the text before and after the position where the parser stopped.
    """
    after = rest.lstrip()
    if before.endswith(",") and after[:1] in ("}", "]"):
        return f"a comma before {after[:1]}"
    # In Python 3.13 and later, the parser stops before such a comma instead of after it.
    if after.startswith(",") and after[1:].lstrip()[:1] in ("}", "]"):
        return f"a comma before {after[1:].lstrip()[:1]}"
    if match := _PYTHON.match(after):
        return f"{match[0]} is Python, JSON has {_JSON_WORDS[match[0]]}"
    marks = {
        "'": "single quotes in place of double quotes",
        "\N{LEFT DOUBLE QUOTATION MARK}": "typographic quotes in place of plain ones",
        "\N{RIGHT DOUBLE QUOTATION MARK}": "typographic quotes in place of plain ones",
    }
    return "a comment" if after.startswith(("//", "/*", "#")) else marks.get(after[:1], "")


def _reword(error: json.JSONDecodeError, text: str) -> str:
    """Return the parser's message in simpler words."""
    rest = text[error.pos :]
    words = rest.split(maxsplit=1)
    where = f"before {words[0][:QUOTED_LENGTH]}" if words else "at its end"
    if error.msg.startswith("Invalid control character"):
        name, escape = _CONTROLS.get(rest[:1], ("control character", "\\u…"))
        return f"a raw {name} in a string, JSON has {escape}"
    if error.msg.startswith("Invalid \\"):
        return f"a backslash that escapes nothing ({rest[:QUOTED_LENGTH].split(chr(10))[0]})"
    messages = {
        "Expecting property name": "a key without double quotes",
        "Expecting ',' delimiter": f"a comma is missing {where}",
        "Expecting ':' delimiter": f"a colon is missing {where}",
        "Expecting value": f"a value is missing {where}",
        "Unterminated string": "a string that never ends",
        "Illegal trailing comma": f"a comma {where}",
    }
    return next(
        (plain for prefix, plain in messages.items() if error.msg.startswith(prefix)), error.msg
    )
