"""The regression gate: compares the results of two versions of a pipeline.

It pairs the cases, compares each metric over them, and decides. Tests, the Python fixture,
`loom compare`, the hooks and `loom ci` use it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.comparison.differences import question_differences
from loomgit.domain.comparison import (
    MAX_LOST_SHARE,
    CaseChange,
    Limits,
    MeasuredSide,
    Metric,
    MetricKind,
    Outcome,
    PipelineComparison,
    lost_note,
    worst_outcome,
)
from loomgit.domain.judging import count_passes
from loomgit.domain.models import other_models
from loomgit.domain.pairing import PairedCases, pair_cases
from loomgit.stats.errors import NoValues
from loomgit.stats.gate import CONFIRMATION_P, MetricChange, compare, compare_rise, compare_unpaired
from loomgit.stats.multiple_testing import decide_family
from loomgit.stats.samples import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from loomgit.domain.definitions import Evaluate
    from loomgit.domain.runs import Case

SHOWN_RISE = 0.1  # the limit for cost and latency if `max_rise` is not set
PASSES = "pass_rate"
OLD_FORMAT = "the results come from another version of Loom: --run-missing measures them again"
UNPAIRED = "unpaired: the sides may have different cases, so only large changes are detected"
Row = list[float]


class MetricResult(Struct, frozen=True):
    """A metric with its change. `change` is None if the metric could not be compared."""

    metric: Metric
    change: MetricChange | None = None


class ComparisonDraft(Struct, frozen=True):
    """The comparison of one pipeline, before `decide` decides all pipelines together."""

    comparison: PipelineComparison
    results: tuple[MetricResult, ...] = ()
    limits: Limits = field(default_factory=Limits)


def compare_sides(
    pipeline: str,
    base: MeasuredSide | None,
    head: MeasuredSide | None,
    limits: Limits,
    evaluate: Evaluate | None = None,
) -> ComparisonDraft:
    """Compare the results of both sides of one pipeline. `decide` turns drafts into outcomes.

    If the evaluators, the judge or the gate differ, nothing is compared, and the draft lists the
    differences. A case with a different input or expectation does not count. If `evaluate` is
    given, its thresholds, weights and gate decide which samples of both sides pass.
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
        missing = [name for name, side in (("baseline", base), ("head", head)) if side is None]
        note = f"there are no results of the {' and of the '.join(missing)}"
        return ComparisonDraft(replace(blank, notes=(note,)), limits=limits)
    differs = tuple(question_differences(base.question, head.question))
    if differs:
        comparison = replace(blank, outcome="not_comparable", differs=differs)
        if differs[0].part == "evaluation format":
            comparison = replace(comparison, notes=(OLD_FORMAT,))
        return ComparisonDraft(comparison, limits=limits)
    pairs = pair_cases(base.cases, head.cases)
    comparison = replace(
        blank,
        notes=tuple(_model_notes(base, head)),
        compared=len(pairs.common),
        removed=pairs.removed,
        added=pairs.added,
        changed=pairs.changed,
        worse=_changed_cases(base.cases, head.cases, pairs.common, worse=True),
        better=_changed_cases(base.cases, head.cases, pairs.common, worse=False),
    )
    if not pairs.common and not limits.unpaired:
        notes = (*comparison.notes, "no case has results of the same question on both sides")
        comparison = replace(comparison, outcome="not_comparable", notes=notes)
        return ComparisonDraft(comparison, limits=limits)
    results = tuple(_compare_metrics(base, head, pairs, limits, evaluate))
    return ComparisonDraft(comparison, results, limits)


def with_own_cases(
    base: MeasuredSide, *, added: Collection[str], changed: Collection[str]
) -> MeasuredSide:
    """Return the baseline's results, restricted to the cases that its own tests define.

    A case that the head `added` does not count, because many easy new cases would hide losses in
    other cases. A case that the head `changed` keeps its results but loses its definition, so the
    case counts as changed.
    """
    cases = {
        name: replace(case, definition="") if name in changed else case
        for name, case in base.cases.items()
        if name not in added
    }
    return replace(base, cases=cases)


