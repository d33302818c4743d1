"""Compares the metrics of two measured sides: scores, the pass rate, cost and latency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.comparison import (
    Limits,
    MeasuredSide,
    Metric,
    MetricKind,
)
from loomgit.domain.judging import count_passes
from loomgit.stats.errors import NoValues
from loomgit.stats.gate import MetricChange, compare, compare_rise, compare_unpaired

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.definitions import Evaluate
    from loomgit.domain.pairing import PairedCases
    from loomgit.domain.runs import Case

# If `max_rise` is not set, cost and latency cannot fail the gate. In this case, their rise is
# compared with this value (0.1 is 10 %), and the result is only displayed.
SHOWN_RISE = 0.1
PASSES = "pass_rate"
Row = list[float]


class MetricResult(Struct, frozen=True):
    """The values of a metric on both sides, and the statistics of the change between them.

    `change` is None if the metric could not be compared.
    """

    metric: Metric
    change: MetricChange | None = None


def compare_metrics(
    base: MeasuredSide,
    head: MeasuredSide,
    pairs: PairedCases,
    limits: Limits,
    evaluate: Evaluate | None,
) -> Iterable[MetricResult]:
    """Compare each metric over the paired cases, and yield one result for each metric.

    The metrics are the score of each evaluator, the fraction of samples that pass, the cost and the
    latency. If `evaluate` is given, its thresholds and gate decide which samples pass. If
    `limits.unpaired` is true, all cases of both sides are used.
    """
    before, after = (_cases_to_compare(side, pairs, limits) for side in (base, head))
    names = dict.fromkeys(name for case in (*before, *after) for name in case.scores)
    for name in names:
        judges = (side.judges.get(name, ()) for side in (base, head))
        if reason := judges_differ(*judges):
            yield MetricResult(Metric(name, "score", True, "not_comparable", reason=reason))
        else:
            rows = [_scores(case, name) for case in before], [_scores(case, name) for case in after]
            rows = rows if limits.unpaired else _without_unjudged(*rows)
            yield _compare_scores(name, *rows, limits)
    passes_before, passes_after = ([_passes(c, evaluate) for c in side] for side in (before, after))
    yield _compare_scores(PASSES, passes_before, passes_after, limits, gated=False)
    kinds: tuple[MetricKind, ...] = ("cost", "latency")
    for kind in kinds:
        old = [_amounts(base, case, kind) for case in before]
        new = [_amounts(head, case, kind) for case in after]
        yield _compare_amounts(kind, old, new, limits)


def judges_differ(base: Iterable[str], head: Iterable[str]) -> str:
    """Return a message if different judge models answered on the two sides.

    The message is empty if the same models answered on both sides, or if the models of at least
    one side are unknown.
    """
    before, after = sorted(set(base)), sorted(set(head))
    if not before or not after or before == after:
        return ""
    return f"the judge as served differs: {' and '.join(before)} -> {' and '.join(after)}"


def _cases_to_compare(side: MeasuredSide, pairs: PairedCases, limits: Limits) -> list[Case]:
    if limits.unpaired:
        return list(side.cases.values())
    return [side.cases[name] for name in pairs.common]


def _scores(case: Case, name: str) -> Row:
    return [math.nan if value is None else value for value in case.scores.get(name, [])]


def _without_unjudged(base: list[Row], head: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of both sides. Cases that the evaluator judged on neither side are left out.

    If the evaluator judged a case on one side only, the row of the other side contains one NaN, a
    missing score.
    """
    pairs = [pair for pair in zip(base, head, strict=True) if any(pair)]
    return [old or [math.nan] for old, _ in pairs], [new or [math.nan] for _, new in pairs]


def _passes(case: Case, evaluate: Evaluate | None) -> Row:
    """Return one number for each sample of a case: 1 if the sample passes, else 0.

    The row is empty if all samples are lost.
    """
    known = [values for values in case.scores.values() if any(v is not None for v in values)]
    unanswered = not case.passed and case.latency is None  # no sample received a reply
    if not known and (case.scores or unanswered):
        return []
    passed = case.passed if evaluate is None else count_passes(case, evaluate)
    return [1.0] * passed + [0.0] * (case.samples - passed)


