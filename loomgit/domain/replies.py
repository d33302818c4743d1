"""JSON in a model's reply, found leniently; and how a reply that does not fit is sent back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from loomgit.domain.values import Json, JsonObject

REPAIR = (
    "That reply cannot be used: {fault}. Answer again with just one JSON object of the form that "
    "was asked for, and nothing around it."
)
SHOWN_FAULTS = 3
STARTS = 16  # places where an object may begin: prose with more braces is prose
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


def find_object(text: str) -> JsonObject | None:
    """The JSON object in a reply: the whole of it, a fenced block, or the first that stands in
    prose; None where there is none."""
    candidates = [text, *(match[1] for match in _FENCE.finditer(text))]
    for candidate in candidates:
        value = _loads(candidate.strip())
        if isinstance(value, dict):
            return value
    start = text.find("{")
    for _ in range(STARTS):
        if start == -1:
            break
        end = _closing(text, start)
        value = _loads(text[start:end]) if end else None
        if isinstance(value, dict):
            return value
        start = text.find("{", start + 1)
    return None


def join_faults(faults: list[str]) -> str:
    """The first few faults as one line: `a; b; c and 2 more`."""
    more = f" and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
    return "; ".join(faults[:SHOWN_FAULTS]) + more


def _loads(text: str) -> Json:
    if not text.startswith("{"):
        return None  # no object; the parser's own answer to prose costs ten times as much
    try:
        value: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value


def _closing(text: str, start: int) -> int | None:
    """The end of the object that opens at `start`, by counting braces outside of strings."""
    depth, quoted, escaped = 0, False, False
    for position in range(start, len(text)):
        character = text[position]
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return position + 1
    return None
