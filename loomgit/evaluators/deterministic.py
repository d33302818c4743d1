"""Deterministic evaluators: they call no model and cost nothing. Equal inputs get equal scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.evaluators.matching import contains, exact_match, json_schema, regex
from loomgit.evaluators.numeric import cost, latency, length, numeric
from loomgit.evaluators.overlap import bleu, rouge_l, similarity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.records import EvaluationInput, Score
    from loomgit.domain.values import JsonMapping

FACTORIES: Mapping[str, Callable[[JsonMapping], Callable[[EvaluationInput], Score]]] = {
    "exact_match": exact_match,
    "contains": contains,
    "regex": regex,
    "json_schema": json_schema,
    "numeric": numeric,
    "similarity": similarity,
    "rouge_l": rouge_l,
    "bleu": bleu,
    "length": length,
    "latency": latency,
    "cost": cost,
}


class DeterministicEvaluator:
    """An evaluator that computes its score with a function."""

    waits = False

    def __init__(self, measure: Callable[[EvaluationInput], Score]) -> None:
        self._measure = measure

    async def score(self, subject: EvaluationInput) -> Score:
        """Compute the score. Raises EvaluatorFailure if the output cannot be scored, for example
        because a field is missing."""
        return self._measure(subject)
