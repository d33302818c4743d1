"""Accepted losses of a comparison: what they change, and what they do not prove."""

from loomgit.comparison.acceptance import accept, parse_acceptance
from loomgit.comparison.gate import compare_sides, decide
from loomgit.domain.comparison import (
    Comparison,
    Limits,
    MeasuredSide,
    Revision,
    Side,
    worst_outcome,
)
from loomgit.domain.runs import Case

ACCEPTED = [parse_acceptance("cases: they were duplicates")]


def side(count, *scores):
    scored = {"label": list(scores)} if scores else {}
    names = [f"r-{number}" for number in range(count)]
    cases = {name: Case(name, name, "d", scored, 1, 1, 0.1, 0.1) for name in names}
    return MeasuredSide(Side("c", "f"), cases, {"evaluators": {}})


def accepted(base, head):
    found = decide([compare_sides("demo", base, head, Limits())])
    revisions = Revision("main"), Revision("head")
    outcome = worst_outcome([each.outcome for each in found])
    whole = Comparison(*revisions, outcome, tuple(found))
    return found[0].outcome, accept(whole, ACCEPTED).pipelines[0].outcome


def test_removed_cases_that_are_accepted_leave_the_outcome_to_the_metrics():
    assert accepted(side(100, 1.0), side(60, 1.0)) == ("inconclusive", "no_worse")
    assert accepted(side(100, 1.0), side(60, 0.0)) == ("degraded", "degraded")


def test_accepted_cases_prove_nothing_without_a_score():
    assert accepted(side(100), side(60)) == ("inconclusive", "inconclusive")
