"""The evaluators that need no model: equal outputs get equal scores, at once and for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.evaluators.matching import contains, exact_match, json_schema, regex
from loomgit.evaluators.measures import cost, latency, length, numeric
from loomgit.evaluators.overlap import bleu, rouge_l, similarity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.records import Score, Subject
    from loomgit.domain.values import JsonMapping

MAKERS: Mapping[str, Callable[[JsonMapping], Callable[[Subject], Score]]] = {
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
    """An evaluator around a function that computes its score."""

    def __init__(self, measure: Callable[[Subject], Score]) -> None:
        self._measure = measure

    async def score(self, subject: Subject) -> Score:
        """Compute the score. Raises EvaluatorFailure where a field is missing."""
        return self._measure(subject)
