"""Exact JSON: refuses text whose values Python or a later stage would change."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

import orjson

if TYPE_CHECKING:
    from loomgit.domain.values import Json

MAX_DEPTH = 200  # levels; orjson writes 254 at most, and records stand inside of other objects
LARGEST, SMALLEST = 2**64 - 1, -(2**63)  # integers that are kept exactly
_SHOWN = 24  # characters of a number or a key in a message
_LARGE = 9e18  # orjson makes a float of an integer beyond 64 bits
_SPACE_BEFORE_COLON = (b" :", b"\t:", b"\n:", b"\r:")
_KEY_END = re.compile(rb'"\s*:')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class NotExactError(ValueError):
    """The text is JSON, but a part of it cannot be kept exactly; the message is the reason."""


def parse_exact(raw: bytes) -> Json:
    """Parse JSON text without a silent change.

    Raises NotExactError for integers outside of [-2**63, 2**64), numbers beyond a 64-bit float, a
    key that an object has twice, unpaired surrogates, and more than MAX_DEPTH levels of nesting.
    Raises orjson.JSONDecodeError for text that is not JSON. A number with a fraction or an exponent
    is a 64-bit float, as in every JSON parser.
    """
    try:
        value: Json = orjson.loads(raw)
    except orjson.JSONDecodeError:
        if _is_json(raw):  # orjson refuses large numbers, unpaired surrogates and deep nesting
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
    """The number of keys of all objects in the value, and whether a float in it is so large that
    it may have been an integer."""
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
            inner, found = _survey(item)
            keys += inner
            large = large or found
    return keys, large


def _may_repeat_a_key(raw: bytes, keys: int) -> bool:
    """Whether the text may have more keys than were parsed; text inside of strings counts too."""
    if raw.count(b'":') == keys and not any(space in raw for space in _SPACE_BEFORE_COLON):
        return False
    return len(_KEY_END.findall(raw)) != keys


def _is_json(raw: bytes) -> bool:
    """Whether the text follows the grammar of JSON, whatever its values and its depth."""
    try:
        json.loads(raw.decode(), parse_int=len, parse_float=len, parse_constant=_constant)
    except RecursionError:
        return True  # as far as it could be read
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
    """Parse with the standard library, which is slower and reports each number and each key."""
    value = json.loads(
        raw.decode(),
        parse_int=exact_integer,
        parse_float=exact_float,
        parse_constant=_constant,
        object_pairs_hook=_object,
    )
    if found := _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise NotExactError(f"holds an unpaired surrogate (\\u{ord(found[0]):04x})")


def exact_integer(text: str) -> int:
    """The integer. Raises NotExactError outside of 64 bits."""
    if len(text) > len(str(SMALLEST)) or not SMALLEST <= int(text) <= LARGEST:
        raise NotExactError(f"the integer {_cut(text)} has more than 64 bits")
    return int(text)


def exact_float(text: str) -> float:
    """The nearest 64-bit float. Raises NotExactError beyond the largest one."""
    value = float(text)
    if math.isinf(value):
        raise NotExactError(f"the number {_cut(text)} is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise NotExactError(f"has the key '{_cut(twice)}' twice in one object")
    return found


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
