"""What lies behind a comparison, for a report to show: how scores spread, what was replied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from loomgit.domain.comparison import Measured
    from loomgit.domain.runs import Case


class Spread(Struct, frozen=True):
    """One evaluator's scores on both sides, a mean a case; a side without results is empty."""

    name: str
    base: tuple[float, ...]
    head: tuple[float, ...]


class Reason(Struct, frozen=True):
    """One evaluator's word on a reply; `value` None: it had none, and `text` is the error."""

    name: str
    value: float | None
    text: str


class Reply(Struct, frozen=True):
    """A reply of the model with what was said of it; `failure` is why it did not get through."""

    text: str
    reasons: tuple[Reason, ...] = ()
    failure: str = ""


class Example(Struct, frozen=True):
    """A case with a reply of each side; `input` is empty where the results do not keep it."""

    id: str
    base: Reply | None = None
    head: Reply | None = None
    input: str = ""


class Evidence(Struct, frozen=True):
    """What is known of one pipeline besides its comparison; `examples` by the case's id."""

    spreads: tuple[Spread, ...] = ()
    examples: Mapping[str, Example] = field(default_factory=dict)


def spreads(base: Measured | None, head: Measured | None) -> tuple[Spread, ...]:
    """The scores of both sides by evaluator.

    Where both have results only of the cases that were asked the same: else the picture would be of
    other cases than the verdict.
    """
    one = dict(base.cases) if base is not None else {}
    two = dict(head.cases) if head is not None else {}
    if one and two:
        both = [n for n in one if n in two and one[n].definition == two[n].definition]
        one, two = {n: one[n] for n in both}, {n: two[n] for n in both}
    names = dict.fromkeys(name for case in (*one.values(), *two.values()) for name in case.scores)
    return tuple(Spread(name, _means(one, name), _means(two, name)) for name in names)


def _means(cases: Mapping[str, Case], name: str) -> tuple[float, ...]:
    given = ([v for v in case.scores.get(name, []) if v is not None] for case in cases.values())
    return tuple(sum(values) / len(values) for values in given if values)
