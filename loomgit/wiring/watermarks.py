"""Opens the store of a pipeline's watermark for the current target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.rows.watermark_stores import open_watermarks
from loomgit.wiring.placed_errors import placed

if TYPE_CHECKING:
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.watermarks import WatermarkStore
    from loomgit.wiring.project import Wiring

FOLDER = "state/watermarks"


def open_watermark_store(wiring: Wiring, pipeline: Pipeline) -> WatermarkStore:
    """Return the store of a pipeline's watermark for the current target. Nothing is opened.

    Raises ProblemsFound if the address of the destination is not valid.
    """
    with placed(pipeline, "load.destination"):
        return open_watermarks(
            pipeline,
            wiring.settings.target or "",
            root=wiring.root,
            folder=wiring.store.folder / FOLDER,
            connections=wiring.connections,
        )
