"""The data behind a comparison, for reports: distributions of scores, and example replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from loomgit.domain.comparison import MeasuredSide
    from loomgit.domain.runs import Case


class ScoreDistribution(Struct, frozen=True):
    """The scores of one evaluator on both sides.

    `base` and `head` contain the mean score of each case on that side. A tuple is empty if its side
    has no results.
    """

    name: str
    base: tuple[float, ...]
    head: tuple[float, ...]


class Reason(Struct, frozen=True):
    """The score of one evaluator for a reply, and the reason for the score.

    If the evaluator failed, `value` is None and `text` is the error.
    """

    name: str
    value: float | None
    text: str


class Reply(Struct, frozen=True):
    """A reply of the model, with the scores of all evaluators.

    If the record failed, `failure` is the reason.
    """

    text: str
    reasons: tuple[Reason, ...] = ()
    failure: str = ""


class Example(Struct, frozen=True):
    """A case with one reply from each side.

    `input` is empty if the stored results do not contain the input.
    """

    id: str
    base: Reply | None = None
    head: Reply | None = None
    input: str = ""


class ComparisonEvidence(Struct, frozen=True):
    """The data behind the comparison of one pipeline.

    `spreads` has the score distribution of each evaluator. `examples` maps the ids of cases to
    example replies.
    """

    spreads: tuple[ScoreDistribution, ...] = ()
    examples: Mapping[str, Example] = field(default_factory=dict)


def score_distributions(
    base: MeasuredSide | None, head: MeasuredSide | None
) -> tuple[ScoreDistribution, ...]:
    """Return one score distribution for each evaluator.

    If both sides have results, the distributions contain only cases with the same definition on
    both sides, because the verdict also uses only these cases.
    """
    before = dict(base.cases) if base is not None else {}
    after = dict(head.cases) if head is not None else {}
    if before and after:
        shared = [
            key
            for key in before
            if key in after and before[key].definition == after[key].definition
        ]
        before, after = {key: before[key] for key in shared}, {key: after[key] for key in shared}
    cases = (*before.values(), *after.values())
    names = dict.fromkeys(name for case in cases for name in case.scores)
    return tuple(
        ScoreDistribution(name, _means(before, name), _means(after, name)) for name in names
    )


def _means(cases: Mapping[str, Case], name: str) -> tuple[float, ...]:
    scores = ([v for v in case.scores.get(name, []) if v is not None] for case in cases.values())
    return tuple(sum(values) / len(values) for values in scores if values)
