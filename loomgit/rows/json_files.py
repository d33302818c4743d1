"""JSON lines and JSON arrays: rows out of existing files, with the line of every fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from loomgit.errors import UserError
from loomgit.rows.paths import disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.values import Json, JsonObject

_BOM = b"\xef\xbb\xbf"


class JsonLine(NamedTuple):
    """A row and the bytes of its line, without the line's end."""

    row: JsonObject
    raw: bytes


def read_lines(path: Path, shown: str) -> Iterator[JsonLine]:
    """Stream the objects of a JSON lines file; blank lines are skipped.

    Raises UserError with the line for anything that is not an object in JSON (NaN is not JSON).
    """
    with disk(shown), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            raw = line.strip()
            if number == 1:
                raw = raw.removeprefix(_BOM)
            if not raw:
                continue
            try:
                row = orjson.loads(raw)
            except orjson.JSONDecodeError as fault:
                raise _not_json(fault, raw, f"{shown}:{number}:{fault.colno}") from fault
            if not isinstance(row, dict):
                raise UserError(
                    f"{shown}:{number}: {_what(row)} where an object is expected",
                    hint='one JSON object a line: {"id": 1, "text": "..."}',
                )
            yield JsonLine(row, raw)


def read_array(path: Path, shown: str, *, one: bool = True) -> list[JsonObject]:
    """The rows of a JSON file: an array of objects or, where `one` allows it, a single object.

    The whole file is in memory, at about five times its size; JSON lines are streamed.
    """
    with disk(shown):
        raw = path.read_bytes().removeprefix(_BOM)
    if not raw.strip():
        raise UserError(f"{shown}: is empty", hint="an array of objects is expected: [{...}, ...]")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        place = f"{shown}:{fault.lineno}:{fault.colno}"
        raise _not_json(fault, raw, place, lines=b"\n{" in raw) from fault
    if isinstance(value, dict) and one:
        return [value]
    if not isinstance(value, list):
        raise UserError(f"{shown}: {_what(value)} where an array of objects is expected")
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise UserError(f"{shown}: item {index + 1} is {_what(row)}, not an object")
    return value


def _not_json(
    fault: orjson.JSONDecodeError, raw: bytes, place: str, *, lines: bool = False
) -> UserError:
    hint = None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = "is this UTF-16? save it as UTF-8"
    elif b"NaN" in raw or b"Infinity" in raw:
        hint = "JSON has no NaN and no Infinity: write null"
    elif lines:
        hint = "one object a line is JSON lines: name the file .jsonl"
    return UserError(f"{place}: not JSON: {fault.msg}", hint=hint)


def _what(value: Json) -> str:
    names = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a number")


def same(old: Json, new: Json) -> bool:
    """Whether two values are the same data: 1 and 1.0 are, 1 and true are not."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return isinstance(old, bool) == isinstance(new, bool) and old == new
