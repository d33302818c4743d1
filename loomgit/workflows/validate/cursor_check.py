"""Checks the incremental extraction of a pipeline for `loom validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.checks import ValidationCheck
from loomgit.domain.cursor_window import CursorReading, CursorWindow
from loomgit.domain.cursors import first_parameter
from loomgit.errors import LoomError, ProblemsFound
from loomgit.wiring.watermarks import open_watermark_store
from loomgit.workflows.begin_increment import open_increment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.place import Problem
    from loomgit.domain.ports import QueryValues, Source
    from loomgit.wiring.assembly import Assembly


def open_all_records(assembly: Assembly, pipeline: Pipeline, values: QueryValues) -> Source:
    """Return the source of a pipeline, as its first run reads it.

    If the extraction is incremental, the source raises ProblemsFound for a record whose cursor has
    no value or is not comparable.
    """
    incremental = pipeline.extract.incremental
    if incremental is None:
        return assembly.source(pipeline, values, limit=None)
    return assembly.source(
        pipeline,
        replace(values, watermark=first_parameter(incremental)),
        limit=None,
        window=CursorWindow(pipeline, incremental),
        reading=CursorReading(),
    )


def check_watermark(
    assembly: Assembly,
    pipeline: Pipeline,
    fault: Callable[[str, LoomError | Sequence[Problem]], ValidationCheck],
    *,
    offline: bool,
) -> Iterator[ValidationCheck]:
    """Yield a check of the watermark, if the extraction is incremental.

    `fault` returns the check for an error. If `offline` is true, nothing is opened.
    """
    if pipeline.extract.incremental is None:
        return
    text = f"Watermark: {pipeline.extract.incremental.cursor} can be stored"
    if offline:
        yield ValidationCheck(f"{text} (not checked)", ok=None)
        return
    try:
        increment = open_increment(assembly.wiring, pipeline)
        assert increment is not None  # the extraction is incremental
        increment.load()
        open_watermark_store(assembly.wiring, pipeline).check()
    except ProblemsFound as error:
        yield fault(text, error)
    except LoomError as error:
        yield fault(text, error)
    else:
        value = increment.window.watermark_text
        yield ValidationCheck(f"Watermark: {pipeline.extract.incremental.cursor} {value or 'none'}")
