"""Renders rows as JSON text for messages, and splits a JSON array into its items."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]')


def show_row(row: Mapping[str, object]) -> str:
    """Render the row as JSON text for display.

    Bytes appear as their length, such as `<3 bytes>`. Values of other types appear as text.
    """
    return orjson.dumps(row, default=_description, option=orjson.OPT_NON_STR_KEYS).decode()


def _description(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray) else str(value)


def split_array(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the text of each item of a JSON array. `raw` must be valid JSON."""
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
