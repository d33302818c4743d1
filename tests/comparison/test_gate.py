"""Two sides of a pipeline compared: which cases count, what follows."""

import pytest
from msgspec.structs import replace

from loomgit.comparison.differences import differences
from loomgit.comparison.gate import compare_sides, decide
from loomgit.domain.comparison import (
    Limits,
    MeasuredSide,
    QuestionDifference,
    Side,
    with_changed_question,
)
from loomgit.domain.runs import Case

QUESTION = {
    "evaluators": {"label": {"type": "exact_match", "threshold": 1.0, "config": {"field": "a"}}},
    "judge": None,
    "gate": {"type": "all_pass", "threshold": 0.7},
}


def case(name, *scores, evaluator="label", definition="d", **changes):
    passed = sum(score == 1.0 for score in scores)
    scored = {evaluator: list(scores)}
    return Case(name, name, definition, scored, len(scores), passed, changes.get("cost"),
                changes.get("latency"))  # fmt: skip


def side(cases, question=QUESTION, judges=None):
    return MeasuredSide(Side("c", "f"), {c.id: c for c in cases}, question, judges or {})


def cases(count, *scores, **changes):
    return [case(f"r-{n}", *scores, **changes) for n in range(count)]


def draft(base, head, name="demo", **limits):
    return compare_sides(name, base, head, Limits(**limits))


def compare(base, head, **limits):
    return decide([draft(base, head, **limits)])[0]


def metric(found, name="label"):
    return next(m for m in found.metrics if m.name == name)


GOOD, BAD = cases(60, 1.0), cases(60, 0.0)
MIXED = [*cases(60, 1.0)[:54], *cases(60, 0.0)[54:]]


# -- verdicts


@pytest.mark.parametrize(
    ("base", "head", "outcome"),
    [
        (GOOD, GOOD, "no_worse"),
        (BAD, GOOD, "improved"),
        (GOOD, BAD, "degraded"),
        (GOOD[:8], [*GOOD[:7], *BAD[7:8]], "inconclusive"),
        (cases(60, 0.9, 0.8), cases(60, 0.8, 0.9), "no_worse"),  # the same, in another order
        (cases(400, 0.7, 0.9, 0.8), cases(400, 0.9, 0.8, 0.69), "no_worse"),
    ],
)
def test_the_outcome_is_that_of_the_gate(base, head, outcome):
    found = compare(side(base), side(head))
    assert found.outcome == metric(found).outcome == outcome


def test_where_no_reply_was_to_be_had_no_rate_of_passes_has_fallen():
    lost = [replace(c, scores={}, passed=0) for c in GOOD]
    passes = metric(compare(side(GOOD), side(lost)), "pass_rate")
    assert (passes.head, passes.outcome) == (None, "inconclusive")
    refused = [replace(c, latency=0.2) for c in lost]  # there were replies, and none could be used
    assert metric(compare(side(GOOD), side(refused)), "pass_rate").outcome == "degraded"


def test_a_metric_shows_both_means_their_shift_and_its_interval():
    found = metric(compare(side(GOOD), side(MIXED)))
    assert (found.base, found.head, found.cases, found.samples) == (1.0, 0.9, 60, 60)
    assert found.delta == pytest.approx(-0.1)
    assert found.low < -0.1 < found.high
    assert (found.limit, found.method, found.gated) == (0.02, "permutation", True)
    assert 0 < found.p < 0.05


def test_a_drop_below_the_limit_is_no_degradation():
    assert compare(side(GOOD), side(MIXED), max_drop=0.2).outcome != "degraded"
    assert compare(side(GOOD), side(MIXED), max_drop=0.1).outcome == "degraded"


def test_the_scope_asks_of_unseen_cases():
    found = metric(compare(side(GOOD), side(MIXED), scope="population"))
    assert found.method == "t"


def test_what_nobody_gates_is_shown_and_decides_nothing():
    base = [case(f"r-{n}", 1.0, cost=1.0, latency=1.0) for n in range(60)]
    head = [case(f"r-{n}", 1.0, cost=2.0, latency=3.0) for n in range(60)]
    found = compare(side(base), side(head))
    cost = metric(found, "cost")
    assert (cost.outcome, cost.gated) == ("degraded", False)
    assert (cost.base, cost.head, cost.delta) == (1.0, 2.0, pytest.approx(1.0))
    assert metric(found, "latency").delta == pytest.approx(2.0)
    assert found.outcome == "no_worse"
    assert compare(side(base), side(head), max_rise=0.1).outcome == "degraded"
    assert compare(side(base), side(head), max_rise=5.0).outcome != "degraded"


def test_the_interval_of_a_rise_is_in_shares_and_in_order():
    base = [case(f"r-{n}", 1.0, cost=1.0 + n % 3) for n in range(60)]
    head = [case(f"r-{n}", 1.0, cost=1.1 + n % 5) for n in range(60)]
    cost = metric(compare(side(base), side(head)), "cost")
    assert -1 < cost.low < cost.delta < cost.high


