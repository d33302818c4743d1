"""Applies a policy (thresholds, weights and a gate) to scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.gates import decide
from loomgit.domain.records import Assessment, Score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.definitions import Evaluate
    from loomgit.domain.runs import Case
    from loomgit.domain.samples import Judgement, Sample


def weighted_score(
    judgements: Mapping[str, Judgement], weights: Mapping[str, float]
) -> float | None:
    """Return the weighted mean of the judgements. An evaluator without a weight has weight 1.

    The mean is None if a judgement has no value, because a mean of the other values would hide the
    missing value. It is also None if the sum of the weights is 0.
    """
    values = [
        (weights.get(name, 1.0), judgement.value)
        for name, judgement in judgements.items()
        if judgement.value is not None
    ]
    if len(values) < len(judgements):
        return None
    total = sum(weight for weight, _ in values)
    return sum(weight * value for weight, value in values) / total if total else None


def apply_policy(sample: Sample, evaluate: Evaluate) -> Sample:
    """Apply the thresholds, weights and gate of `evaluate` to a stored sample.

    The scores of the evaluators do not change. The weighted score, the thresholds and the decision
    of the gate may change. A lost sample does not change. For a sample with an unusable reply, only
    the weighted score changes.
    """
    if sample.lost or not sample.judgements:
        return sample
    specs = {spec.name: spec for spec in evaluate.evaluators}
    weights = {name: spec.weight for name, spec in specs.items()}
    score = weighted_score(sample.judgements, weights)
    if sample.trouble == "product":
        return replace(sample, score=score)
    judgements = {
        name: replace(judgement, threshold=specs[name].threshold) if name in specs else judgement
        for name, judgement in sample.judgements.items()
    }
    decision = decide(
        evaluate.gate,
        [
            _assessment(name, judgement, weights.get(name, 1.0))
            for name, judgement in judgements.items()
        ],
    )
    return replace(
        sample,
        judgements=judgements,
        score=score,
        passed=decision.passed,
        failure=decision.reason,
    )


def _assessment(name: str, judgement: Judgement, weight: float) -> Assessment:
    threshold = 0.0 if judgement.threshold is None else judgement.threshold
    if judgement.value is None:
        return Assessment(name, threshold, weight, error=judgement.reason)
    return Assessment(name, threshold, weight, score=Score(judgement.value, judgement.reason))


def count_passes(case: Case, evaluate: Evaluate) -> int:
    """Return the number of a case's samples that pass the thresholds and the gate of `evaluate`."""
    specs = [spec for spec in evaluate.evaluators if spec.name in case.scores]
    count = 0
    for index in range(case.samples):
        assessments = []
        for spec in specs:
            row = case.scores[spec.name]
            value = row[index] if index < len(row) else None
            score = None if value is None else Score(value, "")
            assessments.append(Assessment(spec.name, spec.threshold, spec.weight, score=score))
        count += decide(evaluate.gate, assessments).passed
    return count
