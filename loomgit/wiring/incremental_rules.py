"""Checks the settings of an incremental extraction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.cursors import CursorFault, initial_point, kind_of, possible_kinds
from loomgit.domain.place import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.definitions import Pipeline


def incremental_problems(pipeline: Pipeline) -> Iterator[Problem]:
    """Yield the problems of `extract.incremental` that do not depend on the records."""
    incremental = pipeline.extract.incremental
    if incremental is None:
        return
    if pipeline.load.mode == "replace":
        yield Problem(
            pipeline.place("extract.incremental"),
            "extract.incremental: with mode: replace, only the new records would remain in "
            f"{pipeline.load.destination}",
            "use mode: upsert or append, or remove extract.incremental",
        )
    try:
        kinds = possible_kinds(incremental)
    except CursorFault as fault:
        key = f"extract.incremental.{fault.setting}"
        yield Problem(pipeline.place(key), f"{key}: {fault.message}", fault.hint)
        return
    initial = incremental.initial
    if isinstance(initial, str) and kind_of(initial) in kinds:
        try:
            initial_point(incremental, kinds[0])
        except ValueError:
            key = "extract.incremental.initial"
            message = f"{key}: '{initial}' is not a date or time that exists"
            yield Problem(pipeline.place(key), message)
