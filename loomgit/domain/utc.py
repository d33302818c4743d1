"""Moments in UTC."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

# The formats of dates in options and files, as in `datetime.strptime`.
DATE_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z")


def in_utc(moment: datetime) -> datetime:
    """Convert a moment to UTC. A moment without a time zone is assumed to be in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_date(text: str) -> datetime:
    """Return the moment that `text` means, in UTC. A date without an offset is in UTC.

    Raises ValueError if `text` has none of the formats in DATE_FORMATS.
    """
    for form in DATE_FORMATS:
        # The year 1 or 9999 with an offset may be outside the range of `datetime`.
        with suppress(ValueError, OverflowError):
            return in_utc(datetime.strptime(text, form))  # noqa: DTZ007 - `in_utc` adds the zone
    raise ValueError(f"{text!r} is not a date such as 2025-11-01 or 2025-11-01T12:00:00Z")
