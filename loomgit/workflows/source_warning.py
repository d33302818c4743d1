"""Warns if an incremental run probably continues from the wrong watermark."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from loomgit.domain.cursors import TIME_KINDS, as_moment

if TYPE_CHECKING:
    from datetime import datetime

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.watermarks import SourceProgress, Watermark

_MARGIN = timedelta(days=1)  # for time zones, and for dates of today


def find_source_warning(
    pipeline: Pipeline, watermark: Watermark, stored: SourceProgress, now: datetime
) -> str:
    """Return a warning if the watermark is in the future, or if the pipeline or its source has
    probably changed. Otherwise, return "".

    `watermark` is the watermark from which the run reads, and `stored` what is stored.
    """
    source, place = pipeline.extract.source, pipeline.place("extract.source")
    if watermark.value is not None and watermark.source not in ("", source):
        return (
            f"{place}: the watermark {watermark.value} is of the source {watermark.source}; "
            f"the run does not read records of {source} below it, except with --full-refresh"
        )
    point = watermark.point
    if point is not None and point.kind in TIME_KINDS and as_moment(point.position) > now + _MARGIN:
        return (
            f"{pipeline.place('extract.incremental')}: the watermark {watermark.value} is in the "
            "future; the run does not read records below it, except with --full-refresh"
        )
    others = [name for name, read in stored.other_sources.items() if read == source]
    if stored.watermark is not None or not others:
        return ""
    return (
        f"{place}: {pipeline.name} has no watermark in {pipeline.load.destination}, and reads the "
        f"records of {source} that {others[0]} has loaded into it"
    )
