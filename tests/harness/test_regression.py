"""Regression and drift tests: what is paired, what fails, what only warns."""

import math

import numpy as np
import pytest

from loomgit.comparison.gate import compare_sides, confirm, decide, without_confirmation
from loomgit.domain.comparison import MeasuredSide, Side
from loomgit.domain.samples import Judgement
from loomgit.harness.distributional import limit_samples
from loomgit.harness.drift import judge_drift
from loomgit.harness.policies import policy_limits
from loomgit.harness.regression import judge_regression
from loomgit.harness.results import side_cases
from loomgit.harness.sampling_plan import drawn_cases, in_draw_order
from loomgit.harness.verdicts import blocks, inconclusive_policy
from loomgit.stats.gate import compare
from loomgit.workflows.measured_side import sample_amounts
from tests.harness.replies import case, cases, distributional, lost, reply

REGRESSION = "type: regression, baseline: main"
DRIFT = "type: drift, baseline: main"


QUESTION = {"format": 3, "evaluators": {"quality": {"type": "exact_match"}}, "judge": None}


def side(samples):
    end = Side("c", "f", "v1", "m")
    return MeasuredSide(end, side_cases(samples), QUESTION, amounts=sample_amounts(samples))


def draft(test, head, base):
    known = None if base is None else side(base)
    limits = policy_limits(test.policy)
    return compare_sides("faq", known, side(limit_samples(head, test.policy)), limits)


def compared(test, head, base):
    return decide([draft(test, head, base)])[0]


def regression(head, base, keys="", *, fresh=None, strict=False):
    test = distributional(f"{REGRESSION}, {keys}")
    found = compared(test, head, base)
    if fresh is not None:
        found = confirm(found, draft(test, *fresh))
    how = inconclusive_policy(test.policy, strict=strict)
    return judge_regression(test, limit_samples(head, test.policy), found, inconclusive=how)


def noisy(mean, n=200, seed=0):
    rng = np.random.default_rng(seed)
    return cases(np.clip(rng.normal(mean, 0.08, n), 0, 1))


def test_a_drop_fails_with_its_interval_and_the_cases_that_fell_farthest():
    head, base = noisy(0.75, seed=1), noisy(0.85, seed=2)
    found = regression(head, base)
    (line,) = found.checks
    scores = [[[c.samples[0].score] for c in side] for side in (base, head)]
    change = compare(*scores)
    assert found.verdict == "fail"
    assert line.text == "quality drop < 0.02 against main"
    assert line.actual == f"{-change.delta:.3f}"
    assert (line.low, line.high, line.n) == (
        pytest.approx(-change.interval.high), pytest.approx(-change.interval.low), 200,
    )  # fmt: skip
    means = [math.fsum(score for (score,) in side) / len(side) for side in scores]
    levels = f"{means[0]:.3f} -> {means[1]:.3f}"
    assert line.note.startswith(f"degraded over 200 cases: {levels}; p = ")
    drops = {c.id: h.samples[0].score - c.samples[0].score
             for c, h in zip(base, head, strict=True)}  # fmt: skip
    assert [c.id for c, _ in found.failures] == sorted(drops, key=drops.get)[:5]


@pytest.mark.parametrize(
    ("base", "head", "word"),
    [(0.8, 0.9, "improved"), (0.8, 0.8, "no worse")],
)
def test_what_is_no_worse_passes(base, head, word):
    found = regression(noisy(head, 400, 3), noisy(base, 400, 4))
    assert found.verdict == "pass"
    assert found.checks[0].note.startswith(f"{word} over 400 cases: 0.80")


def test_the_same_scores_pass():
    note = regression(noisy(0.8), noisy(0.8)).checks[0].note
    assert note == "no worse over 200 cases: 0.801 -> 0.801"


def test_an_inconclusive_comparison_is_no_failure_unless_strict():
    head, base = cases([0.9, 0.4] * 5), cases([0.4, 0.9] * 5)
    found = regression(head, base)
    assert found.verdict == "inconclusive"
    assert "detects drops >= 0." in found.checks[0].note
    assert not blocks(found.verdict)
    assert blocks(found.verdict, strict=True)
    for strictly in (regression(head, base, strict=True), regression(head, base, "strict: true"),
                     regression(head, base, "on_inconclusive: fail")):  # fmt: skip
        assert strictly.verdict == "fail"
    assert regression(head, base, "on_inconclusive: point").verdict == "inconclusive"


