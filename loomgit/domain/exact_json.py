"""Exact JSON: a parser that refuses any value that Python or a later stage would change."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import orjson

if TYPE_CHECKING:
    from loomgit.domain.values import Json

# The maximum number of levels of nesting. orjson writes at most 254 levels, and Loom stores records
# inside other objects, which adds levels.
MAX_DEPTH = 200
LARGEST, SMALLEST = 2**64 - 1, -(2**63)  # the range of integers that every stage keeps exactly
_SHOWN = 24  # messages show at most this many characters of a number or a key
_LARGE = 9e18  # orjson parses integers beyond 64 bits as floats; all these floats are larger
_KEY_END = re.compile(rb'"\s*:')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class NotExactError(ValueError):
    """The text is JSON, but Loom cannot keep a part of it exactly. The message is the reason."""


def parse_exact(raw: bytes) -> Json:
    """Parse JSON text. Refuse the text if a value would change silently.

    Raises NotExactError for integers outside [-2**63, 2**64), numbers beyond the range of a 64-bit
    float, duplicate keys in an object, unpaired surrogates, and more than MAX_DEPTH levels of
    nesting. Raises orjson.JSONDecodeError for text that is not JSON. A number with a fraction or an
    exponent becomes a 64-bit float, as in every JSON parser.
    """
    try:
        value: Json = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # orjson refuses large numbers, surrogates and deep nesting. If the nesting is too deep for
        # the standard library and the brackets do not match, the text is not JSON.
        with suppress(RecursionError):
            if _is_json(raw):
                _require_shallow(raw)
                _parse_strictly(raw)
        raise
    keys, large, nested = 0, False, value.__class__ is not dict
    if isinstance(value, dict):
        keys = len(value)
        for item in value.values():
            kind = item.__class__
            if kind is float:
                large = large or not -_LARGE < item < _LARGE  # type: ignore[operator]  # a float
            elif kind is dict or kind is list:
                nested = True
    if nested:
        _require_shallow(raw)
        keys, large = _survey(value)
    if large or _may_repeat_a_key(raw, keys):
        _parse_strictly(raw)
    return value


def _survey(value: Json) -> tuple[int, bool]:
    """Return the number of keys in all objects of the value, and whether it contains large floats.

    A float is large if its absolute value is at least _LARGE. The JSON text may contain an integer
    in place of such a float.
    """
    if isinstance(value, dict):
        keys, items = len(value), iter(value.values())
    elif isinstance(value, list):
        keys, items = 0, iter(value)
    else:
        return 0, isinstance(value, float) and not -_LARGE < value < _LARGE
    large = False
    for item in items:
        kind = item.__class__
        if kind is float:
            large = large or not -_LARGE < item < _LARGE  # type: ignore[operator]  # a float
        elif kind is dict or kind is list:
            inner_keys, inner_large = _survey(item)
            keys += inner_keys
            large = large or inner_large
    return keys, large


def _may_repeat_a_key(raw: bytes, keys: int) -> bool:
    """Return whether the text may contain more keys than the parsed value.

    The result can be wrongly true, because text inside strings can look like a key.
    """
    is_compact = b" :" not in raw and b"\t:" not in raw and b"\n:" not in raw and b"\r:" not in raw
    if is_compact and raw.count(b'":') == keys:
        return False
    return len(_KEY_END.findall(raw)) != keys


def _is_json(raw: bytes) -> bool:
    """Return whether the text follows the grammar of JSON.

    Numbers that are too large, unpaired surrogates and deep nesting are allowed here.
    """
    try:
        json.loads(raw.decode(), parse_int=len, parse_float=len, parse_constant=_refuse_constant)
    except RecursionError:
        return True  # the text is JSON up to the depth at which the parser stopped
    except ValueError:
        return False
    return True


def _require_shallow(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH and depth == 0:
        raise NotExactError(f"nests {deepest:,} levels deep, more than {MAX_DEPTH}")


def _parse_strictly(raw: bytes) -> None:
    """Parse with the standard library, which is slower but can check each number and each key."""
    value = json.loads(
        raw.decode(),
        parse_int=exact_integer,
        parse_float=exact_float,
        parse_constant=_refuse_constant,
        object_pairs_hook=_parse_object,
    )
    if surrogate := _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise NotExactError(f"holds an unpaired surrogate (\\u{ord(surrogate[0]):04x})")


def exact_integer(text: str) -> int:
    """Parse an integer. Raises NotExactError if it has more than 64 bits."""
    if len(text) > len(str(SMALLEST)) or not SMALLEST <= int(text) <= LARGEST:
        raise NotExactError(f"the integer {_shorten(text)} has more than 64 bits")
    return int(text)


def exact_float(text: str) -> float:
    """Return the nearest 64-bit float.

    Raises NotExactError if the number is too large for a float.
    """
    value = float(text)
    if math.isinf(value):
        raise NotExactError(f"the number {_shorten(text)} is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parse_object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for index, name in enumerate(names) if name in names[:index])
        raise NotExactError(f"has the key '{_shorten(duplicate)}' twice in one object")
    return fields


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