def test_costs_that_are_not_known_say_so():
    cost = metric(compare(side(GOOD), side(GOOD)), "cost")
    assert (cost.delta, cost.reason) == (None, "no case has a value on both sides")


def test_a_pipeline_that_nobody_judges_is_not_called_no_worse():
    plain = [replace(c, scores={}) for c in GOOD]
    found = compare(side(plain), side(plain))
    assert found.outcome == "inconclusive"
    assert "the gate has no metrics" in found.notes[0]
    assert metric(found, "pass_rate").outcome == "no_worse"


def test_many_metrics_are_one_family_over_all_pipelines():
    def lone(head):
        return draft(side(GOOD), side(head))

    dropped = [*GOOD[:57], *BAD[57:]]
    alone = decide([lone(dropped)])[0]
    assert alone.outcome == "degraded"
    crowd = decide([lone(dropped), *(lone(GOOD) for _ in range(9))])
    assert metric(crowd[0]).p == metric(alone).p < 0.05 < metric(crowd[0]).adjusted
    assert crowd[0].outcome == "inconclusive"


def test_what_is_not_gated_does_not_count_in_the_family():
    found = compare(side(GOOD), side(MIXED))
    assert metric(found).adjusted == metric(found).p
    assert metric(found, "pass_rate").gated is False


def test_samples_that_an_outage_took_make_it_inconclusive():
    lost = [case(c.id, None) if n < 6 else c for n, c in enumerate(GOOD)]
    found = compare(side(GOOD), side(lost))
    assert found.outcome == "inconclusive"
    assert "6 samples (10% of a side) have no score" in metric(found).reason
    assert compare(side(GOOD), side(lost), max_error_rate=0.2).outcome == "no_worse"
    few = [case(c.id, None) if n < 3 else c for n, c in enumerate(BAD)]
    assert compare(side(GOOD), side(few)).outcome == "degraded"
    assert metric(compare(side(GOOD), side(lost)), "pass_rate").cases == 54


def test_cases_that_nobody_can_judge_are_left_out_and_not_taken_for_an_outage():
    mute = [case(f"unit-{n}") for n in range(30)]
    found = metric(compare(side([*GOOD, *mute]), side([*GOOD, *mute])))
    assert (found.outcome, found.cases, found.missing) == ("no_worse", 60, 0)
    sick = [case(f"unit-{n}", 1.0) for n in range(30)]
    found = metric(compare(side([*GOOD, *sick]), side([*GOOD, *mute])))
    assert (found.outcome, found.cases, found.missing) == ("inconclusive", 60, 30)


def test_a_side_without_results_is_named():
    for base, head, words in [
        (None, side(GOOD), "of the baseline"),
        (side(GOOD), None, "of the head"),
        (None, None, "of the baseline and of the head"),
    ]:
        found = compare(base, head)
        assert found.outcome == "inconclusive"
        assert found.notes == (f"there are no results {words}",)
        assert (found.base is None, found.head is None) == (base is None, head is None)


# -- what can be compared


def changed(**changes):
    return {**QUESTION, **changes}


@pytest.mark.parametrize(
    ("question", "part", "words"),
    [
        (changed(judge="gpt"), "judge", "none -> gpt"),
        (changed(gate={"type": "any_pass", "threshold": 0.7}), "gate.type", "all_pass -> any_pass"),
        (
            changed(evaluators={"label": {**QUESTION["evaluators"]["label"], "threshold": 0.5}}),
            "evaluators.label.threshold",
            "1.0 -> 0.5",
        ),
        (
            changed(evaluators={**QUESTION["evaluators"], "tone": {"type": "similarity"}}),
            "evaluators.tone",
            "none -> similarity",
        ),
        (
            changed(evaluators={"label": {**QUESTION["evaluators"]["label"], "config": {}}}),
            "evaluators.label.config.field",
            "a -> none",
        ),
        (changed(scripts={"evaluators/tone.py": "abc"}), "scripts", "none -> set"),
    ],
)
def test_another_question_is_not_compared_and_the_part_is_named(question, part, words):
    found = compare(side(GOOD), side(BAD, question))
    assert found.outcome == "not_comparable"
    assert [str(d) for d in found.differs] == [f"{part}: {words}"]
    assert not found.metrics
    assert not found.worse


def test_a_question_that_was_stored_is_the_same_question():
    stored = {"list": [1, {"a": [2]}], "number": 1}
    today = {"list": (1, {"a": (2,)}), "number": 1.0}
    assert differences(stored, today) == []
    assert [d.part for d in differences(stored, {**today, "list": (1, {"a": (3,)})})] == ["list"]


def test_long_values_are_cut():
    (found,) = differences({"criteria": "old"}, {"criteria": "word " * 50})
    assert len(found.head) == 60
    assert found.head.endswith("…")


def test_a_judge_that_was_served_as_another_is_not_compared():
    base, head = side(GOOD, judges={"label": ("gpt-1",)}), side(BAD, judges={"label": ("gpt-2",)})
    found = compare(base, head)
    assert found.outcome == "not_comparable"
    assert metric(found).delta is None
    assert metric(found).reason == "the judge as served differs: gpt-1 -> gpt-2"
    assert compare(base, side(BAD, judges={"label": ("gpt-1",)})).outcome == "degraded"