def _changed_cases(
    base: Mapping[str, Case], head: Mapping[str, Case], names: Iterable[str], *, worse: bool
) -> tuple[CaseChange, ...]:
    """Return the cases whose mean score changed in one direction, largest change first."""
    changes: list[CaseChange] = []
    for name in names:
        before, after = _means(base[name]), _means(head[name])
        scores = {metric: (before[metric], after[metric]) for metric in before if metric in after}
        if not scores:
            continue
        old = sum(pair[0] for pair in scores.values()) / len(scores)
        new = sum(pair[1] for pair in scores.values()) / len(scores)
        if abs(new - old) > ROUNDING and (new < old) == worse:
            changes.append(CaseChange(name, old, new, scores))
    return tuple(sorted(changes, key=lambda change: -abs(change.delta)))


def _means(case: Case) -> dict[str, float]:
    means: dict[str, float] = {}
    for name, values in case.scores.items():
        known = [value for value in values if value is not None]
        if known:
            means[name] = sum(known) / len(known)
    return means


def _compare_metrics(
    base: MeasuredSide,
    head: MeasuredSide,
    pairs: PairedCases,
    limits: Limits,
    evaluate: Evaluate | None,
) -> Iterable[MetricResult]:
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
        amounts = [_amount(c, kind) for c in before], [_amount(c, kind) for c in after]
        yield _compare_amounts(kind, *amounts, limits)


def _model_notes(base: MeasuredSide, head: MeasuredSide) -> Iterable[str]:
    """Yield notes about the models that answered, by the names that the providers report."""
    for name, side in (("base", base), ("head", head)):
        if other := other_models(side.side.model, side.served):
            yield f"{name}: requests for {side.side.model} were answered by {' and '.join(other)}"
    before, after = (" and ".join(sorted(side.served)) for side in (base, head))
    if before and after and before != after and base.side.model == head.side.model:
        yield f"the model as served differs: {before} -> {after}"


def judges_differ(base: Iterable[str], head: Iterable[str]) -> str:
    """Return a line if the judges of the sides differ, or "" if they are equal or unknown."""
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
    """Return the rows without the cases that the evaluator judged on neither side.

    If it judged a case on one side only, the other side has one missing score.
    """
    pairs = [pair for pair in zip(base, head, strict=True) if any(pair)]
    return [old or [math.nan] for old, _ in pairs], [new or [math.nan] for _, new in pairs]


def _passes(case: Case, evaluate: Evaluate | None) -> Row:
    """Return 1 for each sample that passes, else 0. The row is empty if all samples are lost."""
    known = [values for values in case.scores.values() if any(v is not None for v in values)]
    unanswered = not case.passed and case.latency is None  # without a reply, nothing is judged
    if not known and (case.scores or unanswered):
        return []
    passed = case.passed if evaluate is None else count_passes(case, evaluate)
    return [1.0] * passed + [0.0] * (case.samples - passed)


def _amount(case: Case, kind: MetricKind) -> Row:
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
    """Convert a bound of minus the mean log ratio to a share. An unknown bound stays infinite."""
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
    """Return the means of both sides over the cases with a value on both. Cases weigh equally."""
    rows = [(_known(old), _known(new)) for old, new in zip(base, head, strict=True)]
    means = [(sum(old) / len(old), sum(new) / len(new)) for old, new in rows if old and new]
    return sum(old for old, _ in means) / len(means), sum(new for _, new in means) / len(means)


def _mean(rows: Sequence[Row]) -> float:
    means = [sum(known) / len(known) for row in rows if (known := _known(row))]
    return sum(means) / len(means)


def _known(row: Row) -> Row:
    return [value for value in row if not math.isnan(value)]


