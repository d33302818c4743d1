"""Renders rows as JSON text for messages, and splits the text of a JSON array into items."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]')


def show_row(row: Mapping[str, object]) -> str:
    """Return the row as JSON text for a message.

    Bytes are shown as their length, such as `<3 bytes>`. All other values that JSON cannot
    represent are shown as the text that `str` returns.
    """
    try:
        return orjson.dumps(row, default=_description, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # orjson refuses unpaired surrogates and integers of more than 64 bits
        return json.dumps(row, default=_description)


def _description(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray) else str(value)


def split_array(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the byte offset and the text of each item of a JSON array.

    `raw` must be the text of a valid array.
    """
    depth = 0
    start = raw.index(b"[") + 1
    for token in _TOKEN.finditer(raw):
        symbol = token[0]
        if symbol in (b"[", b"{"):
            depth += 1
        elif symbol in (b"]", b"}"):
            depth -= 1
        if (symbol == b"," and depth == 1) or (symbol == b"]" and depth == 0):
            text = raw[start : token.start()]
            if text.strip():
                yield start + len(text) - len(text.lstrip()), text.strip()
            start = token.end()