def test_without_a_baseline_it_is_skipped_with_a_note():
    for found in (regression(noisy(0.8), None), judge_drift(distributional(DRIFT), [], None)):
        assert found.verdict == "inconclusive"
        assert found.message == "there are no results of main to compare with"


def test_cases_pair_by_id_and_question():
    head = [case("a", reply()), case("b", reply(), question="new"), case("d", reply())]
    base = [case("a", reply()), case("b", reply()), case("c", reply())]
    found = compared(distributional(REGRESSION), head, base)
    assert (found.compared, found.changed, found.removed, found.added) == (
        1,
        ("b",),
        ("c",),
        ("d",),
    )


def test_cases_that_the_draw_did_not_reach_are_not_removed():
    everything = [str(n) for n in range(100)]
    order = [c.id for c in in_draw_order(cases([0.8] * 100))]
    drawn = order[:30]
    assert drawn_cases(drawn, everything, 30) == set(drawn)
    assert drawn_cases(drawn, everything, None) == set(everything)
    gone = [name for name in drawn if name != drawn[3]]
    assert drawn[3] in drawn_cases([*gone, "new"], everything, 30)


def test_where_much_was_removed_the_rest_may_be_the_easier_part():
    base = noisy(0.8, 200)
    kept = base[:170]
    found = regression(kept, base)
    assert found.verdict == "inconclusive"
    assert "allow_removed" in found.checks[0].note
    assert "30 cases removed or changed, 0 new" in found.checks[0].note
    assert regression(kept, base, "allow_removed: true").verdict == "pass"
    assert regression(noisy(0.6, 200)[:170], base).verdict == "fail"


def test_a_failure_to_be_confirmed_stands_only_if_fresh_samples_agree():
    head, base = noisy(0.75, seed=1), noisy(0.85, seed=2)
    keys = "confirm: true"
    test = distributional(f"{REGRESSION}, {keys}")
    stands = without_confirmation(compared(test, head, base), "the budget is spent")
    line = judge_regression(test, head, stands, inconclusive="point").checks[0]
    assert (line.verdict, "not confirmed: the budget is spent" in line.note) == ("fail", True)
    assert regression(head, base, keys, fresh=(head, base)).verdict == "fail"
    assert regression(head, base, keys, fresh=(base, base)).verdict == "inconclusive"


def test_cost_and_latency_are_gated_where_the_test_says_so():
    base = cases([0.9] * 60)
    dear = cases([0.9] * 60, cost=0.0015)
    assert len(regression(dear, base).checks) == 1
    found = regression(dear, base, "max_rise: 10%")
    assert [c.verdict for c in found.checks] == ["pass", "fail", "pass"]
    assert (found.checks[1].text, found.checks[1].actual) == (
        "cost rise < 10% against main", "+50.0%",
    )  # fmt: skip
    unknown = regression(cases([0.9] * 60, cost=None), base, "max_rise: 10%")
    assert [c.verdict for c in unknown.checks] == ["pass", "unverified", "pass"]


def test_many_samples_of_a_few_cases_show_a_rise():
    base = [case(i, *(reply(n) for n in range(20))) for i in range(4)]
    dear = [case(i, *(reply(n, cost=0.002) for n in range(20))) for i in range(4)]
    line = regression(dear, base, "samples: 20, max_rise: 10%").checks[1]
    assert (line.verdict, line.actual, line.n) == ("fail", "+100.0%", 4)


def test_a_lost_reply_does_not_hide_the_cost_of_the_others():
    base = [case(i, *(reply(n) for n in range(25))) for i in range(20)]
    dear = [case(i, lost(), *(reply(n, cost=0.002) for n in range(1, 25))) for i in range(20)]
    line = regression(dear, base, "samples: 25, max_rise: 10%").checks[1]
    assert (line.verdict, line.actual, line.n) == ("fail", "+100.0%", 20)


def test_a_price_that_is_unknown_for_many_cases_proves_nothing():
    base = cases([0.9] * 60)
    half = [case(i, reply(cost=None if i % 2 else 0.001)) for i in range(60)]
    line = regression(half, base, "max_rise: 10%").checks[1]
    assert line.verdict == "inconclusive"
    assert "30 samples (50% of a side) have no cost" in line.note


