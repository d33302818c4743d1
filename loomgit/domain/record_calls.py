"""The record for which a call to a model is made, also in subtasks of the record's task."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.records import Record

_record_index: ContextVar[int | None] = ContextVar("_record_index", default=None)


@contextmanager
def calls_for(record: Record) -> Iterator[None]:
    """Within the `with` block, `record_of_call` returns the index of `record`."""
    token = _record_index.set(record.index)
    try:
        yield
    finally:
        _record_index.reset(token)


def record_of_call() -> int | None:
    """Return the index of the record for which the current task works, or None."""
    return _record_index.get()
