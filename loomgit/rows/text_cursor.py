"""Compares cursors that are stored as text."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from loomgit.domain.cursors import TIME_KINDS, as_moment

if TYPE_CHECKING:
    from loomgit.domain.cursor_window import CursorWindow
    from loomgit.domain.values import Json

_YEAR_OF_FIRST_MARGIN = 2  # no date before the year 1 exists


def lowest_text(window: CursorWindow, first: Json) -> str | None:
    """Return a text that is not higher than the cursor of any record in the window.

    Texts are compared by code point. `first` is the cursor of the first record. For dates and
    timestamps, the result is a date, because all notations of ISO 8601 that Loom reads begin with
    the date. A time zone can change the date by one day. The result is None if the order of the
    texts is not the order of the cursors, or if all records are in the window.

    Raises ProblemsFound if the cursor does not fit the settings or the watermark.
    """
    kind = window.kind_of_first(first, "the first record")
    start = window.start_for(kind)
    if start is None or kind == "number":
        return None
    if kind not in TIME_KINDS:
        return str(start.position)
    moment = as_moment(start.position)
    if kind == "timestamp":
        if moment.year < _YEAR_OF_FIRST_MARGIN:
            return None
        moment -= timedelta(days=1)
    return moment.date().isoformat()
