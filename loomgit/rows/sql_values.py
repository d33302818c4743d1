"""Converts the values that a driver of SQLAlchemy returns to JSON values."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING
from uuid import UUID

from loomgit.domain.utc import in_utc

if TYPE_CHECKING:
    from loomgit.domain.values import Json

_BYTES = (bytes, bytearray, memoryview)
_SHOWN_AS_TEXT = (date, time, UUID, IPv4Address, IPv6Address)


def to_json_value(value: object) -> Json:
    """Convert a value of a row to a JSON value.

    An integer of more than 64 bits, NaN, an infinity, a date, a time and a UUID become text. A
    decimal becomes a number if a float is equal to it, and text otherwise. A moment with a time
    zone is converted to UTC and ends with `+00`. Raises ValueError with the reason if JSON cannot
    represent the value, for example for bytes.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _not_finite(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, _SHOWN_AS_TEXT):
        return str(value)
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    if isinstance(value, dict):
        return {_key(name): to_json_value(item) for name, item in value.items()}
    kind = "bytes" if isinstance(value, _BYTES) else f"a value of type {type(value).__name__}"
    raise ValueError(f"{kind}, which JSON cannot represent")


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as fault:
            raise ValueError("an unpaired surrogate, which UTF-8 cannot represent") from fault
    return str(value)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _decimal(value: Decimal) -> Json:
    if not value.is_finite():
        return "NaN" if value.is_nan() else _not_finite(float(value))
    if int(value.as_tuple().exponent) >= 0:
        return to_json_value(int(value))
    nearest_float = float(value)
    return nearest_float if Decimal(repr(nearest_float)) == value else f"{value:f}"


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        return str(value)
    return f"{in_utc(value).replace(tzinfo=None)}+00"


def _duration(value: timedelta) -> str:
    """Return a duration as hours, minutes and seconds, such as `-838:59:59`."""
    sign = "-" if value < timedelta(0) else ""
    seconds, fraction = divmod(abs(value) // timedelta(microseconds=1), 10**6)
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}" if fraction else text


def _key(name: object) -> str:
    if isinstance(name, str):
        return _text(name)
    raise ValueError("a map whose keys are not text, which JSON cannot represent")