@pytest.mark.parametrize("name", ["cost", "latency", "pass_rate"])
def test_an_evaluator_with_the_name_of_a_metric_is_confirmed_by_its_own_scores(name):
    def named(score, cost, n=60):
        judged = {name: Judgement(score, "", threshold=0.7)}
        return [case(i, reply(0, score, judgements=judged, cost=cost)) for i in range(n)]

    base, head = named(0.9, 0.002), named(0.7, 0.001)
    found = regression(head, base, "confirm: true", fresh=(head, base))
    assert found.verdict == "fail"
    assert "measured again, and confirmed" in found.checks[0].note


def test_a_second_measurement_without_scores_does_not_acquit():
    head, base = noisy(0.75, seed=1), noisy(0.85, seed=2)
    silent = [case(c.id, reply(score=None)) if int(c.id) % 50 else c for c in head]
    line = regression(head, base, "confirm: true", fresh=(silent, base)).checks[0]
    assert line.verdict == "fail"
    assert "not confirmed: 196 samples (98% of a side) have no score" in line.note


def test_lost_replies_are_excluded_and_too_many_are_an_error():
    head = [case(c.id, lost()) if i < 5 else c for i, c in enumerate(noisy(0.8))]
    assert regression(head, noisy(0.8)).checks[0].n == 195
    head = [case(c.id, lost()) if i < 50 else c for i, c in enumerate(noisy(0.8))]
    assert regression(head, noisy(0.8)).verdict == "error"


def test_replies_that_nothing_judges_cannot_be_compared():
    found = regression(cases([0.9] * 5), [case(i, reply(score=None)) for i in range(5)])
    assert (found.verdict, found.checks[0].note) == (
        "unverified", "no case has a score on both sides",
    )  # fmt: skip


# -- drift


def drift(head, base, keys=""):
    return judge_drift(distributional(f"{DRIFT}, {keys}"), head, base)


def labelled(labels):
    return [case(i, reply(output={} if label is None else {"label": label}))
            for i, label in enumerate(labels)]  # fmt: skip


def test_a_shift_warns_and_never_fails():
    found = drift(labelled(["a"] * 100 + ["b"] * 100), labelled(["a"] * 200), "field: output.label")
    (line,) = found.checks
    assert (found.verdict, line.verdict, line.warns) == ("pass", "pass", True)
    assert line.text == "output.label is distributed as in main"
    assert line.actual.startswith("total variation 0.5")
    assert line.note.startswith("warning: the distribution has shifted; p = 0.001")


def test_the_same_distribution_does_not_warn():
    found = drift(labelled(["a", "b"] * 100), labelled(["a", "b"] * 100), "field: output.label")
    assert not found.checks[0].warns


def test_fields_that_went_missing_are_a_label_of_their_own():
    found = drift(labelled([None] * 200), labelled(["a"] * 200), "field: output.label")
    assert found.checks[0].warns


@pytest.mark.parametrize(
    ("base", "head", "statistic", "warns"),
    [
        ([0.5] * 200, [0.4, 0.6] * 100, "W1", True),
        ([10] * 200, [10, 14] * 100, "W1", True),
        ([-5] * 200, [-5, 5] * 100, "W1", True),
        ([100] * 200, [100, 101] * 100, "W1", False),
        ([True] * 200, [True, False] * 100, "total variation", True),
        ([1, "x"] * 100, [1, "y"] * 100, "total variation", True),
    ],
)
def test_numbers_are_compared_by_their_distance_and_all_else_by_labels(
    base, head, statistic, warns
):
    line = drift(labelled(head), labelled(base), "field: output.label").checks[0]
    assert line.actual.startswith(statistic)
    assert line.warns == warns


def test_without_a_field_scores_and_lengths_are_looked_at():
    base = cases([0.8] * 200)
    head = [case(i, reply(0, 0.8, text="x" * (10 + i % 50))) for i in range(200)]
    found = drift(head, base)
    assert [c.text for c in found.checks] == [
        "evaluation_score is distributed as in main",
        "length of the output is distributed as in main",
    ]
    assert [c.warns for c in found.checks] == [False, True]


def test_few_replies_say_that_they_are_few():
    found = drift(labelled(["a"] * 20), labelled(["a"] * 20), "field: output.label")
    assert "fewer than 100 replies" in found.checks[0].note


def test_cases_that_share_nothing_are_unverified():
    found = drift(labelled(["a"]), [case("x", reply())], "field: output.label")
    assert found.verdict == "unverified"