def _amounts(side: MeasuredSide, case: Case, kind: MetricKind) -> Row:
    """Return a row with the cost or latency of each sample of a case.

    If only the mean of the samples is known, the row contains just the mean. If the mean is unknown
    too, the row is empty.
    """
    if (amounts := side.amounts.get((case.id, case.definition))) is not None:
        values = amounts.cost if kind == "cost" else amounts.latency
        return [math.nan if value is None else value for value in values]
    value = case.cost if kind == "cost" else case.latency
    return [] if value is None else [value]


def _compare_scores(
    name: str, base: list[Row], head: list[Row], limits: Limits, *, gated: bool = True
) -> MetricResult:
    blank = Metric(name, "score", gated, "inconclusive", limit=limits.max_drop)
    try:
        if limits.unpaired:
            change = compare_unpaired(base, head, max_drop=limits.max_drop)
        else:
            change = compare(base, head, max_drop=limits.max_drop, scope=limits.scope)
    except NoValues:
        return MetricResult(replace(blank, reason="no case has a score on both sides"))
    means = _paired_means(base, head) if not limits.unpaired else (_mean(base), _mean(head))
    low, high = change.interval.low, change.interval.high
    metric = replace(blank, base=means[0], head=means[1], delta=change.delta, low=low, high=high)
    return MetricResult(_with_change(metric, change), change)


def _compare_amounts(
    kind: MetricKind, base: list[Row], head: list[Row], limits: Limits
) -> MetricResult:
    gated = limits.max_rise is not None
    max_rise = limits.max_rise if limits.max_rise is not None else SHOWN_RISE
    blank = Metric(kind, kind, gated, "inconclusive", limit=max_rise)
    if limits.unpaired:
        return MetricResult(replace(blank, gated=False, reason="only compared for paired cases"))
    try:
        change = compare_rise(base, head, max_rise=max_rise)
    except NoValues:
        return MetricResult(replace(blank, reason="no case has a value on both sides"))
    means = _paired_means(base, head)
    low, high = _ratio(change.interval.high), _ratio(change.interval.low)
    metric = replace(
        blank, base=means[0], head=means[1], delta=change.ratio - 1.0, low=low, high=high
    )
    return MetricResult(_with_change(metric, change), change)


def _ratio(shift: float) -> float:
    """Convert a bound of the confidence interval to a relative rise (0.1 is 10 %).

    `shift` is the bound for -mean(log(head / base)). If `shift` is below -700, the result is
    infinity, because the rise would be too large for a float.
    """
    return math.inf if shift < -700 else math.exp(-shift) - 1.0


def _with_change(metric: Metric, change: MetricChange) -> Metric:
    detects = None if math.isinf(change.detects) else change.detects
    if detects is not None and metric.kind != "score":
        detects = math.exp(detects) - 1.0
    return replace(
        metric,
        outcome=change.outcome,
        p=change.p,
        adjusted=change.adjusted,
        detects=detects,
        cases=change.cases,
        samples=change.samples,
        missing=change.missing,
        method=change.interval.method,
    )


def _paired_means(base: Sequence[Row], head: Sequence[Row]) -> tuple[float, float]:
    """Return the mean of each side over the cases that have a value on both sides.

    All cases have the same weight, regardless of their number of samples.
    """
    rows = [(_known(old), _known(new)) for old, new in zip(base, head, strict=True)]
    means = [(sum(old) / len(old), sum(new) / len(new)) for old, new in rows if old and new]
    return sum(old for old, _ in means) / len(means), sum(new for _, new in means) / len(means)


def _mean(rows: Sequence[Row]) -> float:
    means = [sum(known) / len(known) for row in rows if (known := _known(row))]
    return sum(means) / len(means)


def _known(row: Row) -> Row:
    return [value for value in row if not math.isnan(value)]
