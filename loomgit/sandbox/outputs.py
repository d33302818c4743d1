"""Renders the value that a program returned as JSON, or refuses it. Runs in the worker.

A value may claim a wrong type, so only its real type counts, and only methods of the built-in
types are called.
"""

from __future__ import annotations

import builtins
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

globals()["__builtins__"] = vars(builtins).copy()  # the program may replace the built-in functions

_DEEPEST = 200
_UNITS = (("GiB", 1024**3), ("GB", 1000**3), ("MiB", 1024**2), ("MB", 1000**2), ("KiB", 1024),
          ("KB", 1000))  # fmt: skip
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_INFINITY = float("inf")


class OutputRefusedError(Exception):
    """The output is not JSON or too large. The message follows "the output "."""


def render_output(value: object, limit: int) -> bytes:
    """Return the JSON text of an output. Raises OutputRefusedError.

    Subclasses of the JSON types count as these types, and a tuple is an array. `limit` is the
    largest size of the text in bytes.
    """
    parts: list[str] = []
    _append(value, 0, parts, limit)
    text = "".join(parts).encode("ascii")
    if len(text) > limit:
        raise _too_large(limit)
    return text


def describe_size(count: int) -> str:
    """Return a number of bytes as text, in the largest unit that divides it."""
    for unit, size in _UNITS:
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count:,} bytes"


def _append(value: object, depth: int, parts: list[str], limit: int) -> None:
    """Append the pieces of the JSON text of a value."""
    kind = type(value)
    if value is None:
        parts.append("null")
    elif kind is bool:
        parts.append("true" if value else "false")
    elif issubclass(kind, str):
        parts.append(_render_text(value))
    elif issubclass(kind, int):
        parts.append(_render_integer(value))
    elif issubclass(kind, float):
        parts.append(_render_number(value))
    elif depth >= _DEEPEST:
        raise OutputRefusedError(f"nests more than {_DEEPEST} levels deep")
    elif len(parts) > limit:  # a small value that contains itself many times has a long text
        raise _too_large(limit)
    elif issubclass(kind, dict):
        _append_object(value, depth, parts, limit)
    elif issubclass(kind, list):
        _append_array(list.__iter__(value), depth, parts, limit)  # type: ignore[arg-type]
    elif issubclass(kind, tuple):
        _append_array(tuple.__iter__(value), depth, parts, limit)  # type: ignore[arg-type]
    else:
        raise OutputRefusedError(f"contains {_describe(kind)}, which is not JSON")


def _append_object(value: object, depth: int, parts: list[str], limit: int) -> None:
    items: Iterable[tuple[object, object]] = dict.items(value)  # type: ignore[arg-type]
    separator = "{"
    for key, item in items:
        if not issubclass(type(key), str):
            raise OutputRefusedError(f"has a key that is not text but {_describe(type(key))}")
        parts += (separator, _render_text(key), ":")
        _append(item, depth + 1, parts, limit)
        separator = ","
    parts.append("{}" if separator == "{" else "}")


def _append_array(items: Iterator[object], depth: int, parts: list[str], limit: int) -> None:
    separator = "["
    for item in items:
        parts.append(separator)
        _append(item, depth + 1, parts, limit)
        separator = ","
    parts.append("[]" if separator == "[" else "]")


def _too_large(limit: int) -> OutputRefusedError:
    return OutputRefusedError(f"is larger than {describe_size(limit)}")


def _render_text(value: object) -> str:
    return encode_basestring_ascii(str.__getitem__(value, slice(None)))  # type: ignore[index]


def _render_number(value: object) -> str:
    number = float.__add__(value, 0.0)  # type: ignore[operator]
    if not -_INFINITY < number < _INFINITY:  # also NaN
        raise OutputRefusedError(f"contains {number!r}, which is not JSON")
    return float.__repr__(value)


def _render_integer(value: object) -> str:
    if not int.__le__(_SMALLEST, value) or not int.__le__(value, _LARGEST):  # type: ignore[operator]
        raise OutputRefusedError("contains an integer with more than 64 bits")
    return int.__repr__(value)


def _describe(kind: type) -> str:
    name = type.__dict__["__name__"].__get__(kind)
    return f"a value of the type {name[:80]}"
