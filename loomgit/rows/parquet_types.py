"""The types of Parquet columns: which type fits which values, and which values one keeps."""

from __future__ import annotations

import re
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomgit.domain.values import Json

LONG = "LONG"  # a kind of values, no type: integers that a DOUBLE cannot hold
_ANY_INTEGER = "DECIMAL(20,0)"  # Parquet has no integers of 128 bits
_INTEGERS = ("BIGINT", LONG, "UBIGINT")
_BITS = {
    name: (0 if name.startswith("U") else -(2 ** (bits - 1)), 2 ** (bits - (name[0] != "U")))
    for bits, names in {
        8: ("TINYINT", "UTINYINT"),
        16: ("SMALLINT", "USMALLINT"),
        32: ("INTEGER", "UINTEGER"),
        64: ("BIGINT", "UBIGINT"),
        128: ("HUGEINT", "UHUGEINT"),
    }.items()
    for name in names
}  # the smallest integer, and the first one that is too large
_DECIMAL = re.compile(r"DECIMAL\((?P<digits>\d+),(?P<scale>\d+)\)")
_TEXT_TOO = ("DATE", "TIME", "DECIMAL", "UUID", "ENUM", "INTERVAL")
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)?(?P<gap>[ T])?"
    r"(?P<time>\d\d:\d\d(:\d\d)?)?(\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d\d(:?\d\d)?)?"
)
_INFINITE = ("infinity", "-infinity")
_DIGITS = {"_S": 0, "_MS": 3, "_NS": 9}  # of a second; 6 for all other types
COMPARED = ("STRUCT", "MAP", "UNION", "ENUM", "INTERVAL")  # only reading back shows what they keep


def kind_of(value: Json) -> str:
    """The kind of a value: a type, LONG, or `*[]` for an empty list."""
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        if -(2**53) <= value <= 2**53:
            return "BIGINT"
        return LONG if -(2**63) <= value < 2**63 else "UBIGINT"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, str):
        return "VARCHAR"
    if isinstance(value, list):
        kinds = {kind_of(item) for item in value if item is not None}
        item = common_type(kinds) if kinds else "*"
        return "JSON" if item == "JSON" or item.endswith("[]") else f"{item}[]"
    return "JSON"


def common_type(kinds: set[str]) -> str:
    """The one type for all these kinds of values; `*[]` is a list without any."""
    lists = {kind.removesuffix("[]") for kind in kinds if kind.endswith("[]")}
    if lists:
        if len(lists) < len(kinds):
            return "JSON"
        item = common_type(lists - {"*"})
        return "JSON" if item == "JSON" else f"{item}[]"
    if not kinds:
        return "VARCHAR"
    if kinds == {"BIGINT", LONG}:
        return LONG
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds <= {"BIGINT", LONG, "UBIGINT"}:
        return _ANY_INTEGER
    return "DOUBLE" if kinds == {"BIGINT", "DOUBLE"} else "JSON"


def keeps(value: Json, given: str) -> bool:
    """Whether a column of this type keeps a value as it is. Values that are converted inside of
    objects are not looked at: they are compared when they are written (`COMPARED`)."""
    return _fits(kind_of(value), given) and _is_exact(value, given)


def _fits(kind: str, given: str) -> bool:
    if given == "JSON":
        return True
    if given.startswith("VARCHAR") and not given.endswith("]"):
        return kind == "VARCHAR"
    if given in _BITS:
        return kind in _INTEGERS
    if given in ("DOUBLE", "FLOAT"):
        return kind in (*_INTEGERS, "DOUBLE")
    if given.endswith("[]"):
        return kind == "*[]" or (kind.endswith("[]") and _fits(kind[:-2], given[:-2]))
    if given.startswith(_TEXT_TOO):
        return kind == "VARCHAR" or (given.startswith("DECIMAL") and kind in (*_INTEGERS, "DOUBLE"))
    if given == "BOOLEAN":
        return kind == "BOOLEAN"
    return kind == "JSON" and given.startswith(("STRUCT", "MAP"))


def _is_exact(value: Json, given: str) -> bool:
    if isinstance(value, list) and given.endswith("[]"):
        return all(item is None or _is_exact(item, given[:-2]) for item in value)
    if given.startswith("DECIMAL"):
        return _fits_decimal(value, given)
    if isinstance(value, str):
        return _is_exact_text(value, given)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if given in _BITS:
        low, high = _BITS[given]
        return bool(low <= value < high)
    if given == "DOUBLE":
        return isinstance(value, float) or int(float(value)) == value
    if given == "FLOAT":  # 32 bits
        return abs(value) < 3e38 and float(struct.unpack("f", struct.pack("f", value))[0]) == value
    return True


def _fits_decimal(value: Json, given: str) -> bool:
    declared = _DECIMAL.fullmatch(given)
    if declared is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    if isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value):
        return False  # a code such as "007"
    digits, scale = int(declared["digits"]), int(declared["scale"])
    try:
        number = Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return False
    if not number.is_finite() or number.adjusted() >= digits - scale:
        return False
    return number == number.quantize(Decimal(1).scaleb(-scale)) if number else True


def _is_exact_text(value: str, given: str) -> bool:
    """Whether a text comes out of the column as the same value: dates and times may have another
    spelling (`T` for a space, no seconds), but no other moment and no lost digit or offset."""
    if given == "UUID":
        return _UUID.fullmatch(value) is not None
    if not given.startswith(("DATE", "TIME")):
        return True
    if value in _INFINITE:
        return not given.startswith("TIME ") and given != "TIME"
    parts = _MOMENT.fullmatch(value)
    if parts is None:
        return False
    kind = given.partition(" ")[0]
    digits = next((n for ending, n in _DIGITS.items() if kind.endswith(ending)), 6)
    exact = (
        (parts["date"] is not None) == kind.startswith(("DATE", "TIMESTAMP"))
        and (parts["time"] is not None or kind.startswith(("DATE", "TIMESTAMP")))
        and not (parts["time"] and kind == "DATE")
        and (parts["gap"] is not None) == bool(parts["date"] and parts["time"])
        and (parts["zone"] is None or "WITH TIME ZONE" in given)
        and len((parts["fraction"] or "").rstrip("0")) <= digits
    )
    return exact and _exists(parts["date"], parts["time"])


def _exists(day: str | None, clock: str | None) -> bool:
    try:
        if day:
            date.fromisoformat(day)
        if clock:
            time.fromisoformat(clock)
    except ValueError:
        return False
    return True


def moment(text: str, kind: str) -> str:
    """One spelling for all texts that are the same moment in a column of this type; empty for other
    texts and types."""
    if not kind.startswith(("DATE", "TIME")):
        return ""
    parts = _MOMENT.fullmatch(text)
    if parts is None:
        return ""
    day, clock = parts["date"], parts["time"] or "00:00"
    clock += ":00" if clock.count(":") == 1 else ""
    fraction = (parts["fraction"] or "").rstrip("0")
    if "WITH TIME ZONE" in kind and day is not None:
        zone = (parts["zone"] or "+00").replace("Z", "+00")
        zone = f"{zone[:3]}:{zone[3:].lstrip(':') or '00'}"
        whole = datetime.fromisoformat(f"{day} {clock}{zone}").astimezone(UTC)
        return f"{whole:%Y-%m-%d %H:%M:%S}.{fraction}"
    return f"{day} {clock}.{fraction}"
