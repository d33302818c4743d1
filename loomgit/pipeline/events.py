"""The events of a run, for progress displays and logs."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from loomgit.domain.runs import Run


class RunStarted(Struct, frozen=True):
    """A run has started."""

    pipeline: str
    version: str | None


class Extracted(Struct, frozen=True):
    """All records are in the spool, including the `refused` ones; `seconds` is wall time."""

    records: int
    refused: int
    seconds: float


class BatchLoaded(Struct, frozen=True):
    """`done` of `total` records are complete.

    `cost` is the cost so far in USD, None if it is unknown.
    """

    done: int
    total: int
    cost: float | None


class Warned(Struct, frozen=True):
    """A warning for the user; the run continues."""

    message: str


class RunFinished(Struct, frozen=True):
    """The run has ended. `run` is its record, and `hint` is advice about the end of the run."""

    run: Run
    hint: str | None = None


Event: TypeAlias = RunStarted | Extracted | BatchLoaded | Warned | RunFinished
