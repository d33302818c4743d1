"""The events of a run, for progress displays and logs."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from loomgit.domain.runs import Run
from loomgit.domain.stage_progress import StageProgressed


class RunStarted(Struct, frozen=True):
    """A run has started."""

    pipeline: str
    version: str | None


class Extracted(Struct, frozen=True):
    """All rows are extracted. `records` is their number, including the `refused` rows.

    `seconds` is the wall time of the extraction. `note` is a remark for the user, or "".
    """

    records: int
    refused: int
    seconds: float
    note: str = ""


class BatchLoaded(Struct, frozen=True):
    """A batch is loaded, so `done` of `total` records are complete.

    `cost` is the cost of the run so far in USD, None if it is unknown.
    """

    done: int
    total: int
    cost: float | None


class Warned(Struct, frozen=True):
    """A warning for the user; the run continues."""

    message: str


class RunFinished(Struct, frozen=True):
    """The run has ended. `run` is the run record, and `hint` is advice for the user, or None.

    `can_resume` is true if a later attempt can process more records.
    """

    run: Run
    hint: str | None = None
    can_resume: bool = False


Event: TypeAlias = RunStarted | Extracted | StageProgressed | BatchLoaded | Warned | RunFinished
