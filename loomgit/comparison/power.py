"""Estimates how many cases and samples a comparison needs to detect a drop of the mean score.

The estimates use the variation of the scores in earlier results.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.domain.power import DEFAULT_SAMPLES, MetricPower, RequiredSize
from loomgit.stats.errors import NoValues
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
    samples: Sequence[int] = DEFAULT_SAMPLES,
    failures: Failures = "scattered",
) -> list[MetricPower]:
    """Return the number of required cases for each evaluator that has at least two scores.

    `drop` is the decrease of the mean score that must be detected, and `max_drop` is the decrease
    that the comparison accepts. Scores are from 0 to 1. `samples` contains numbers of samples per
    case. The number of required cases is calculated for each of them.
    """
    names = dict.fromkeys(name for case in cases.values() for name in case.scores)
    price = _mean_cost(cases.values())
    outlooks = []
    for name in names:
        rows = [scores for case in cases.values() if (scores := _scores(case, name))]
        try:
            deviation = within_deviation(_grid(rows))
        except NoValues:
            continue
        m = sum(map(len, rows)) / len(rows)
        needs = tuple(_need(drop, deviation, k, max_drop, failures, price) for k in samples)
        detectable = detectable_drop(len(rows), 2 * deviation**2 / m, m, max_drop)
        outlooks.append(
            MetricPower(
                metric=name,
                deviation=deviation,
                over_estimate=max(map(len, rows)) < 2,
                needs=needs,
                cases=len(rows),
                samples=m,
                power=power(len(rows), drop, deviation, m, max_drop, failures),
                detects=detectable if math.isfinite(detectable) else None,
            )
        )
    return outlooks


def _need(
    drop: float, deviation: float, m: int, max_drop: float, failures: Failures, price: float | None
) -> RequiredSize:
    cases = needed_cases(drop, deviation, m, max_drop, failures)
    if math.isinf(cases):
        return RequiredSize(m, None, None)
    return RequiredSize(m, int(cases), None if price is None else cases * m * price)


def _scores(case: Case, name: str) -> list[float]:
    return [value for value in case.scores.get(name, ()) if value is not None]


def _grid(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    width = max(map(len, rows), default=0)
    return [[*row, *[math.nan] * (width - len(row))] for row in rows]


def _mean_cost(cases: Collection[Case]) -> float | None:
    """Return the mean cost (USD) of one reply with its evaluation, or None if no cost is known."""
    costs = [case.cost for case in cases if case.cost is not None]
    return math.fsum(costs) / len(costs) if costs else None
