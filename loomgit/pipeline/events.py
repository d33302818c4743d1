"""What a run says while it works: values for whoever draws progress or keeps a log."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from loomgit.domain.runs import Run


class RunStarted(Struct, frozen=True):
    """A run begins."""

    pipeline: str
    version: str | None


class Extracted(Struct, frozen=True):
    """All records are in the spool, the `refused` ones included; `seconds` is wall time."""

    records: int
    refused: int
    seconds: float


class Progressed(Struct, frozen=True):
    """So many of `total` records went the whole way; `cost` is USD so far, None if unknown."""

    done: int
    total: int
    cost: float | None


class Warned(Struct, frozen=True):
    """Something that the user should know and that stops nothing."""

    message: str


class RunFinished(Struct, frozen=True):
    """The run is over and this is its record; `hint` says what to do about its end."""

    run: Run
    hint: str | None = None


Event: TypeAlias = RunStarted | Extracted | Progressed | Warned | RunFinished
