"""Chooses the types of Parquet columns, and checks whether a type can store a value exactly."""

from __future__ import annotations

import re
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomgit.domain.values import Json

LONG = "LONG"  # a 64-bit integer outside ±2**53; a DOUBLE column may not store it exactly
_ANY_INTEGER = "DECIMAL(20,0)"  # for columns with BIGINT and UBIGINT values; Parquet has no HUGEINT
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
}  # for each integer type: its smallest value, and its largest value plus 1
_DECIMAL = re.compile(r"DECIMAL\((?P<digits>\d+),(?P<scale>\d+)\)")
_FROM_TEXT = ("DATE", "TIME", "DECIMAL", "UUID", "ENUM", "INTERVAL")
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)?(?P<gap>[ T])?"
    r"(?P<time>\d\d:\d\d(:\d\d)?)?(\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d\d(:?[0-5]\d)?)?"
)
_INFINITE = ("infinity", "-infinity")
# The number of decimal places with which a time type stores seconds. The key is the ending of the
# type's name, as in `TIMESTAMP_MS`. Types with other endings store 6 decimal places.
_DIGITS = {"_S": 0, "_MS": 3, "_NS": 9}
# Columns of these types are read back from the written file, and compared with the input.
VERIFIED_TYPES = ("STRUCT", "MAP", "UNION", "ENUM", "INTERVAL")


def kind_of(value: Json) -> str:
    """Return the type of a value: a DuckDB type, LONG, or a list type such as `BIGINT[]`.

    LONG is a signed 64-bit integer outside ±2**53. A DOUBLE column may not store it exactly. The
    type of an empty list or a list of nulls is `*[]`. The type of an object, a list of lists or a
    list of mixed types is JSON.
    """
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
    """Return the type that can store values of all `kinds` exactly.

    `kinds` are value types as returned by `kind_of`. If the result is LONG, the
    column must be BIGINT.
    """
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


def holds_exactly(value: Json, column_type: str) -> bool:
    """Whether a column of the type `column_type` can store `value` exactly.

    The values inside an object are not checked here. Instead, columns of the types in
    `VERIFIED_TYPES` are read back from the written file, and compared with the input.
    """
    return _fits(kind_of(value), column_type) and _is_exact(value, column_type)


def _fits(kind: str, column_type: str) -> bool:
    if column_type == "JSON":
        return True
    if column_type.startswith("VARCHAR") and not column_type.endswith("]"):
        return kind == "VARCHAR"
    if column_type in _BITS:
        return kind in _INTEGERS
    if column_type in ("DOUBLE", "FLOAT"):
        return kind in (*_INTEGERS, "DOUBLE")
    if column_type.endswith("[]"):
        return kind == "*[]" or (kind.endswith("[]") and _fits(kind[:-2], column_type[:-2]))
    if column_type.startswith(_FROM_TEXT):
        return kind == "VARCHAR" or (
            column_type.startswith("DECIMAL") and kind in (*_INTEGERS, "DOUBLE")
        )
    if column_type == "BOOLEAN":
        return kind == "BOOLEAN"
    return kind == "JSON" and column_type.startswith(("STRUCT", "MAP"))


def _is_exact(value: Json, column_type: str) -> bool:
    if isinstance(value, list) and column_type.endswith("[]"):
        return all(item is None or _is_exact(item, column_type[:-2]) for item in value)
    if column_type.startswith("DECIMAL"):
        return _fits_decimal(value, column_type)
    if isinstance(value, str):
        return _is_exact_text(value, column_type)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if column_type in _BITS:
        low, high = _BITS[column_type]
        return bool(low <= value < high)
    if column_type == "DOUBLE":
        return isinstance(value, float) or int(float(value)) == value
    if column_type == "FLOAT":  # a float of 32 bits
        return abs(value) < 3e38 and float(struct.unpack("f", struct.pack("f", value))[0]) == value
    return True


def _fits_decimal(value: Json, column_type: str) -> bool:
    match = _DECIMAL.fullmatch(column_type)
    if match is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    if isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value):
        return False  # text such as "007" may be a code; a number would lose its zeros
    digits, scale = int(match["digits"]), int(match["scale"])
    try:
        number = Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return False
    if not number.is_finite() or number.adjusted() >= digits - scale:
        return False
    return number == number.quantize(Decimal(1).scaleb(-scale)) if number else True


def _is_exact_text(value: str, column_type: str) -> bool:
    """Whether a column of the type `column_type` stores the text without a loss.

    A date or time column may change only the notation: a space instead of `T`, or added seconds. It
    must not change the time, remove digits of a fraction, or remove the UTC offset.
    """
    if column_type == "UUID":
        return _UUID.fullmatch(value) is not None
    if not column_type.startswith(("DATE", "TIME")):
        return True
    if value in _INFINITE:
        return not column_type.startswith("TIME ") and column_type != "TIME"
    parts = _MOMENT.fullmatch(value)
    if parts is None:
        return False
    kind = column_type.partition(" ")[0]
    digits = next((n for ending, n in _DIGITS.items() if kind.endswith(ending)), 6)
    exact = (
        (parts["date"] is not None) == kind.startswith(("DATE", "TIMESTAMP"))
        and (parts["time"] is not None or kind.startswith(("DATE", "TIMESTAMP")))
        and not (parts["time"] and kind == "DATE")
        and (parts["gap"] is not None) == bool(parts["date"] and parts["time"])
        and (parts["zone"] is None or "WITH TIME ZONE" in column_type)
        and (parts["fraction"] is None or parts["time"] is not None)
        and len((parts["fraction"] or "").rstrip("0")) <= digits
    )
    if not exact or not _is_valid(parts["date"], parts["time"]):
        return False
    return parts["zone"] is None or bool(normalize_moment(value, column_type))


def _is_valid(day: str | None, clock: str | None) -> bool:
    try:
        if day:
            date.fromisoformat(day)
        if clock:
            time.fromisoformat(clock)
    except ValueError:
        return False
    return True


def normalize_moment(text: str, kind: str) -> str:
    """Return the text of a date or time in a standard notation, for comparisons.

    Two texts have the same result if they mean the same time in a column of the type `kind`. The
    result is empty if `text` is not a date or time, if its UTC offset is invalid, if it is outside
    the years 1 to 9999 in UTC, or if `kind` is not a date or time type.
    """
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
        try:
            utc = datetime.fromisoformat(f"{day} {clock}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            return ""
        return f"{utc:%Y-%m-%d %H:%M:%S}.{fraction}"
    return f"{day} {clock}.{fraction}"
