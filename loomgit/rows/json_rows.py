"""Rows as JSON text: the items of an array, and a row for a reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MARK = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]')


def show_row(row: Mapping[str, object]) -> str:
    """The row as JSON text for a reader, with a description in place of bytes and other types."""
    return orjson.dumps(row, default=_description, option=orjson.OPT_NON_STR_KEYS).decode()


def _description(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray) else str(value)


def split_array(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Each item of a JSON array: the offset of its first byte, and its text. `raw` is JSON."""
    depth = 0
    start = raw.index(b"[") + 1
    for mark in _MARK.finditer(raw):
        sign = mark[0]
        if sign in (b"[", b"{"):
            depth += 1
        elif sign in (b"]", b"}"):
            depth -= 1
        if (sign == b"," and depth == 1) or (sign == b"]" and depth == 0):
            text = raw[start : mark.start()]
            if text.strip():
                yield start + len(text) - len(text.lstrip()), text.strip()
            start = mark.end()
