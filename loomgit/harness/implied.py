"""Finds the assertions and expected values that a test's new version no longer guarantees.

A new condition implies an old condition if the two are equal or the new condition is stricter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.assertions import ComparisonChain, Conjunction, Constant, Operator
from loomgit.harness.expected import Expectation, expectations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.domain.assertions import Condition
    from loomgit.domain.suites import Assertion
    from loomgit.domain.values import JsonMapping

MIRRORED: dict[str, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def missing_assertions(old: Sequence[Assertion], new: Sequence[Assertion]) -> Iterator[str]:
    """Yield the text of each old assertion that the new assertions together do not imply.

    The order of the conditions does not matter. A stricter limit on the same left side implies a
    looser limit: `mean(score) > 0.9` implies `mean(score) > 0.8`. No other implication is
    recognized.
    """
    conditions = [part for assertion in new for part in _split(assertion.tree)]
    for assertion in old:
        is_implied = all(
            any(_implies(condition, part) for condition in conditions)
            for part in _split(assertion.tree)
        )
        if not is_implied:
            yield assertion.text


def missing_expectations(old: JsonMapping, new: JsonMapping) -> Iterator[str]:
    """Yield the text of each expected field in `old` that no expected field in `new` implies."""
    fields = list(expectations(new))
    for old_field in expectations(old):
        if not any(_implies_expectation(field, old_field) for field in fields):
            yield old_field.text


def _implies_expectation(new: Expectation, old: Expectation) -> bool:
    if new == old:
        return True
    new_path, old_path = ((*e.path[:-1], e.bounded or e.path[-1]) for e in (new, old))
    return new_path == old_path and _is_stricter(new.operator, new.value, old.operator, old.value)


def _split(condition: Condition) -> Iterable[Condition]:
    """Split a condition at each `and` and at each link of a comparison chain, and yield the parts.

    If an order comparison has a constant on its left side, it is mirrored: `0.9 < x` becomes
    `x > 0.9`.
    """
    if isinstance(condition, Conjunction):
        for part in condition.of:
            yield from _split(part)
    elif isinstance(condition, ComparisonChain):
        for left, operator, right in condition.pairs:
            if isinstance(left, Constant) and operator in MIRRORED:
                yield ComparisonChain(right, ((MIRRORED[operator], left),))
            else:
                yield ComparisonChain(left, ((operator, right),))
    else:
        yield condition


def _implies(new: Condition, old: Condition) -> bool:
    if new == old:
        return True
    if not isinstance(new, ComparisonChain) or not isinstance(old, ComparisonChain):
        return False
    if new.first != old.first:
        return False
    ((operator, limit),), ((old_operator, old_limit),) = new.links, old.links
    if not isinstance(limit, Constant) or not isinstance(old_limit, Constant):
        return False
    return _is_stricter(operator, limit.value, old_operator, old_limit.value)


def _is_stricter(operator: str, limit: object, old_operator: str, old_limit: object) -> bool:
    """Return whether `x operator limit` implies `x old_operator old_limit`.

    The result is False if a limit is not a number.
    """
    if not isinstance(limit, int | float) or not isinstance(old_limit, int | float):
        return False
    if operator == "==" and old_operator in MIRRORED:
        is_above = old_operator[0] == ">"
        return (limit > old_limit) == is_above if limit != old_limit else "=" in old_operator
    if operator[0] != old_operator[0] or operator[0] not in "<>":
        return False
    if limit == old_limit:
        return operator == old_operator or "=" not in operator
    return (limit < old_limit) == (operator[0] == "<")
