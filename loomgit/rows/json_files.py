"""JSON lines and JSON arrays: rows out of existing files, with the line of every fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from loomgit.domain.exact_json import NotExactError, parse_exact
from loomgit.domain.records import RefusedRow
from loomgit.errors import UserError
from loomgit.rows.json_rows import split_array
from loomgit.rows.paths import disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.values import Json, JsonObject

_BOM = b"\xef\xbb\xbf"


class JsonLine(NamedTuple):
    """A row and the bytes of its line, without the line's end."""

    row: JsonObject | RefusedRow
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
            place = f"{shown}:{number}"
            try:
                row = parse_exact(raw)
            except NotExactError as fault:
                yield JsonLine(_refused(raw, place, fault), raw)
                continue
            except orjson.JSONDecodeError as fault:
                raise _not_json(fault, raw, f"{place}:{fault.colno}") from fault
            if not isinstance(row, dict):
                raise UserError(
                    f"{place}: {_what(row)} where an object is expected",
                    hint='one JSON object a line: {"id": 1, "text": "..."}',
                )
            yield JsonLine(row, raw)


def read_array(path: Path, shown: str, *, one: bool = True) -> list[JsonObject | RefusedRow]:
    """The rows of a JSON file: an array of objects or, where `one` allows it, a single object.

    The whole file is in memory, at about five times its size; JSON lines are streamed.
    """
    with disk(shown):
        raw = path.read_bytes().removeprefix(_BOM)
    if not raw.strip():
        raise UserError(f"{shown}: is empty", hint="an array of objects is expected: [{...}, ...]")
    items: list[Json | RefusedRow]
    try:
        value = parse_exact(raw)
    except NotExactError:
        items = list(_parse_items(raw, shown))
    except orjson.JSONDecodeError as fault:
        place = f"{shown}:{fault.lineno}:{fault.colno}"
        raise _not_json(fault, raw, place, lines=b"\n{" in raw) from fault
    else:
        if not isinstance(value, list) and not (isinstance(value, dict) and one):
            raise UserError(f"{shown}: {_what(value)} where an array of objects is expected")
        items = [*value] if isinstance(value, list) else [value]
    for index, row in enumerate(items):
        if not isinstance(row, dict | RefusedRow):
            raise UserError(f"{shown}: item {index + 1} is {_what(row)}, not an object")
    return items  # type: ignore[return-value]  # the loop has looked at each


def _parse_items(raw: bytes, shown: str) -> Iterator[Json | RefusedRow]:
    """The items of an array that is JSON, one by one; a single object is an item."""
    for start, text in split_array(raw) if raw.lstrip().startswith(b"[") else [(0, raw)]:
        line = raw.count(b"\n", 0, start) + 1
        try:
            yield parse_exact(text)
        except NotExactError as fault:
            yield _refused(text, f"{shown}:{line}", fault)


def _refused(raw: bytes, place: str, fault: NotExactError) -> RefusedRow:
    return RefusedRow(place, str(fault), raw.decode(errors="replace"))


def require_exact(row: JsonObject | RefusedRow) -> JsonObject:
    """The row. Raises UserError where it cannot be kept exactly."""
    if isinstance(row, RefusedRow):
        raise UserError(str(row))
    return row


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
