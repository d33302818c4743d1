"""Summarizes the samples of a test session for a run file: cases, scores, cost and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.comparison import cases_by_id
from loomgit.domain.models import Usage
from loomgit.domain.runs import Cost, Performance, Results, ScoreSummary
from loomgit.domain.samples import stored_cases
from loomgit.stats.summary import Moments, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.runs import Case, Cause, Status
    from loomgit.domain.samples import CaseSamples, Sample


def _value(sample: Sample, name: str) -> float | None:
    judgement = sample.judgements.get(name)
    return judgement.value if judgement is not None else None


def judge_models(cases: Iterable[CaseSamples]) -> dict[str, list[str]]:
    """Map each evaluator's name to the sorted names of the models that it used as judges.

    Evaluators that do not call a model are left out.
    """
    judges: dict[str, set[str]] = {}
    for case in cases:
        for sample in case.samples:
            for name, judgement in sample.judgements.items():
                if judgement.judge is not None:
                    judges.setdefault(name, set()).add(judgement.judge)
    return {name: sorted(models) for name, models in judges.items()}


def served_models(cases: Iterable[CaseSamples]) -> list[str]:
    """Return the sorted names of the models that answered the prompt, as providers report them."""
    models = {sample.model for case in cases for sample in case.samples}
    return sorted(models - {""})


def evaluation_of(
    cases: Iterable[CaseSamples], evaluators: Iterable[EvaluatorSpec]
) -> dict[str, ScoreSummary]:
    """Return the score statistics over all samples, by evaluator name."""
    thresholds = {spec.name: spec.threshold for spec in evaluators}
    moments = {name: Moments() for name in thresholds}
    errors, passed = dict.fromkeys(thresholds, 0), dict.fromkeys(thresholds, 0)
    for case in cases:
        for sample in case.samples:
            for name, threshold in thresholds.items():
                value = _value(sample, name)
                if value is None:
                    errors[name] += name in sample.judgements
                else:
                    moments[name].add(value)
                    passed[name] += value >= threshold
    return {
        name: ScoreSummary(
            mean=scores.mean,
            std=scores.std,
            min=scores.min if scores.n else None,
            max=scores.max if scores.n else None,
            n=scores.n,
            errors=errors[name],
            threshold=thresholds[name],
            passed=passed[name],
        )
        for name, scores in moments.items()
    }


def cost_of(cases: Iterable[CaseSamples]) -> Cost:
    """Return the cost of the samples in USD. Reused samples cost nothing, because an earlier run
    paid for them."""
    drawn = [sample for case in cases for sample in case.samples if not sample.reused]
    usage = sum((sample.usage for sample in drawn), Usage())
    unpriced = sum(sample.calls for sample in drawn if sample.cost is None)
    known = sum(sample.cost or 0.0 for sample in drawn)
    judged = sum(sample.judge_cost or 0.0 for sample in drawn)
    return Cost(
        total=None if unpriced else known,
        known=known,
        breakdown={
            "transform": None if unpriced else known - judged,
            "evaluate": None if any(s.judge_cost is None for s in drawn) else judged,
        },
        tokens={"input": usage.input, "output": usage.output, "cached": usage.cached},
        calls=sum(sample.calls for sample in drawn),
        cached=sum(sample.cached for sample in drawn),
        unpriced=unpriced,
    )


def performance_of(cases: Iterable[CaseSamples], duration: float) -> Performance:
    """Return the session's wall time (`duration`) and the percentiles of the sample latencies.

    All times are in seconds. Reused samples are left out of the percentiles.
    """
    latencies = sorted(
        sample.latency
        for case in cases
        for sample in case.samples
        if sample.latency is not None and not sample.reused
    )
    latency = {f"p{q}": percentile(latencies, q) for q in (50, 95, 99)}
    return Performance(duration, latency, {})


def results_of(cases: Sequence[CaseSamples], status: Status, cause: Cause, message: str) -> Results:
    """Return the results of a test session. Each case with samples counts as one record.

    A case is validated if all its samples passed the quality gate, and failed if a sample is lost.
    """
    cases = [case for case in cases if case.samples]
    validated = sum(all(s.passed for s in case.samples) for case in cases)
    lost = sum(any(s.lost for s in case.samples) for case in cases)
    reasons: dict[str, int] = {}
    for case in cases:
        for sample in case.samples:
            if sample.failure:
                reasons[sample.failure] = reasons.get(sample.failure, 0) + 1
    common = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    return Results(
        status=status,
        records_processed=len(cases),
        records_validated=validated,
        records_rejected=len(cases) - validated,
        rejection_rate=(len(cases) - validated) / len(cases) if cases else 0.0,
        records_failed=lost,
        records_evaluated=len(cases) - lost,
        reasons=dict(common),
        cause=cause,
        message=message,
    )


def side_cases(cases: Iterable[CaseSamples]) -> Mapping[str, Case]:
    """Return the cases of one side of a comparison, by id."""
    return cases_by_id(stored_cases(list(cases)))
