"""Evaluators that compare a number (a value, a length, a latency or a cost) with limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.domain.records import EvaluatorFailure
from loomgit.evaluators.field_selector import FieldSelector, show, text_of
from loomgit.evaluators.matching import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import EvaluationInput, Score
    from loomgit.domain.values import Json, JsonMapping

# The allowed rounding error, as a fraction of the larger number. With it, 0.4 matches 0.3 with a
# tolerance of 0.1, although 0.4 - 0.3 is greater than 0.1 in floating-point arithmetic.
ROUNDING = 1e-9


def numeric(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if the output is a number within all limits, else 0.

    `min` and `max` limit the number. `tolerance` (default: 0) limits the difference between the
    number and the reference. There is no such limit if `min` or `max` is configured, but neither
    `tolerance` nor a reference. Text that contains only a number is read as a number. The returned
    function raises EvaluatorFailure if the reference is not a number.
    """
    selector = FieldSelector.parse(config)
    low, high = _limit(config, "min"), _limit(config, "max")
    tolerance = _limit(config, "tolerance")
    uses_reference = (
        tolerance is not None or selector.has_reference or (low is None and high is None)
    )

    def score(subject: EvaluationInput) -> Score:
        reference: Json = None
        if uses_reference:
            pair = selector.pair(subject)
            output, reference = pair.output, pair.reference
        else:
            output = selector.output(subject)
        number = _number(output)
        if number is None:
            return verdict(False, f"{show(output)} is not a number")
        if uses_reference:
            expected = _number(reference)
            if expected is None:
                raise EvaluatorFailure(f"the reference {show(reference)} is not a number")
            limit = tolerance or 0.0
            distance = abs(number - expected)
            if distance > limit + ROUNDING * max(abs(number), abs(expected)):
                return verdict(
                    False, f"{number:g} is {distance:g} from {expected:g}, over {limit:g}"
                )
            if low is None and high is None:
                return verdict(True, f"{number:g} is within {limit:g} of {expected:g}")
        return _score_within(number, low, high)

    return score


def length(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if the output text has `min` to `max` characters, else 0."""
    selector, low, high = FieldSelector.parse(config), _limit(config, "min"), _limit(config, "max")

    def score(subject: EvaluationInput) -> Score:
        return _score_within(
            float(len(text_of(selector.output(subject)))), low, high, " characters"
        )

    return score


def latency(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if the model call took at most `max` seconds, else 0.

    A reply from the cache has no latency and scores 1.
    """
    high = _limit(config, "max")

    def score(subject: EvaluationInput) -> Score:
        if subject.latency is None:
            return verdict(True, "the reply came from the cache, so it has no latency")
        return _score_within(subject.latency, None, high, " s")

    return score


def cost(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if the output cost at most `max` USD, else 0.

    The returned function raises EvaluatorFailure if the price of the model is unknown.
    """
    high = _limit(config, "max")

    def score(subject: EvaluationInput) -> Score:
        if subject.cost is None:
            raise EvaluatorFailure("the price of the model is unknown: set it under 'models'")
        return _score_within(subject.cost, None, high, " USD")

    return score


def _score_within(value: float, low: float | None, high: float | None, unit: str = "") -> Score:
    if low is not None and value < low:
        return verdict(False, f"{value:g}{unit} < {low:g}")
    if high is not None and value > high:
        return verdict(False, f"{value:g}{unit} > {high:g}")
    if low is not None and high is not None:
        return verdict(True, f"{low:g} <= {value:g}{unit} <= {high:g}")
    limit = f">= {low:g}" if low is not None else f"<= {high:g}"
    return verdict(True, f"{value:g}{unit} {limit}")


def _limit(config: JsonMapping, name: str) -> float | None:
    value = config.get(name)
    return None if value is None else _number(value)


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
