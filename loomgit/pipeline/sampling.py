"""Draw samples for tests. For each sample, a record passes through transform and evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.judging import weighted_score
from loomgit.domain.models import Usage
from loomgit.domain.samples import Judgement, Sample
from loomgit.pipeline.run_statistics import comparable_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.records import Assessment, Record, RecordFailure, RecordOutcome, Trouble
    from loomgit.pipeline.stages import Stages


class Sampler:
    """Draws samples for tests, without the pipeline's retries and fallback.

    A sample therefore measures the prompt itself. `stages` must evaluate every record. `weights`
    maps the names of the evaluators to their weights.
    """

    def __init__(self, stages: Stages, weights: Mapping[str, float]) -> None:
        self._stages = stages
        self._weights = weights

    async def draw(self, record: Record, index: int) -> Sample:
        """Draw a sample: a reply to the record, and the judgements of this reply.

        `index` is the number of the reply to this record, counted from 0. Raises Denied if a
        provider denies all calls. All other failures are part of the sample.
        """
        return self._sample(await self._stages.attempt(record, sample=index), index)

    def _sample(self, outcome: RecordOutcome, index: int) -> Sample:
        output, failure = outcome.output, outcome.failure
        judgements = {
            a.name: Judgement(
                value=comparable_score(a),
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
        judge_bills = [bill for bill in bills if bill is not None]
        costs = [None if output is None else output.cost, *(cost for _, cost, _ in judge_bills)]
        usage = sum((tokens for tokens, _, _ in judge_bills), output.usage if output else Usage())
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
            judge_cost=_sum([cost for _, cost, _ in judge_bills]),
            latency=output.latency if output else None,
            calls=(output.calls if output else 0) + sum(calls for _, _, calls in judge_bills),
            cached=output.cached if output else False,
        )


def _bill(assessment: Assessment) -> tuple[Usage, float | None, int] | None:
    """Return the tokens, the cost in USD and the number of paid calls of an assessment.

    The cost is None if a price is unknown. The whole result is None if the evaluator failed before
    it made a call.
    """
    score, spent = assessment.score, assessment.spent
    if score is not None:
        return score.usage, score.cost, score.calls
    return None if spent is None else (spent.usage, spent.cost, spent.made)


def _sum(costs: list[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _trouble(failure: RecordFailure | None) -> Trouble:
    if failure is None:
        return ""
    if failure.unrecorded:
        return "unrecorded"
    if failure.infrastructure:
        return "infrastructure"
    return "product" if failure.stage in ("transform", "load") else ""
