"""The evaluate stage: evaluators score an output, then the gate accepts or rejects the output."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from loomgit.domain.gates import decide
from loomgit.domain.records import (
    Assessment,
    EvaluationInput,
    EvaluatorFailure,
    JudgeFailure,
    RecordFailure,
)
from loomgit.errors import Denied, ModelError, Unrecorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.definitions import EvaluatorSpec, Gate
    from loomgit.domain.ports import Evaluator
    from loomgit.domain.records import Output, Record, Trouble


class Panel:
    """The evaluators and the quality gate of a pipeline.

    `sample` is the fraction of records to evaluate (1.0 means all records).
    """

    def __init__(
        self,
        evaluators: Sequence[tuple[EvaluatorSpec, Evaluator]],
        gate: Gate,
        *,
        sample: float = 1.0,
    ) -> None:
        self._evaluators = tuple(evaluators)
        self._gate = gate
        self._sample = sample
        # Evaluators that do not wait need no tasks of their own, which cost more than their scores.
        self._waiting = sum(evaluator.waits for _, evaluator in self._evaluators)

    @property
    def names(self) -> tuple[str, ...]:
        """The evaluators' names, in the order of the pipeline file."""
        return tuple(spec.name for spec, _ in self._evaluators)

    def selects(self, record: Record) -> bool:
        """Return whether the record is to be evaluated.

        The decision depends only on the record's key, so it is the same in every run.
        """
        if self._sample >= 1.0:
            return True
        prefix = hashlib.sha256(record.key.encode()).digest()[:8]
        return int.from_bytes(prefix, "big") < self._sample * 2**64

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every evaluator, by name."""
        return {spec.name: spec.weight for spec, _ in self._evaluators}

    async def judge(
        self, record: Record, output: Output
    ) -> tuple[tuple[Assessment, ...], RecordFailure | None]:
        """Return the assessments of an output, and a failure (or None) if the gate rejects it.

        Raises Denied if the provider of a judge denies all calls.
        """
        if not self._evaluators:
            return (), None
        subject = EvaluationInput(
            record.input, output.fields, latency=output.latency, cost=output.cost
        )
        assessments: tuple[Assessment, ...]
        if self._waiting <= 1:
            assessments = tuple([await _assess(*pair, subject) for pair in self._evaluators])
        else:
            assessments = tuple(
                await asyncio.gather(
                    *(_assess(spec, evaluator, subject) for spec, evaluator in self._evaluators)
                )
            )
        decision = decide(self._gate, assessments)
        if decision.passed:
            return assessments, None
        troubles = {assessment.trouble for assessment in assessments}
        erred = any(assessment.score is None for assessment in assessments)
        return assessments, RecordFailure(
            "evaluate" if erred else "gate",
            decision.reason,
            infrastructure=bool(troubles & {"infrastructure", "unrecorded"}),
            unrecorded="unrecorded" in troubles,
        )


async def _assess(
    spec: EvaluatorSpec, evaluator: Evaluator, subject: EvaluationInput
) -> Assessment:
    """Return the assessment of one evaluator.

    If the evaluator fails, the assessment has no score, but an `error` and a `trouble`.
    """
    try:
        score = await evaluator.score(subject)
    except Denied:
        raise
    except EvaluatorFailure as failure:
        return Assessment(
            spec.name,
            spec.threshold,
            spec.weight,
            error=str(failure),
            spent=failure.spent,
            trouble=_trouble_of(failure),
        )
    except ModelError as error:
        return Assessment(
            spec.name, spec.threshold, spec.weight, error=error.message, trouble=_trouble_of(error)
        )
    return Assessment(spec.name, spec.threshold, spec.weight, score=score)


def _trouble_of(error: ModelError | EvaluatorFailure) -> Trouble:
    """Return the cause of a missing score, or "" if the evaluator itself is the cause.

    If a judge gives no usable answer, the cause is `infrastructure`, because such a failure says
    nothing about the output.
    """
    if isinstance(error, EvaluatorFailure) and not isinstance(error, JudgeFailure):
        return "product" if error.product else ""
    return "unrecorded" if isinstance(error, Unrecorded) else "infrastructure"
