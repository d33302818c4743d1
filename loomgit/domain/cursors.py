"""The values of a cursor: the field by which an incremental extraction finds new records.

A position is a value of a cursor in a form that Python can compare exactly: nanoseconds since 1970
for dates and timestamps, a number for numbers, and the text itself for texts, which are compared by
code point.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from msgspec import Struct

if TYPE_CHECKING:
    from loomgit.domain.definitions import Incremental, Lag
    from loomgit.domain.values import Json

CursorKind = Literal["timestamp", "local timestamp", "date", "number", "text"]
CursorSetting = Literal["cursor", "lag", "initial"]
Position: TypeAlias = int | Decimal | str
ALL_KINDS: tuple[CursorKind, ...] = get_args(CursorKind)
TIME_KINDS: tuple[CursorKind, ...] = ("timestamp", "local timestamp", "date")
KINDS_IN_WORDS: dict[CursorKind, str] = {
    "timestamp": "a timestamp with a time zone",
    "local timestamp": "a timestamp without a time zone",
    "date": "a date",
    "number": "a number",
    "text": "text",
}

SECOND = 10**9  # nanoseconds
DAY = 86_400 * SECOND
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r" ?([Zz]|[+-]\d\d(?::?\d\d)?(?::?\d\d)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
# Numbers and moments without a position: infinity, NaN, and years before 1 or after 9999.
_UNLIMITED = re.compile(
    r"[+-]?inf(?:inity)?|nan|\d{5,}-\d\d-\d\d(?:[t ].*)?|\d{4,}-\d\d-\d\d(?:[t ].*)? bc",
    re.ASCII | re.IGNORECASE,
)
_SHOWN = 60  # characters of a value that messages show
_EXACT = Context(prec=2000)


class CursorFault(ValueError):
    """A value of a cursor or a setting of `extract.incremental` that does not fit the others.

    `setting` is the key of `extract.incremental` that causes the fault.
    """

    def __init__(self, setting: CursorSetting, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting
        self.message = message
        self.hint = hint


class CursorPoint(Struct, frozen=True):
    """A position of a cursor, with the kind of the cursor's values."""

    kind: CursorKind
    position: Position


def show_value(value: Json) -> str:
    """Return a value for a message, in quotes if it is text, and shortened if it is long."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def kind_of(value: Json) -> CursorKind | None:
    """Return the kind of a value, or None if values such as this one have no order.

    Text in the notation of ISO 8601 is a date or a timestamp, and text such as `-12.5` is a number.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return "number"
    if not isinstance(value, str):
        return None
    if _DATE.fullmatch(value):
        return "date"
    if found := _TIMESTAMP.fullmatch(value):
        return "timestamp" if found[8] else "local timestamp"
    if _NUMBER.fullmatch(value):
        return "number"
    return None if _UNLIMITED.fullmatch(value) else "text"


def parse_position(value: Json, kind: CursorKind) -> Position:
    """Return the position of a value. Raises ValueError if the value is not of this kind."""
    if kind == "number":
        return _number(value)
    if isinstance(value, str):
        if kind == "text":
            return value
        if kind == "date":
            if found := _DATE.fullmatch(value):
                return date(int(found[1]), int(found[2]), int(found[3])).toordinal() * DAY - _ZERO
        elif found := _TIMESTAMP.fullmatch(value):
            return _moment(found, kind)
    raise ValueError(value)


_ZERO = _EPOCH.toordinal() * DAY


def _number(value: Json) -> Position:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(value))
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value) if "." in value else int(value)
    raise ValueError(value)


def _moment(found: re.Match[str], kind: CursorKind) -> int:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if (zone is not None) != (kind == "timestamp"):
        raise ValueError(found[0])
    ordinal = date(int(year), int(month), int(day)).toordinal()
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise ValueError(found[0])
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second or 0) - _offset(zone)
    return ordinal * DAY - _ZERO + seconds * SECOND + int((fraction or "").ljust(9, "0"))


def _offset(zone: str | None) -> int:
    """Return the offset of a time zone in seconds."""
    if zone is None or zone in "Zz":
        return 0
    digits = zone[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:])
    return -seconds if zone[0] == "-" else seconds


def render_position(position: Position, kind: CursorKind) -> str:
    """Return a position as text. Equal positions have equal texts, which `parse_position` reads."""
    if kind == "text":
        return str(position)
    if kind == "number":
        text = f"{position:f}" if isinstance(position, Decimal) else str(position)
        return text.rstrip("0").rstrip(".") if "." in text else text
    assert isinstance(position, int)
    moment, nanoseconds = _as_datetime(position)
    if kind == "date":
        return moment.date().isoformat()
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    ending = "Z" if kind == "timestamp" else ""
    return f"{moment.replace(tzinfo=None).isoformat(sep=' ')}{fraction}{ending}"


def _as_datetime(position: int) -> tuple[datetime, int]:
    """Return the moment in UTC without fractions of a second, and the rest in nanoseconds."""
    seconds, nanoseconds = divmod(position, SECOND)
    return _EPOCH + timedelta(seconds=seconds), nanoseconds


