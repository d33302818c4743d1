"""The comparison of two sides of a pipeline: which cases answer the same question, how every metric
moved over them, and what follows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.comparison import (
    MOST_LOST,
    CaseChange,
    Limits,
    Measured,
    Metric,
    MetricKind,
    Outcome,
    PipelineComparison,
    lost_note,
    worst,
)
from loomgit.domain.judging import passes
from loomgit.domain.models import other_models
from loomgit.harness.differences import question_differences
from loomgit.stats.family import decide_family
from loomgit.stats.faults import NoValues
from loomgit.stats.gate import CONFIRMING, Change, compare, compare_rise, compare_unpaired
from loomgit.stats.samples import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.domain.definitions import Evaluate
    from loomgit.domain.runs import Case

SHOWN_RISE = 0.1  # where no `max_rise` gates cost and latency: the rise from which one would look
PASSES = "pass_rate"
OLD_FORMAT = "the results come from another version of Loom: --run-missing measures them again"
Row = list[float]


class Moved(Struct, frozen=True):
    """A metric with the change behind it, None where nothing could be compared."""

    metric: Metric
    change: Change | None = None


class Draft(Struct, frozen=True):
    """A pipeline's comparison before the metrics of all pipelines are decided together."""

    comparison: PipelineComparison
    moved: tuple[Moved, ...] = ()
    limits: Limits = field(default_factory=Limits)


def compare_sides(
    pipeline: str,
    base: Measured | None,
    head: Measured | None,
    limits: Limits,
    evaluate: Evaluate | None = None,
) -> Draft:
    """Compare what both sides measured of one pipeline. `decide` turns drafts into verdicts.

    Nothing is compared across different questions: where evaluators, judge or gate differ, the
    draft says which parts; a case whose own input or expectation differs leaves the gate. With
    `evaluate` its thresholds, weights and gate say which samples of both sides pass.
    """
    blank = PipelineComparison(
        pipeline,
        "inconclusive",
        strict=limits.strict,
        may_lose=limits.allow_removed or limits.unpaired,
        base=base.side if base else None,
        head=head.side if head else None,
    )
    if base is None or head is None:
        missing = [word for word, side in (("baseline", base), ("head", head)) if side is None]
        note = f"there are no results of the {' and of the '.join(missing)}"
        return Draft(replace(blank, notes=(note,)), limits=limits)
    differs = tuple(question_differences(base.question, head.question))
    if differs:
        old = differs[0].part == "evaluation format"
        found = replace(blank, outcome="not_comparable", differs=differs)
        return Draft(replace(found, notes=(OLD_FORMAT,)) if old else found, limits=limits)
    pairs = _Pairs(base.cases, head.cases)
    found = replace(
        blank,
        notes=tuple(_served(base, head)),
        compared=len(pairs.common),
        removed=pairs.removed,
        added=pairs.added,
        changed=pairs.changed,
        worse=pairs.moved(worse=True),
        better=pairs.moved(worse=False),
    )
    if not pairs.common and not limits.unpaired:
        notes = (*found.notes, "no case has results of the same question on both sides")
        return Draft(replace(found, outcome="not_comparable", notes=notes), limits=limits)
    return Draft(found, tuple(_metrics(base, head, pairs, limits, evaluate)), limits)


class _Pairs:
    """The cases of both sides, sorted by whether they can be compared."""

    def __init__(self, base: Mapping[str, Case], head: Mapping[str, Case]) -> None:
        both = [name for name in base if name in head]
        self.base, self.head = base, head
        self.common = [n for n in both if base[n].definition == head[n].definition]
        self.changed = tuple(n for n in both if base[n].definition != head[n].definition)
        self.removed = tuple(name for name in base if name not in head)
        self.added = tuple(name for name in head if name not in base)

    def moved(self, *, worse: bool) -> tuple[CaseChange, ...]:
        """The cases whose mean score moved one way, farthest first."""
        found: list[CaseChange] = []
        for name in self.common:
            one, two = _means(self.base[name]), _means(self.head[name])
            scores = {e: (one[e], two[e]) for e in one if e in two}
            if not scores:
                continue
            before = sum(pair[0] for pair in scores.values()) / len(scores)
            after = sum(pair[1] for pair in scores.values()) / len(scores)
            if abs(after - before) > ROUNDING and (after < before) == worse:
                found.append(CaseChange(name, before, after, scores))
        return tuple(sorted(found, key=lambda change: -abs(change.delta)))


def _means(case: Case) -> dict[str, float]:
    means: dict[str, float] = {}
    for name, values in case.scores.items():
        given = [value for value in values if value is not None]
        if given:
            means[name] = sum(given) / len(given)
    return means


