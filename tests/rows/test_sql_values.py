"""Values of the drivers of databases as JSON values."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from ipaddress import ip_address
from uuid import UUID

import pytest

from loomgit.rows.sql_values import to_json_value

EAST = timezone(timedelta(hours=2))


class Color(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (Color.RED, 1),
        (2**64 - 1, 2**64 - 1),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (1.5, 1.5),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        ("é\0", "é\0"),
        (Decimal("19.99"), 19.99),
        (Decimal("2.00"), 2.0),
        (Decimal("2"), 2),
        (Decimal("1E+3"), 1000),
        (Decimal("1E-7"), 1e-7),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        (Decimal("1234567890123456789E-25"), "0.0000001234567890123456789"),
        (Decimal("NaN"), "NaN"),
        (Decimal("-Infinity"), "-Infinity"),
        (date(2026, 3, 4), "2026-03-04"),
        (datetime(2026, 3, 4, 5, 6, 7), "2026-03-04 05:06:07"),  # noqa: DTZ001
        (datetime(2026, 3, 4, 5, 6, 7, 500000, tzinfo=UTC), "2026-03-04 05:06:07.500000+00"),
        (datetime(2026, 3, 4, 1, tzinfo=EAST), "2026-03-03 23:00:00+00"),
        (time(5, 6), "05:06:00"),
        (timedelta(hours=26, seconds=1), "26:00:01"),
        (-timedelta(hours=838, minutes=59, seconds=59), "-838:59:59"),
        (timedelta(microseconds=-1), "-00:00:00.000001"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ip_address("10.0.0.1"), "10.0.0.1"),
        ([1, (Decimal("1.5"), None)], [1, [1.5, None]]),
        ({"a": {"b": date(2026, 1, 1)}}, {"a": {"b": "2026-01-01"}}),
    ],
)
def test_a_value_of_a_driver_is_a_json_value(value, expected):
    found = to_json_value(value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff", "bytes, which JSON cannot represent"),
        (memoryview(b""), "bytes, which JSON cannot represent"),
        ([1, bytearray(b"x")], "bytes, which JSON cannot represent"),
        ("\ud800", "an unpaired surrogate"),
        ({"\udc00": 1}, "an unpaired surrogate"),
        ({1: 2}, "a map whose keys are not text"),
        (1j, "a value of type complex, which JSON cannot represent"),
        ({1}, "a value of type set, which JSON cannot represent"),
    ],
)
def test_a_value_that_json_cannot_represent_has_a_reason(value, reason):
    with pytest.raises(ValueError, match=reason):
        to_json_value(value)