def as_moment(position: Position) -> datetime:
    """Return the last microsecond that is not later than a position, in UTC."""
    assert isinstance(position, int)
    moment, nanoseconds = _as_datetime(position)
    return moment + timedelta(microseconds=nanoseconds // 1000)


def as_float_below(position: Position) -> float:
    """Return a float that is lower than the number `position`, and close to it."""
    return math.nextafter(float(position), -math.inf)


def as_parameter(point: CursorPoint) -> date | int | float | str:
    """Return the value of a point for a query, such as a datetime in UTC.

    If a datetime or a float cannot represent the point, the value is a little lower.
    """
    kind, position = point.kind, point.position
    if kind == "date":
        return as_moment(position).date()
    if kind == "timestamp":
        return as_moment(position)
    if kind == "local timestamp":
        return as_moment(position).replace(tzinfo=None)
    return as_float_below(position) if isinstance(position, Decimal) else position


def subtract_lag(point: CursorPoint, lag: Lag | None) -> CursorPoint:
    """Return the point that is `lag` before `point`. The lag must fit the kind of the point."""
    position = point.position
    if lag is None or isinstance(position, str):
        return point
    if point.kind in TIME_KINDS:
        assert isinstance(position, int)
        earliest = _EARLIEST.toordinal() * DAY - _ZERO
        return CursorPoint(point.kind, max(earliest, position - lag.nanoseconds))
    if isinstance(position, int) and isinstance(lag.amount, int):
        return CursorPoint(point.kind, position - lag.amount)
    less = _EXACT.subtract(Decimal(position), Decimal(repr(lag.amount)))
    return CursorPoint(point.kind, less)


def possible_kinds(incremental: Incremental) -> tuple[CursorKind, ...]:
    """Return the kinds of cursors that `lag` and `initial` allow.

    Raises CursorFault if `lag` and `initial` contradict each other.
    """
    kinds: tuple[CursorKind, ...] = ALL_KINDS
    initial, lag = incremental.initial, incremental.lag
    if initial is not None:
        kinds = _kinds_of_initial(initial)
    if lag is not None:
        kinds_of_lag = TIME_KINDS if lag.is_duration else ("number",)
        kinds = tuple(kind for kind in kinds if kind in kinds_of_lag)
        if not kinds:
            raise CursorFault(
                "lag",
                f"does not fit initial ({show_value(initial)})",
                "lag is a duration such as 1h for dates and timestamps, and a number for numbers",
            )
    return kinds


def _kinds_of_initial(initial: int | float | str) -> tuple[CursorKind, ...]:
    if not isinstance(initial, str):
        return ("number",)
    kind = kind_of(initial)
    if kind == "date":
        return TIME_KINDS
    if kind == "local timestamp":
        return ("timestamp", "local timestamp")
    return ("timestamp",) if kind == "timestamp" else ("text",)


def require_fitting_settings(incremental: Incremental, kind: CursorKind) -> None:
    """Raise CursorFault if `lag` or `initial` does not fit a cursor with values of this kind."""
    lag, initial = incremental.lag, incremental.initial
    name, shown = incremental.cursor, KINDS_IN_WORDS[kind]
    if lag is not None:
        if lag.is_duration != (kind in TIME_KINDS) or kind == "text":
            hint = {"number": "write a number, such as 100", "text": "remove lag"}.get(
                kind, "write a duration, such as 1h"
            )
            raise CursorFault("lag", f"does not fit the cursor '{name}', which is {shown}", hint)
        if kind == "date" and lag.nanoseconds % DAY:
            raise CursorFault(
                "lag", f"the cursor '{name}' is a date, and the lag is not a number of days",
                "write a number of days, such as 1d",
            )  # fmt: skip
    if initial is not None and kind not in _kinds_of_initial(initial):
        raise CursorFault(
            "initial",
            f"{show_value(initial)} does not fit the cursor '{name}', which is {shown}",
        )


def initial_point(incremental: Incremental, kind: CursorKind) -> CursorPoint | None:
    """Return the point of `initial`, which fits `kind`, or None if there is no `initial`.

    Without a time zone, `initial` is in UTC if the cursor has a time zone.
    """
    initial = incremental.initial
    if initial is None:
        return None
    written = "text" if kind == "text" else kind_of(initial)
    assert written is not None  # the configuration contains only text and numbers
    return CursorPoint(kind, parse_position(initial, written))


def first_parameter(incremental: Incremental | None) -> date | int | float | str | None:
    """Return the value of `{{ watermark }}` in a query of the first run: `initial`, or None."""
    initial = None if incremental is None else incremental.initial
    if not isinstance(initial, str):
        return initial
    kind = kind_of(initial)
    if kind in TIME_KINDS:
        with suppress(ValueError):  # a date that does not exist; reading the source reports it
            return as_parameter(CursorPoint(kind, parse_position(initial, kind)))
    return initial