def _metrics(
    base: Measured, head: Measured, pairs: _Pairs, limits: Limits, evaluate: Evaluate | None
) -> Iterable[Moved]:
    one, two = _sides(pairs, limits)
    names = dict.fromkeys(name for case in (*one, *two) for name in case.scores)
    for name in names:
        served = (side.judges.get(name, ()) for side in (base, head))
        if reason := judges_differ(*served):
            yield Moved(Metric(name, "score", True, "not_comparable", reason=reason))
        else:
            rows = [_row(case, name) for case in one], [_row(case, name) for case in two]
            yield _score(name, *(rows if limits.unpaired else _judged(*rows)), limits)
    before, after = ([_passes(case, evaluate) for case in cases] for cases in (one, two))
    yield _score(PASSES, before, after, limits, gated=False)
    kinds: tuple[MetricKind, ...] = ("cost", "latency")
    for kind in kinds:
        yield _rise(kind, [_amount(c, kind) for c in one], [_amount(c, kind) for c in two], limits)


def _served(base: Measured, head: Measured) -> Iterable[str]:
    """What to say of the models that answered, by the names that they were served under."""
    for word, side in (("base", base), ("head", head)):
        if other := other_models(side.side.model, side.served):
            yield f"{word}: {side.side.model} was answered by {' and '.join(other)}"
    before, now = (" and ".join(sorted(side.served)) for side in (base, head))
    if before and now and before != now and base.side.model == head.side.model:
        yield f"the model as served differs: {before} -> {now}"


def judges_differ(base: Iterable[str], head: Iterable[str]) -> str:
    """In one line, that other models judged the head than the base; empty if not, or not known."""
    before, now = sorted(set(base)), sorted(set(head))
    if not before or not now or before == now:
        return ""
    return f"the judge as served differs: {' and '.join(before)} -> {' and '.join(now)}"


def _sides(pairs: _Pairs, limits: Limits) -> tuple[list[Case], list[Case]]:
    if limits.unpaired:
        return list(pairs.base.values()), list(pairs.head.values())
    return [pairs.base[n] for n in pairs.common], [pairs.head[n] for n in pairs.common]


def _row(case: Case, name: str) -> Row:
    return [math.nan if value is None else value for value in case.scores.get(name, [])]


def _judged(base: list[Row], head: list[Row]) -> tuple[list[Row], list[Row]]:
    """Without the cases that the evaluator has no word on; where it has one on one side only, the
    other's is missing."""
    pairs = [(one, two) for one, two in zip(base, head, strict=True) if one or two]
    return [one or [math.nan] for one, _ in pairs], [two or [math.nan] for _, two in pairs]


def _passes(case: Case, evaluate: Evaluate | None) -> Row:
    """One 0 or 1 a sample; nothing of a case whose samples were all lost."""
    given = [values for values in case.scores.values() if any(v is not None for v in values)]
    unanswered = not case.passed and case.latency is None  # no reply, so nothing was judged at all
    if not given and (case.scores or unanswered):
        return []
    passed = case.passed if evaluate is None else passes(case, evaluate)
    return [1.0] * passed + [0.0] * (case.samples - passed)


def _amount(case: Case, kind: MetricKind) -> Row:
    value = case.cost if kind == "cost" else case.latency
    return [] if value is None else [value]


def _score(
    name: str, base: list[Row], head: list[Row], limits: Limits, *, gated: bool = True
) -> Moved:
    blank = Metric(name, "score", gated, "inconclusive", limit=limits.max_drop)
    try:
        if limits.unpaired:
            change = compare_unpaired(base, head, max_drop=limits.max_drop)
        else:
            change = compare(base, head, max_drop=limits.max_drop, scope=limits.scope)
    except NoValues:
        return Moved(replace(blank, reason="no case has a score on both sides"))
    means = _paired_means(base, head) if not limits.unpaired else (_mean(base), _mean(head))
    metric = replace(
        blank,
        base=means[0],
        head=means[1],
        delta=change.delta,
        low=change.interval.low,
        high=change.interval.high,
    )
    return Moved(_filled(metric, change), change)


def _rise(kind: MetricKind, base: list[Row], head: list[Row], limits: Limits) -> Moved:
    gated = limits.max_rise is not None
    most = limits.max_rise if limits.max_rise is not None else SHOWN_RISE
    blank = Metric(kind, kind, gated, "inconclusive", limit=most)
    if limits.unpaired:
        return Moved(replace(blank, gated=False, reason="compared by pairs alone"))
    try:
        change = compare_rise(base, head, max_rise=most)
    except NoValues:
        return Moved(replace(blank, reason="not known on both sides"))
    means = _paired_means(base, head)
    metric = replace(
        blank,
        base=means[0],
        head=means[1],
        delta=change.ratio - 1.0,
        low=_ratio(change.interval.high),
        high=_ratio(change.interval.low),
    )
    return Moved(_filled(metric, change), change)


