"""Reads rows from JSON files and JSON lines files. Error messages contain the line number."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from loomgit.domain.exact_json import NotExactError, parse_exact
from loomgit.domain.records import RefusedRow
from loomgit.errors import UserError
from loomgit.rows.json_rows import split_array
from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.values import Json, JsonObject

_BOM = b"\xef\xbb\xbf"


class JsonLine(NamedTuple):
    """A row and its line in the file. `raw` is the line as bytes, without surrounding white
    space."""

    row: JsonObject | RefusedRow
    raw: bytes


def read_lines(path: Path, shown: str) -> Iterator[JsonLine]:
    """Yield the objects of a JSON lines file. Blank lines are skipped.

    An object that Loom cannot represent exactly becomes a RefusedRow. Raises UserError with the
    line number if a line is not a JSON object; NaN is not valid JSON.
    """
    with translate_os_errors(shown), path.open("rb") as file:
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
                    f"{place}: expected an object, found {_describe(row)}",
                    hint='write one JSON object per line: {"id": 1, "text": "..."}',
                )
            yield JsonLine(row, raw)


def read_array(path: Path, shown: str, *, one: bool = True) -> list[JsonObject | RefusedRow]:
    """Return the rows of a JSON file that contains an array of objects.

    If `one` is true, the file may also contain a single object. An object that Loom cannot
    represent exactly becomes a RefusedRow. The whole file is read into memory, which needs about
    five times the size of the file. Raises UserError if the file is empty, is not JSON, or contains
    other values.
    """
    with translate_os_errors(shown):
        raw = path.read_bytes().removeprefix(_BOM)
    if not raw.strip():
        raise UserError(f"{shown}: is empty", hint="write an array of objects: [{...}, ...]")
    items: list[Json | RefusedRow]
    try:
        value = parse_exact(raw)
    except NotExactError:
        items = list(_parse_items(raw, shown))
    except orjson.JSONDecodeError as fault:
        place = f"{shown}:{fault.lineno}:{fault.colno}"
        raise _not_json(fault, raw, place, is_json_lines=b"\n{" in raw) from fault
    else:
        if not isinstance(value, list) and not (isinstance(value, dict) and one):
            raise UserError(f"{shown}: expected an array of objects, found {_describe(value)}")
        items = [*value] if isinstance(value, list) else [value]
    for index, row in enumerate(items):
        if not isinstance(row, dict | RefusedRow):
            raise UserError(f"{shown}: item {index + 1} is {_describe(row)}, not an object")
    return items  # type: ignore[return-value]  # the loop has checked each item


def _parse_items(raw: bytes, shown: str) -> Iterator[Json | RefusedRow]:
    """Yield the items of a JSON array, or a single object as the only item.

    An item that Loom cannot represent exactly becomes a RefusedRow.
    """
    for start, text in split_array(raw) if raw.lstrip().startswith(b"[") else [(0, raw)]:
        line = raw.count(b"\n", 0, start) + 1
        try:
            yield parse_exact(text)
        except NotExactError as fault:
            yield _refused(text, f"{shown}:{line}", fault)


def _refused(raw: bytes, place: str, fault: NotExactError) -> RefusedRow:
    return RefusedRow(place, str(fault), raw.decode(errors="replace"))


def require_exact(row: JsonObject | RefusedRow) -> JsonObject:
    """Return `row` unchanged. Raises UserError if `row` is a RefusedRow."""
    if isinstance(row, RefusedRow):
        raise UserError(str(row))
    return row


def _not_json(
    fault: orjson.JSONDecodeError, raw: bytes, place: str, *, is_json_lines: bool = False
) -> UserError:
    hint = None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = "if the file is UTF-16, save it as UTF-8"
    elif b"NaN" in raw or b"Infinity" in raw:
        hint = "JSON has no NaN and no Infinity; write null"
    elif is_json_lines:
        hint = "a file with one object per line is JSON lines; rename it to .jsonl"
    return UserError(f"{place}: not JSON: {fault.msg}", hint=hint)


def _describe(value: Json) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a number")


def is_same_data(old: Json, new: Json) -> bool:
    """Whether two values are equal as data: 1 equals 1.0, but 1 does not equal true."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(is_same_data(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_same_data, old, new))
    return isinstance(old, bool) == isinstance(new, bool) and old == new
