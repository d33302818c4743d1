"""Evaluators that hold a number against limits: a value, a length, a time, a price."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.domain.ports import EvaluatorFailure
from loomgit.evaluators.aim import Aim, show, text_of
from loomgit.evaluators.matching import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import Score, Subject
    from loomgit.domain.values import Json, JsonMapping

ROUNDING = 1e-9  # of the larger number: 0.3 is within 0.1 of 0.2


def numeric(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where the output is a number within `min` and `max`, and within `tolerance` of the
    reference. Without limits it must be the reference's number. Text that says a number is one."""
    aim = Aim.parse(config)
    low, high = _limit(config, "min"), _limit(config, "max")
    tolerance = _limit(config, "tolerance")
    compared = tolerance is not None or aim.has_reference or (low is None and high is None)

    def score(subject: Subject) -> Score:
        reference: Json = None
        if compared:
            pair = aim.pair(subject)
            output, reference = pair.output, pair.reference
        else:
            output = aim.output(subject)
        number = _number(output)
        if number is None:
            return verdict(False, f"{show(output)} is no number")
        if compared:
            wanted = _number(reference)
            if wanted is None:
                raise EvaluatorFailure(f"the reference {show(reference)} is no number")
            within = tolerance or 0.0
            distance = abs(number - wanted)
            if distance > within + ROUNDING * max(abs(number), abs(wanted)):
                return verdict(
                    False, f"{number:g} is {distance:g} from {wanted:g}, over {within:g}"
                )
            if low is None and high is None:
                return verdict(True, f"{number:g} is within {within:g} of {wanted:g}")
        return _bounded(number, low, high)

    return score


def length(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where the output as text has between `min` and `max` characters."""
    aim, low, high = Aim.parse(config), _limit(config, "min"), _limit(config, "max")

    def score(subject: Subject) -> Score:
        return _bounded(float(len(text_of(aim.output(subject)))), low, high, " characters")

    return score


def latency(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where the output took at most `max` seconds; a cached reply took none and passes."""
    high = _limit(config, "max")

    def score(subject: Subject) -> Score:
        if subject.latency is None:
            return verdict(True, "from the cache: nothing was waited for")
        return _bounded(subject.latency, None, high, " s")

    return score


def cost(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where the output cost at most `max` USD; no score where its price is unknown."""
    high = _limit(config, "max")

    def score(subject: Subject) -> Score:
        if subject.cost is None:
            raise EvaluatorFailure("the price of the model is unknown: set it under 'models'")
        return _bounded(subject.cost, None, high, " USD")

    return score


def _bounded(value: float, low: float | None, high: float | None, unit: str = "") -> Score:
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
