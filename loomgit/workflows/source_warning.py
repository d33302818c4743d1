"""Warns if an incremental run probably continues from the wrong watermark."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.watermarks import SourceProgress, Watermark


def find_source_warning(pipeline: Pipeline, watermark: Watermark, stored: SourceProgress) -> str:
    """Return a warning if the pipeline or its source has probably changed, or "".

    `watermark` is the watermark from which the run reads, and `stored` what is stored.
    """
    source, place = pipeline.extract.source, pipeline.place("extract.source")
    if watermark.value is not None and watermark.source not in ("", source):
        return (
            f"{place}: the watermark {watermark.value} is of the source {watermark.source}; "
            f"the run does not read records of {source} below it, except with --full-refresh"
        )
    others = [name for name, read in stored.other_sources.items() if read == source]
    if stored.watermark is not None or not others:
        return ""
    return (
        f"{place}: {pipeline.name} has no watermark in {pipeline.load.destination}, and reads the "
        f"records of {source} that {others[0]} has loaded into it"
    )
