"""The progress of a stage of a run."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

StageName: TypeAlias = Literal["extract", "process", "load"]


class StageProgressed(Struct, frozen=True):
    """The progress of a stage, at most ten times a second.

    `process` is transform and evaluate. `done` is the number of rows or records that have finished
    the stage, of `total` (None during the extraction). `cost` is the cost of the run so far in USD,
    None if it is unknown.
    """

    stage: StageName
    done: int
    total: int | None
    cost: float | None
