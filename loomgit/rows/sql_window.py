"""The condition of an incremental extraction, for databases that are read through SQLAlchemy."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import collate, func, or_

from loomgit.domain.cursors import as_float_below, as_moment
from loomgit.rows.text_cursor import lowest_text

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from loomgit.domain.cursor_window import CursorWindow

# The collations by which databases compare text by code point.
_COLLATIONS = {"sqlite": "BINARY", "postgresql": "C", "cockroachdb": "C"}
_WITH_TIME_ZONES = ("postgresql", "cockroachdb", "duckdb")
_MARGIN = timedelta(seconds=1)  # some types of databases round fractions of a second
_MOST = 2**63


def window_condition(
    window: CursorWindow,
    column: ColumnElement[Any],
    first: object,
    dialect: str,
) -> ColumnElement[bool] | None:
    """Return the condition that leaves out rows below the start of the window.

    `first` is a value of `column`, as the driver returns it. The result is None if the database may
    not compare the values as Loom does. Rows with a null cursor are not left out, because they are
    an error. Raises ProblemsFound if the cursor does not fit the settings or the watermark.
    """
    compared: ColumnElement[Any] = column
    others: list[ColumnElement[bool]] = []
    lowest: Any = None
    if isinstance(first, str):
        lowest = lowest_text(window, first)
        if dialect == "duckdb":
            compared, lowest = func.encode(column), lowest and func.encode(lowest)
        elif dialect in _COLLATIONS:
            compared = collate(column, _COLLATIONS[dialect])
        else:
            return None
        if dialect == "sqlite":
            others = [column < ""]  # numbers, which are lower than all texts
    elif isinstance(first, date):
        lowest = _lowest_time(window, first, dialect)
    elif isinstance(first, int | float | Decimal) and not isinstance(first, bool):
        start = window.start_for("number")
        if start is not None and not isinstance(start.position, str):
            position = start.position
            is_integer = isinstance(position, int) and abs(position) < _MOST
            lowest = position if is_integer else as_float_below(position)
    if lowest is None:
        return None
    return or_(compared >= lowest, column.is_(None), *others)


def _lowest_time(window: CursorWindow, first: date, dialect: str) -> date | None:
    if not isinstance(first, datetime):
        start = window.start_for("date")
        return None if start is None else as_moment(start.position).date()
    has_zone = first.tzinfo is not None
    start = window.start_for("timestamp" if has_zone else "local timestamp")
    if start is None:
        return None
    moment = as_moment(start.position)
    if moment - datetime.min.replace(tzinfo=UTC) < _MARGIN:
        return None
    moment -= _MARGIN
    return moment if has_zone and dialect in _WITH_TIME_ZONES else moment.replace(tzinfo=None)
