"""A sample: one record taken through transform and evaluate, as a test sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.judging import weighted_score
from loomgit.domain.models import Usage
from loomgit.domain.samples import Judgement, Sample
from loomgit.pipeline.tally import lowest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.records import Assessment, Failure, Outcome, Record, Trouble
    from loomgit.pipeline.stages import Stages


class Sampler:
    """Draws samples: no retry, no fallback, every record evaluated, so that a prompt is seen as it
    is. `weights` are those of the evaluators, by name."""

    def __init__(self, stages: Stages, weights: Mapping[str, float]) -> None:
        self._stages = stages
        self._weights = weights

    async def draw(self, record: Record, index: int) -> Sample:
        """The `index`-th reply to a record, judged. Raises Denied; all else is in the sample."""
        return self._sample(await self._stages.attempt(record, sample=index), index)

    def _sample(self, outcome: Outcome, index: int) -> Sample:
        output, failure = outcome.output, outcome.failure
        judgements = {
            a.name: Judgement(
                value=lowest(a),
                reason=a.score.reason if a.score else a.error or "",
                judge=a.score.judge if a.score else None,
                infrastructure=a.trouble in ("infrastructure", "unrecorded"),
                threshold=a.threshold,
            )
            for a in outcome.assessments
        }
        trouble = _trouble(failure)
        if trouble == "product" and not judgements and failure is not None:
            judgements = {name: Judgement(0.0, failure.reason) for name in self._weights}
        bills = [_bill(assessment) for assessment in outcome.assessments]
        judged = [bill for bill in bills if bill is not None]
        costs = [None if output is None else output.cost, *(cost for _, cost, _ in judged)]
        usage = sum((used for used, _, _ in judged), output.usage if output else Usage())
        return Sample(
            index=index,
            output=output.fields if output else {},
            text=output.text if output else "",
            model=output.model if output else "",
            judgements=judgements,
            score=None
            if trouble in ("infrastructure", "unrecorded")
            else weighted_score(judgements, self._weights),
            passed=failure is None,
            trouble=trouble,
            failure=failure.reason if failure else "",
            usage=usage,
            cost=_sum(costs),
            judge_cost=_sum([cost for _, cost, _ in judged]),
            latency=output.latency if output else None,
            calls=(output.calls if output else 0) + sum(calls for _, _, calls in judged),
            cached=output.cached if output else False,
        )


def _bill(assessment: Assessment) -> tuple[Usage, float | None, int] | None:
    """Tokens, USD and calls of a score, or of what was asked for one in vain."""
    score, spent = assessment.score, assessment.spent
    if score is not None:
        return score.usage, score.cost, score.calls
    return None if spent is None else (spent.usage, spent.cost, spent.made)


def _sum(costs: list[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _trouble(failure: Failure | None) -> Trouble:
    if failure is None:
        return ""
    if failure.unrecorded:
        return "unrecorded"
    if failure.infrastructure:
        return "infrastructure"
    return "product" if failure.stage in ("transform", "load") else ""