def decide(drafts: Sequence[ComparisonDraft]) -> list[PipelineComparison]:
    """Decide the comparisons of all pipelines together.

    The p-values of all gated metrics of all pipelines are adjusted as one family (Benjamini and
    Hochberg). Then each pipeline has the worst outcome of its own metrics.
    """
    gated = [r for draft in drafts for r in draft.results if r.metric.gated and r.change]
    changes = decide_family([result.change for result in gated if result.change]) if gated else ()
    decided = {id(result): change for result, change in zip(gated, changes, strict=True)}
    return [_decide_pipeline(draft, decided) for draft in drafts]


def confirm(first: PipelineComparison, second: PipelineComparison) -> PipelineComparison:
    """Return the first comparison, corrected by a second comparison that uses new samples.

    A metric stays degraded only if the new samples agree (one-sided p <= 0.25). If nothing has
    really changed, 1.3 % of gates still block.
    """
    second_metrics = {metric.name: metric for metric in second.metrics}
    metrics = [
        _confirm(metric, second_metrics.get(metric.name)) if metric.gated else metric
        for metric in first.metrics
    ]
    outcome = worst_outcome([metric.outcome for metric in metrics if metric.gated])
    return replace(first, metrics=tuple(metrics), outcome=outcome)


def without_confirmation(comparison: PipelineComparison, reason: str) -> PipelineComparison:
    """Return the comparison if both sides could not be drawn again.

    Degraded metrics stay degraded. The comparison has the `reason` why they are not confirmed.
    """
    metrics = tuple(
        replace(metric, reason=f"not confirmed: {reason}")
        if metric.gated and metric.outcome == "degraded"
        else metric
        for metric in comparison.metrics
    )
    return replace(comparison, metrics=metrics)


def _confirm(metric: Metric, again: Metric | None) -> Metric:
    if metric.outcome != "degraded" or again is None or again.p is None:
        return metric
    if again.p <= CONFIRMATION_P:
        return replace(metric, reason=f"measured again, and confirmed (p = {again.p:.2g})")
    reason = f"measured again, and not confirmed (p = {again.p:.2g})"
    return replace(metric, outcome="inconclusive", reason=reason)


def _decide_pipeline(
    draft: ComparisonDraft, decided: Mapping[int, MetricChange]
) -> PipelineComparison:
    if not draft.results:
        return draft.comparison
    limits, notes = draft.limits, list(draft.comparison.notes)
    metrics = []
    for result in draft.results:
        change = decided.get(id(result))
        metric = result.metric
        if change is not None:
            metric = replace(metric, outcome=change.outcome, adjusted=change.adjusted)
            if change.identical and change.outcome == "inconclusive":
                metric = replace(metric, reason=f"no difference in {_count_cases(change.cases)}")
            metric = _check_missing(metric, change, limits)
        metrics.append(metric)
    gated = [metric.outcome for metric in metrics if metric.gated]
    outcome = worst_outcome(gated) if gated else "inconclusive"
    if not gated:
        notes.append("the gate has no metrics: no case has a score")
    lost = 0.0 if limits.unpaired else draft.comparison.lost
    if lost > MAX_LOST_SHARE and not limits.allow_removed and outcome != "degraded":
        outcome = "inconclusive" if outcome != "not_comparable" else outcome
        notes.append(lost_note(lost))
    if limits.unpaired:
        notes.append(UNPAIRED)
    return replace(draft.comparison, metrics=tuple(metrics), outcome=outcome, notes=tuple(notes))


def _count_cases(cases: int) -> str:
    return f"{cases:,} case{'s' if cases != 1 else ''}"


def _check_missing(metric: Metric, change: MetricChange, limits: Limits) -> Metric:
    """Return the metric, made inconclusive if too many scores are missing, unless it is
    degraded."""
    if change.missing_share <= limits.max_error_rate:
        return metric
    share = f"{change.missing_share:.0%} of a side"
    reason = f"{change.missing} samples ({share}) have no score: measure them again"
    outcome: Outcome = "degraded" if metric.outcome == "degraded" else "inconclusive"
    return replace(metric, outcome=outcome, reason=reason)
