"""How large a comparison must be: what it is to see, and what that takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Failures = Literal["uniform", "scattered", "broken"]
PLANNED = (1, 3, 5)  # samples a case, where nobody says how many


class Wish(Struct, frozen=True):
    """What a comparison is to see: a `drop` of the mean score (in [0, 1]), where up to `max_drop`
    is accepted (None: as much as the pipeline's tests accept)."""

    drop: float
    max_drop: float | None = None
    samples: Sequence[int] = PLANNED
    failures: Failures = "scattered"


class Need(Struct, frozen=True):
    """What blocks the drop 4 times of 5: so many `cases` of so many `samples`, which cost USD.

    `cases` None: no number of them does, since the drop is no more than what is accepted. The cost
    is that of one side, None where it is not known.
    """

    samples: int
    cases: int | None
    cost: float | None

    @property
    def replies(self) -> int | None:
        """The replies of one side."""
        return None if self.cases is None else self.cases * self.samples


class Outlook(Struct, frozen=True):
    """One metric: its standard deviation within cases (`over_estimate`: that of all scores, since
    no case has two samples), what it needs, and what today's cases give: the probability that they
    block the drop, and the smallest drop that they block 4 times of 5 (None: none)."""

    metric: str
    deviation: float
    over_estimate: bool
    needs: tuple[Need, ...]
    cases: int
    samples: float
    power: float
    detects: float | None


class Sizing(Struct, frozen=True):
    """What one pipeline needs; `basis` says whose results it rests on, `max_drop` what was taken as
    accepted."""

    pipeline: str
    version: str | None
    basis: str
    wish: Wish
    max_drop: float
    metrics: tuple[Outlook, ...]