@pytest.mark.parametrize(
    ("model", "notes"),
    [("m", ["head: requests for m were answered by n", "the model as served differs: m -> n"]),
     ("", [])],
)  # fmt: skip
def test_models_as_served_are_reported_unless_a_program_transforms(model, notes):
    base, head = (
        replace(side(GOOD), side=Side("c", "f", model=model), served=(served,)) for served in "mn"
    )
    assert list(compare(base, head).notes) == notes


def test_one_evaluator_that_cannot_be_compared_hides_no_degradation_of_another():
    def both(score, judge):
        mixed = [replace(c, scores={"label": [score], "tone": [0.5]}) for c in GOOD]
        return side(mixed, judges={"tone": (judge,)})

    found = compare(both(1.0, "a"), both(0.0, "b"))
    assert found.outcome == "degraded"
    assert metric(found, "tone").outcome == "not_comparable"


@pytest.mark.parametrize(
    ("base", "head", "outcome"),
    [
        (GOOD, GOOD, "inconclusive"),
        (BAD, GOOD, "inconclusive"),
        (GOOD, BAD, "degraded"),
        (GOOD[:8], [*GOOD[:7], *BAD[7:8]], "inconclusive"),
    ],
)
def test_a_head_that_changed_the_question_proves_no_quality(base, head, outcome):
    part = QuestionDifference("gate.threshold", "0.9", "0.1")
    found = compare(side(base), side(head))
    assert with_changed_question(found, [part]).outcome == outcome
    assert with_changed_question(found, []) == found


def test_cases_whose_question_differs_leave_the_gate():
    head = [replace(c, definition="e") if n < 3 else c for n, c in enumerate(BAD)]
    found = compare(side(GOOD), side(head))
    assert found.changed == ("r-0", "r-1", "r-2")
    assert (found.compared, metric(found).cases) == (57, 57)


def test_new_and_removed_cases_leave_the_gate():
    found = compare(side(GOOD), side([*GOOD[2:], case("new", 0.0)]))
    assert (found.removed, found.added) == (("r-0", "r-1"), ("new",))
    assert found.outcome == "no_worse"


@pytest.mark.parametrize("how", ["removed", "changed"])
def test_more_than_a_tenth_lost_is_inconclusive_unless_accepted(how):
    head = GOOD[7:]
    if how == "changed":
        head = [replace(c, definition="e") if n < 7 else c for n, c in enumerate(GOOD)]
    found = compare(side(GOOD), side(head))
    assert found.outcome == "inconclusive"
    assert "12% of the baseline's cases" in found.notes[0]
    assert compare(side(GOOD), side(head), allow_removed=True).outcome == "no_worse"
    assert compare(side(GOOD), side(GOOD[6:])).outcome == "no_worse"


def test_a_degradation_of_what_is_left_still_blocks():
    assert compare(side(GOOD), side(BAD[20:])).outcome == "degraded"


def test_nothing_in_common_is_not_comparable():
    found = compare(side(GOOD), side([case("new", 1.0)]))
    assert found.outcome == "not_comparable"
    assert "no case" in found.notes[0]


def test_other_cases_are_compared_on_request_and_marked():
    base = [case(f"old-{n}", float(n % 10 > 0)) for n in range(80)]
    head = [case(f"new-{n}", float(n % 10 > 4)) for n in range(80)]
    found = compare(side(base), side(head), unpaired=True)
    assert found.outcome == "degraded"
    assert metric(found).method == "welch"
    assert any("unpaired" in note for note in found.notes)
    assert metric(found, "cost").gated is False
    same = compare(side(base), side([replace(c, id=f"x{c.id}") for c in base]), unpaired=True)
    assert same.outcome == "inconclusive"  # nothing is blamed on the cases that are gone


def test_unequal_numbers_of_samples_pair():
    found = compare(side(cases(40, 1.0, 0.8, 0.9)), side(cases(40, 0.5)))
    assert found.outcome == "degraded"
    assert metric(found).delta == pytest.approx(-0.4)


def test_an_evaluator_of_one_side_only_has_nothing_to_compare():
    head = [replace(c, scores={}) for c in GOOD]
    found = metric(compare(side(GOOD), side(head)))
    assert (found.outcome, found.delta) == ("inconclusive", None)
    assert found.reason == "no case has a score on both sides"


# -- cases that moved


def test_cases_that_moved_are_listed_farthest_first():
    base = [case("a", 1.0), case("b", 0.5), case("c", 0.2), case("d", 0.4)]
    head = [case("a", 0.8), case("b", 0.0), case("c", 0.9), case("d", 0.4)]
    found = compare(side(base), side(head))
    assert [(c.id, round(c.delta, 3)) for c in found.worse] == [("b", -0.5), ("a", -0.2)]
    assert [c.id for c in found.better] == ["c"]
    assert found.worse[0].scores == {"label": (0.5, 0.0)}