def _ratio(shift: float) -> float:
    """A bound of minus the mean log ratio as a share; one that is not known stays infinite."""
    return math.inf if shift < -700 else math.exp(-shift) - 1.0


def _filled(metric: Metric, change: Change) -> Metric:
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
    """Both sides' means over the cases that have a value on both, cases weighing alike."""
    rows = [(_given(one), _given(two)) for one, two in zip(base, head, strict=True)]
    both = [(sum(a) / len(a), sum(b) / len(b)) for a, b in rows if a and b]
    return sum(a for a, _ in both) / len(both), sum(b for _, b in both) / len(both)


def _mean(rows: Sequence[Row]) -> float:
    means = [sum(given) / len(given) for row in rows if (given := _given(row))]
    return sum(means) / len(means)


def _given(row: Row) -> Row:
    return [value for value in row if not math.isnan(value)]


def decide(drafts: Sequence[Draft]) -> list[PipelineComparison]:
    """The verdicts of one gate run: the p-values of all gated metrics of all pipelines are adjusted
    as one family (Benjamini and Hochberg), then each pipeline has the worst outcome of its own."""
    gated = [m for d in drafts for m in d.moved if m.metric.gated and m.change is not None]
    changes = decide_family([m.change for m in gated if m.change]) if gated else ()
    decided = {id(moved): change for moved, change in zip(gated, changes, strict=True)}
    return [_decided(draft, decided) for draft in drafts]


def confirmed(found: PipelineComparison, again: PipelineComparison) -> PipelineComparison:
    """The comparison after both sides were drawn again: what had degraded stays so only where the
    second draws agree (one-sided p <= 0.25; without a real change 1.3 % of gates block then)."""
    second = {metric.name: metric for metric in again.metrics}
    metrics = [
        _confirmed(metric, second.get(metric.name)) if metric.gated else metric
        for metric in found.metrics
    ]
    outcome = worst([metric.outcome for metric in metrics if metric.gated])
    return replace(found, metrics=tuple(metrics), outcome=outcome)


def _confirmed(metric: Metric, again: Metric | None) -> Metric:
    if metric.outcome != "degraded" or again is None or again.p is None:
        return metric
    if again.p <= CONFIRMING:
        return replace(metric, reason=f"measured again, and confirmed (p = {again.p:.2g})")
    reason = f"measured again, and not confirmed (p = {again.p:.2g})"
    return replace(metric, outcome="inconclusive", reason=reason)


def _decided(draft: Draft, decided: Mapping[int, Change]) -> PipelineComparison:
    if not draft.moved:
        return draft.comparison
    limits, notes = draft.limits, list(draft.comparison.notes)
    metrics = []
    for moved in draft.moved:
        change = decided.get(id(moved))
        metric = moved.metric
        if change is not None:
            metric = replace(metric, outcome=change.outcome, adjusted=change.adjusted)
            if change.identical and change.outcome == "inconclusive":
                metric = replace(metric, reason=f"no difference in {_counted(change.cases)}")
            metric = _trusted(metric, change, limits)
        metrics.append(metric)
    gated = [metric.outcome for metric in metrics if metric.gated]
    outcome = worst(gated) if gated else "inconclusive"
    if not gated:
        notes.append("no evaluator judges: there is nothing to gate")
    lost = 0.0 if limits.unpaired else draft.comparison.lost
    if lost > MOST_LOST and not limits.allow_removed and outcome != "degraded":
        outcome = "inconclusive" if outcome != "not_comparable" else outcome
        notes.append(lost_note(lost))
    if limits.unpaired:
        notes.append("unpaired: the sides may have different cases, which sees far less")
    return replace(draft.comparison, metrics=tuple(metrics), outcome=outcome, notes=tuple(notes))


def _counted(cases: int) -> str:
    return f"{cases:,} case{'s' if cases != 1 else ''}"


def _trusted(metric: Metric, change: Change, limits: Limits) -> Metric:
    """The metric, inconclusive if too many samples of a side have no score."""
    if change.missing_share <= limits.max_error_rate:
        return metric
    share = f"{change.missing_share:.0%} of a side"
    reason = f"{change.missing} samples ({share}) have no score: measure them again"
    outcome: Outcome = "degraded" if metric.outcome == "degraded" else "inconclusive"
    return replace(metric, outcome=outcome, reason=reason)
