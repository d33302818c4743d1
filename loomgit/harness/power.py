"""How many cases and samples a comparison needs to see a drop, by how earlier results scatter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.domain.power import PLANNED, Need, Outlook
from loomgit.stats.faults import NoValues
from loomgit.stats.power import detectable_drop, needed_cases, power, within_deviation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from loomgit.domain.power import Failures
    from loomgit.domain.runs import Case


def plan_metrics(
    cases: Mapping[str, Case],
    drop: float,
    max_drop: float,
    *,
    samples: Sequence[int] = PLANNED,
    failures: Failures = "scattered",
) -> list[Outlook]:
    """An outlook for each evaluator with two scores or more. Scores and drops are in [0, 1]."""
    names = dict.fromkeys(name for case in cases.values() for name in case.scores)
    price = _price(cases.values())
    found = []
    for name in names:
        rows = [known for case in cases.values() if (known := _known(case, name))]
        try:
            deviation = within_deviation(_grid(rows))
        except NoValues:
            continue
        m = sum(map(len, rows)) / len(rows)
        needs = tuple(_need(drop, deviation, k, max_drop, failures, price) for k in samples)
        seen = detectable_drop(len(rows), 2 * deviation**2 / m, m, max_drop)
        found.append(
            Outlook(
                metric=name,
                deviation=deviation,
                over_estimate=max(map(len, rows)) < 2,
                needs=needs,
                cases=len(rows),
                samples=m,
                power=power(len(rows), drop, deviation, m, max_drop, failures),
                detects=seen if math.isfinite(seen) else None,
            )
        )
    return found


def _need(
    drop: float, deviation: float, m: int, max_drop: float, failures: Failures, price: float | None
) -> Need:
    cases = needed_cases(drop, deviation, m, max_drop, failures)
    if math.isinf(cases):
        return Need(m, None, None)
    return Need(m, int(cases), None if price is None else cases * m * price)


def _known(case: Case, name: str) -> list[float]:
    return [value for value in case.scores.get(name, ()) if value is not None]


def _grid(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    width = max(map(len, rows), default=0)
    return [[*row, *[math.nan] * (width - len(row))] for row in rows]


def _price(cases: Collection[Case]) -> float | None:
    """What one reply with its judgements costs in USD, by those whose cost is known."""
    known = [case.cost for case in cases if case.cost is not None]
    return math.fsum(known) / len(known) if known else None
