"""The regression gate: compares the results of two versions of a pipeline.

The gate pairs the cases of both versions, compares each metric over the pairs, and decides the
outcome. Tests, the Python fixture, `loom compare`, the Git hooks and `loom ci` use this gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.comparison.differences import question_differences
from loomgit.comparison.metrics import MetricResult, compare_metrics
from loomgit.domain.comparison import (
    MAX_LOST_SHARE,
    CaseChange,
    Limits,
    MeasuredSide,
    Metric,
    Outcome,
    PipelineComparison,
    lost_note,
    worst_outcome,
)
from loomgit.domain.models import other_models
from loomgit.domain.pairing import pair_cases
from loomgit.stats.gate import CONFIRMATION_P, MetricChange
from loomgit.stats.multiple_testing import decide_family
from loomgit.stats.samples import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from loomgit.domain.definitions import Evaluate
    from loomgit.domain.runs import Case

OLD_FORMAT = "the results come from another version of Loom: --run-missing measures them again"
UNPAIRED = "unpaired: the sides may have different cases, so only large changes are detected"


class ComparisonDraft(Struct, frozen=True):
    """The comparison of one pipeline before its outcome is decided.

    `decide` needs the drafts of all pipelines, because it adjusts their p-values together.
    `results` has one result for each metric. It is empty if the sides cannot be compared.
    """

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
    """Compare the results of both sides of one pipeline. `decide` later decides the outcome.

    If the evaluators, their code or the judge differ, nothing is compared, and the result lists the
    differences. Cases with a different input or expectation are not compared. If `evaluate` is
    given, its thresholds and gate decide which samples of both sides pass.
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
    results = tuple(compare_metrics(base, head, pairs, limits, evaluate))
    return ComparisonDraft(comparison, results, limits)


def with_own_cases(
    base: MeasuredSide, *, added: Collection[str], changed: Collection[str]
) -> MeasuredSide:
    """Return the baseline's results for only those cases that the baseline's own tests contain.

    `added` are the cases that the head added. They are left out, because many easy new cases would
    hide losses in other cases. `changed` are the cases that the head changed. Their results remain,
    but their definition becomes empty, so that the comparison reports them as changed.
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
    """Return the cases whose mean score differs between `base` and `head`, largest change first.

    If `worse` is true, these are the cases with a lower score in `head`, else those with a higher
    score. The mean is taken over the evaluators that scored the case on both sides.
    """
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


def _model_notes(base: MeasuredSide, head: MeasuredSide) -> Iterable[str]:
    """Yield a note for each side whose replies came from a model that was not requested.

    If both sides requested the same model, but different models answered, also yield a note about
    this difference.
    """
    for name, side in (("base", base), ("head", head)):
        if other := other_models(side.side.model, side.served):
            yield f"{name}: requests for {side.side.model} were answered by {' and '.join(other)}"
    before, after = (" and ".join(sorted(side.served)) for side in (base, head))
    requested = base.side.model  # empty if a program transforms the records
    if requested and requested == head.side.model and before and after and before != after:
        yield f"the model as served differs: {before} -> {after}"


def decide(drafts: Sequence[ComparisonDraft]) -> list[PipelineComparison]:
    """Decide the outcomes of all drafts together.

    The p-values of all gated metrics in all pipelines are adjusted together (Benjamini and
    Hochberg). The outcome of a pipeline is the worst outcome of its gated metrics. If too many
    cases were removed or changed, the outcome is inconclusive at best.
    """
    gated = [r for draft in drafts for r in draft.results if r.metric.gated and r.change]
    changes = decide_family([result.change for result in gated if result.change]) if gated else ()
    decided = {id(result): change for result, change in zip(gated, changes, strict=True)}
    return [_decide_pipeline(draft, decided) for draft in drafts]


def confirm(first: PipelineComparison, second: ComparisonDraft) -> PipelineComparison:
    """Return the first comparison, corrected by a second comparison that uses new samples.

    A degraded metric becomes inconclusive if the new samples do not show the drop (one-sided p >
    0.25). It stays degraded if too many of the new samples are missing. If both versions are
    equally good, the probability that the gate still blocks is 1.3 % (5 % x 25 %).
    """
    second_results = {_identity(result.metric): result for result in second.results}
    metrics = [
        _confirm(metric, second_results.get(_identity(metric)), second.limits)
        if metric.gated and metric.outcome == "degraded"
        else metric
        for metric in first.metrics
    ]
    outcome = worst_outcome([metric.outcome for metric in metrics if metric.gated])
    return replace(first, metrics=tuple(metrics), outcome=outcome)


def _identity(metric: Metric) -> tuple[str, bool, str]:
    """Return the kind, the gated flag and the name of a metric, which together identify it.

    The name is not sufficient, because an evaluator may be named `cost`, `latency` or `pass_rate`.
    """
    return metric.kind, metric.gated, metric.name


def without_confirmation(comparison: PipelineComparison, reason: str) -> PipelineComparison:
    """Return the comparison, with its degraded metrics marked as not confirmed.

    Use this function if no new samples could be drawn; `reason` states why. The degraded metrics
    stay degraded, and their reason becomes `not confirmed:`, followed by `reason`.
    """
    metrics = tuple(
        replace(metric, reason=f"not confirmed: {reason}")
        if metric.gated and metric.outcome == "degraded"
        else metric
        for metric in comparison.metrics
    )
    return replace(comparison, metrics=metrics)


def _confirm(metric: Metric, again: MetricResult | None, limits: Limits) -> Metric:
    if again is None or again.change is None:
        return metric
    change = again.change
    if change.missing_share > limits.max_error_rate:
        return replace(metric, reason=f"not confirmed: {_missing_values(again.metric, change)}")
    if change.p <= CONFIRMATION_P:
        return replace(metric, reason=f"measured again, and confirmed (p = {change.p:.2g})")
    reason = f"measured again, and not confirmed (p = {change.p:.2g})"
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
    """Return the metric, which becomes inconclusive if too many of its values are missing.

    A degraded metric stays degraded.
    """
    if change.missing_share <= limits.max_error_rate:
        return metric
    reason = f"{_missing_values(metric, change)}: measure them again"
    outcome: Outcome = "degraded" if metric.outcome == "degraded" else "inconclusive"
    return replace(metric, outcome=outcome, reason=reason)


def _missing_values(metric: Metric, change: MetricChange) -> str:
    """Return the part of a message that states the number of samples without a value."""
    noun = "score" if metric.kind == "score" else metric.kind
    return f"{change.missing} samples ({change.missing_share:.0%} of a side) have no {noun}"
