"""Which expectations of a test another version of it still has, as they were or stricter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.assertions import Comparison, Constant, Every, Operator
from loomgit.harness.expected import Expectation, expectations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from loomgit.domain.assertions import Condition
    from loomgit.domain.suites import Assertion
    from loomgit.domain.values import JsonMapping

MIRRORED: dict[str, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def missing_assertions(before: Sequence[Assertion], now: Sequence[Assertion]) -> Iterator[str]:
    """The texts of the assertions that the new ones together do not imply.

    Recognized are the same conditions in any order, and limits of the same value that are stricter:
    `mean(score) > 0.9` implies `mean(score) > 0.8`.
    """
    held = [part for assertion in now for part in _parts(assertion.tree)]
    for assertion in before:
        if not all(any(_implies(other, part) for other in held) for part in _parts(assertion.tree)):
            yield assertion.text


def missing_expectations(before: JsonMapping, now: JsonMapping) -> Iterator[str]:
    """The lines of `expected` that the new ones do not imply."""
    held = list(expectations(now))
    for line in expectations(before):
        if not any(_implies_line(other, line) for other in held):
            yield line.text


def _implies_line(now: Expectation, before: Expectation) -> bool:
    if now == before:
        return True
    fields = [(*e.path[:-1], e.bounded or e.path[-1]) for e in (now, before)]
    return fields[0] == fields[1] and _is_stricter(
        now.operator, now.value, before.operator, before.value
    )


def _parts(condition: Condition) -> Iterable[Condition]:
    """The conditions that must all hold, each on its own."""
    if isinstance(condition, Every):
        for part in condition.of:
            yield from _parts(part)
    elif isinstance(condition, Comparison):
        for left, operator, right in condition.pairs:
            if isinstance(left, Constant) and operator in MIRRORED:
                yield Comparison(right, ((MIRRORED[operator], left),))
            else:
                yield Comparison(left, ((operator, right),))
    else:
        yield condition


def _implies(now: Condition, before: Condition) -> bool:
    if now == before:
        return True
    if not isinstance(now, Comparison) or not isinstance(before, Comparison):
        return False
    if now.first != before.first:
        return False
    ((operator, limit),), ((old_operator, old_limit),) = now.links, before.links
    if not isinstance(limit, Constant) or not isinstance(old_limit, Constant):
        return False
    return _is_stricter(operator, limit.value, old_operator, old_limit.value)


def _is_stricter(operator: str, limit: object, old_operator: str, old_limit: object) -> bool:
    """Whether `x operator limit` implies `x old_operator old_limit`, for numbers."""
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
