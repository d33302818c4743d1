"""What a run says while it works: values for whoever draws progress or keeps a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from loomgit.domain.runs import Run


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins."""

    pipeline: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Extracted:
    """All records are in the spool; `seconds` is wall time."""

    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progressed:
    """So many of `total` records went the whole way; `cost` is USD so far, None if unknown."""

    done: int
    total: int
    cost: float | None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know and that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over and this is its record; `hint` says what to do about its end."""

    run: Run
    hint: str | None = None


Event: TypeAlias = RunStarted | Extracted | Progressed | Warned | RunFinished
