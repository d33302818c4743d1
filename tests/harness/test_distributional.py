"""Tests over many replies: three-valued verdicts, what is missing, what decides a doubt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.samples import Judgement
from loomgit.harness.distributional import find_evaluator, judge
from loomgit.stats.means import bounded_mean, t_mean
from loomgit.stats.quantiles import quantile_interval
from loomgit.stats.rates import rate_interval
from loomgit.stats.verdicts import needed_n
from tests.harness.replies import case, cases, distributional, lost, reply, statistical, unusable

GOOD, MIXED = [0.9] * 95 + [0.4] * 5, [0.9, 0.7, 0.8, 0.6] * 5


def check(text, given_cases, keys="", **options):
    found = judge(statistical(text, keys=keys), given_cases, **options)
    return found.checks[0]


@pytest.mark.parametrize(
    ("text", "scores", "verdict", "actual"),
    [
        ("mean(evaluation_scores) > 0.75", GOOD, "pass", "0.88"),
        ("mean(evaluation_scores) < 0.75", GOOD, "fail", "0.88"),
        ("0.7 < mean(evaluation_score) <= 0.99", GOOD, "pass", "mean_score 0.88, mean_score 0.88"),
        ("std(evaluation_scores) < 0.3", GOOD, "pass", "0.11"),
        ("min(evaluation_scores) > 0.5", GOOD, "fail", "0.40"),
        ("max(evaluation_scores) == 0.9", GOOD, "pass", "0.90"),
        ("median(evaluation_scores) >= 0.9", GOOD, "pass", "0.90"),
        ("p95(latency) < 5", GOOD, "pass", "1"),
        ("p99(latencies) < 0.5", GOOD, "fail", "1.00"),
        ("rate(evaluation_scores < 0.5) < 0.2", GOOD, "pass", "0.05"),
        ("rate(output.sentiment == 'positive') > 0.9", GOOD, "pass", "1.00"),
        ("rate(passed and cost < 0.01) > 0.8", GOOD, "pass", "0.95"),
        ("count(not passed) == 5", GOOD, "pass", "5"),
        ("mean(cost) < 0.01", GOOD, "pass", "0.001"),
        ("mean(output.confidence) > 0.7", GOOD, "pass", "0.80"),
        ("mean(scores.quality) > 0.75", GOOD, "pass", "0.88"),
        ("not mean(evaluation_scores) < 0.75", GOOD, "pass", "0.88"),
        ("mean(evaluation_scores) > 0.99 or rate(passed) > 0.5", GOOD, "pass",
         "mean_score 0.88, rate(passed) 0.95"),
        ("mean(evaluation_scores) > 0.75 and rate(passed) > 0.99", GOOD, "fail",
         "mean_score 0.88, rate(passed) 0.95"),
        ("0.75 < mean(evaluation_scores)", GOOD, "pass", "0.88"),
    ],
)  # fmt: skip
def test_an_assertion_is_judged_by_its_statistic(text, scores, verdict, actual):
    found = check(text, cases(scores))
    assert (found.verdict, found.actual) == (verdict, actual)


def test_a_line_prints_as_the_readers_know_it_and_keeps_what_was_written():
    found = check("mean( evaluation_scores )  > 0.750", cases(GOOD))
    assert found.text == "mean_score > 0.750"
    assert found.written == "mean( evaluation_scores )  > 0.750"
    assert check("p95(latency) < 5.0", cases(GOOD)).written == ""


def test_the_intervals_are_those_of_the_statistics():
    found = check("mean(evaluation_scores) > 0.75", cases(MIXED))
    bound = bounded_mean(MIXED)
    assert (found.low, found.high, found.n) == (bound.low, bound.high, 20)
    found = check("rate(evaluation_scores < 0.65) < 0.9", cases(MIXED))
    exact = rate_interval(5, 20)
    assert (found.low, found.high) == (exact.low, exact.high)
    found = check("mean(evaluation_scores) > 0.75", cases(MIXED), "ci: t")
    assert found.low == pytest.approx(t_mean(MIXED).low)
    many = cases(GOOD)
    slow = [
        replace(c, samples=(replace(c.samples[0], latency=i / 10),)) for i, c in enumerate(many)
    ]
    found = check("p95(latency) < 20", slow)
    ends = quantile_interval([i / 10 for i in range(100)], 0.95)
    assert (found.low, found.high) == (pytest.approx(ends.low), pytest.approx(ends.high))


def test_an_end_that_the_data_do_not_bound_is_none():
    found = check("p95(latency) < 5", cases([0.9] * 20))
    assert found.high is None
    assert (found.verdict, found.weak) == ("pass", True)
    assert "20 replies do not bound the p95" in found.note


@pytest.mark.parametrize(
    ("how", "above", "below"),
    [("point", "pass", "fail"), ("warn", "inconclusive", "inconclusive"), ("fail", "fail", "fail")],
)
def test_what_is_inconclusive_goes_as_the_test_or_the_entrance_says(how, above, below):
    for threshold, expected in ((0.74, above), (0.76, below)):
        text = f"mean(evaluation_scores) > {threshold}"
        for keys, options in ((f"on_inconclusive: {how}", {}), ("", {"default_policy": how})):
            found = check(text, cases(MIXED), keys, **options)
            assert (found.verdict, found.weak) == (expected, how == "point")
    assert check("mean(evaluation_scores) > 0.74", cases(MIXED), strict=True).verdict == "fail"
    assert check("mean(evaluation_scores) > 0.74", cases(MIXED), "strict: true").verdict == "fail"


def test_a_weak_verdict_says_how_many_replies_would_make_it_sure():
    found = check("mean(evaluation_scores) > 0.7", cases(MIXED))
    n = needed_n(float(np.std(MIXED, ddof=1)), 0.75, 0.7)
    assert f"needs n >= {n} to be sure" in found.note
    assert "more than a million" in check("mean(evaluation_scores) > 0.75", cases(MIXED)).note


def test_a_mean_that_is_the_threshold_but_for_binary_fractions_is_on_it():
    found = check("mean(evaluation_scores) >= 0.3", cases([0.1, 0.2, 0.6] * 3))
    assert (found.verdict, found.actual, found.weak) == ("pass", "0.30", True)
    assert check("mean(evaluation_scores) > 0.3", cases([0.1, 0.2, 0.6] * 3)).verdict == "fail"


def test_lost_replies_are_left_out_counted_and_feared():
    scores = [0.9] * 97 + [None] * 3
    found = check("mean(evaluation_scores) > 0.75", cases(scores))
    assert (found.verdict, found.n) == ("pass", 97)
    assert "3 lost" in found.note
    near = bounded_mean([0.9] * 97).low - 0.01
    found = check(f"mean(evaluation_scores) > {near}", cases(scores), "on_inconclusive: warn")
    assert found.verdict == "inconclusive"
    found = check(f"rate(evaluation_scores < 0.5) < {0.045}", cases([0.9] * 297 + [None] * 3),
                  "on_inconclusive: warn")  # fmt: skip
    assert found.verdict == "pass"


def test_too_many_lost_replies_leave_no_verdict():
    test = statistical("mean(evaluation_scores) > 0.75", "min(evaluation_scores) > 0.5")
    found = judge(test, cases([0.9] * 94 + [None] * 6))
    assert found.verdict == "error"
    assert [c.verdict for c in found.checks] == ["error", "error"]
    assert found.message == "6 of 100 replies are missing: 429 Too Many Requests"
    allowed = statistical("mean(evaluation_scores) > 0.75", keys="max_error_rate: 0.06")
    assert judge(allowed, cases([0.9] * 94 + [None] * 6)).verdict == "pass"


def test_what_was_never_recorded_is_unverified():
    some = [*cases([0.9] * 5), *(case(f"x{i}", lost(trouble="unrecorded")) for i in range(5))]
    found = judge(statistical("mean(evaluation_scores) > 0.75"), some)
    assert found.verdict == "unverified"
    assert "5 of 10 replies are not recorded" in found.message
    assert judge(statistical("mean(cost) > 1"), [case("a", lost())]).verdict == "unverified"


def test_no_cases_are_an_error():
    assert judge(statistical("mean(evaluation_scores) > 0.75"), []).verdict == "error"


def test_replies_that_cannot_be_used_count_against_the_assertion_either_way():
    some = [*cases([0.9] * 60), *(case(f"x{i}", unusable()) for i in range(40))]
    assert check("mean(evaluation_scores) > 0.75", some).actual == "0.54"
    assert check("rate(output.sentiment == 'positive') > 0.9", some).actual == "0.60"
    assert check("rate(output.sentiment == 'negative') < 0.1", some).actual == "0.40"
    assert check("not rate(output.sentiment == 'negative') > 0.1", some).actual == "0.40"
    found = check("mean(output.confidence) > 0.7", some)
    assert (found.actual, found.weak) == ("0.80", True)  # their confidence may have been anything
    assert "40 lack the value (the reply is not JSON)" in found.note


def test_what_nobody_measured_is_left_out_and_alone_unverified():
    some = [case(i, reply(0, latency=None if i < 80 else 1.0, cached=i < 80)) for i in range(150)]
    found = check("p95(latency) < 5", some)
    assert (found.verdict, found.weak, found.n) == ("pass", False, 70)
    assert "80 not measured" in found.note
    assert check("mean(latency) < 5", some[:80]).verdict == "unverified"
    assert check("mean(latency) < 5 or mean(cost) < 1", some[:80]).verdict == "pass"
    assert check("mean(latency) < 5 and mean(cost) > 1", some[:80]).verdict == "fail"


def test_a_field_that_no_reply_has_fails_with_the_reason():
    found = check("mean(output.confidense) > 0.7", cases(GOOD))
    assert (found.verdict, found.actual) == ("fail", "unknown")
    assert "did you mean 'confidence'?" in found.note
    assert check("mean(output.sentiment) > 0.7", cases(GOOD)).verdict == "fail"


def test_of_a_population_cases_count_not_replies():
    pairs = [case(i, *(reply(k, s) for k in range(5))) for i, s in enumerate([0.9, 0.6] * 10)]
    whole = check("mean(evaluation_scores) > 0.7", pairs, "samples: 5")
    units = check("mean(evaluation_scores) > 0.7", pairs, "samples: 5, scope: population")
    assert (whole.n, units.n) == (100, 20)
    assert units.low == bounded_mean([0.9, 0.6] * 10).low
    rate = check("rate(passed) > 0.3", pairs, "samples: 5, scope: population")
    assert (rate.n, rate.actual) == (20, "0.50")
    assert check("p50(evaluation_scores) > 0.3", pairs, "samples: 5, scope: population").n == 20
    assert check("count(passed) > 1", pairs, "samples: 5, scope: population").actual == "50"


def test_pooling_is_false_comfort_about_unseen_cases_and_case_means_are_not():
    rng, truth, text = np.random.default_rng(5), 0.8, "mean(evaluation_scores) > 0.8"
    good, bad = ([reply(k, s) for k in range(5)] for s in (1.0, 0.0))
    missed = {"suite": 0, "population": 0}
    for _ in range(200):
        drawn = [case(i, *(good if ok else bad)) for i, ok in enumerate(rng.random(30) < truth)]
        for scope in missed:
            low = check(text, drawn, f"samples: 5, scope: {scope}").low
            missed[scope] += low > truth
    assert missed["population"] <= 20  # 10 are expected at most
    assert missed["suite"] >= 25


def test_replies_beyond_those_asked_for_do_not_count():
    pairs = [case(i, reply(0, 0.9), reply(1, 0.0)) for i in range(30)]
    assert check("mean(evaluation_scores) > 0.7", pairs).actual == "0.90"


@given(st.permutations(range(30)))
def test_the_order_in_which_cases_come_changes_nothing(order):
    some = cases([0.9, 0.5, 0.7] * 10)
    test = statistical("std(evaluation_scores) < 0.3", "mean(evaluation_scores) > 0.65",
                       keys="sample_size: 20")  # fmt: skip
    assert judge(test, [some[i] for i in order]).checks == judge(test, some).checks


def test_a_sample_size_takes_so_many_cases_all_where_there_are_fewer():
    test = statistical("mean(evaluation_scores) > 0.5", keys="sample_size: 20")
    assert judge(test, cases(GOOD)).checks[0].n == 20
    assert judge(test, cases(GOOD[:7])).checks[0].n == 7


def test_the_verdict_of_the_test_is_the_worst_of_its_lines():
    test = statistical("mean(evaluation_scores) > 0.75", "min(evaluation_scores) > 0.5")
    found = judge(test, cases(GOOD))
    assert [c.verdict for c in found.checks] == ["pass", "fail"]
    assert found.verdict == "fail"
    assert [sample.score for _, sample in found.failures] == [0.4] * 5
    assert found.score == pytest.approx(0.875)
    assert judge(test, cases([0.9] * 100)).failures == ()


def test_a_pattern_that_hangs_is_an_error():
    slow = [case("a", reply(output={"x": "x" * 5000}))]
    found = judge(statistical("rate(output.x matches '(x+x+)+y') > 0.5"), slow)
    assert (found.verdict, found.checks[0].verdict) == ("error", "error")


# -- the other types

GROUNDED = EvaluatorSpec("grounded", "groundedness", threshold=0.8)


def judged_cases(values, name="grounded"):
    return [
        case(i, reply(judgements={} if v is None else {name: Judgement(v, "")}))
        for i, v in enumerate(values)
    ]


def test_hallucinations_are_what_the_evaluator_fails():
    test = distributional("type: hallucination_rate, threshold: 0.05")
    values = [0.9] * 198 + [0.79, 0.2]
    found = judge(test, judged_cases(values), evaluators=[GROUNDED])
    (line,) = found.checks
    assert (line.text, line.verdict, line.actual) == ("hallucination_rate < 0.05", "pass", "0.01")
    bad = judge(test, judged_cases([0.9] * 80 + [0.1] * 20), evaluators=[GROUNDED])
    assert (bad.verdict, bad.checks[0].actual) == ("fail", "0.20")
    assert {s.judgements["grounded"].value for _, s in bad.failures} == {0.1}


def test_a_reply_that_cannot_be_used_counts_as_a_hallucination():
    test = distributional("type: hallucination_rate, threshold: 0.5")
    found = judge(test, [case("a", unusable()), *judged_cases([0.9])], evaluators=[GROUNDED])
    assert found.checks[0].actual == "0.50"


def test_where_nothing_judges_hallucinations_the_rate_is_unverified():
    test = distributional("type: hallucination_rate, threshold: 0.05")
    found = judge(test, judged_cases([None, None]), evaluators=[GROUNDED])
    assert found.verdict == "unverified"
    assert "grounded gave no score" in found.checks[0].note


def test_the_evaluator_is_the_tests_else_the_pipelines_else_groundedness():
    silent = distributional("type: hallucination_rate, threshold: 0.05")
    own = distributional("type: hallucination_rate, threshold: 0.05, evaluator: no_hallucination")
    facts = EvaluatorSpec("facts", "factuality")
    assert find_evaluator(silent, [facts, GROUNDED]) is GROUNDED
    assert find_evaluator(silent, [EvaluatorSpec("x", "tone"), facts]) is facts
    assert find_evaluator(silent, []).type == "groundedness"
    assert find_evaluator(own, [facts]).type == "no_hallucination"


def test_a_cost_budget_is_for_a_thousand_records():
    test = distributional("type: cost_budget, max_cost: 2.50")
    found = judge(test, [case(i, reply(cost=0.0018)) for i in range(200)])
    line = found.checks[0]
    assert (line.text, line.verdict, line.actual) == (
        "cost per 1,000 records <= $2.50", "pass", "$1.80",
    )  # fmt: skip
    assert judge(test, [case(i, reply(cost=0.003)) for i in range(200)]).verdict == "fail"
    few = judge(test, [case(i, reply(cost=0.0018)) for i in range(20)]).checks[0]
    assert (few.verdict, few.weak, few.high) == ("pass", True, None)


def test_an_unknown_price_leaves_the_budget_unverified():
    test = distributional("type: cost_budget, max_cost: 2.50")
    found = judge(test, [case(i, reply(cost=None)) for i in range(3)])
    assert found.verdict == "unverified"
    assert found.checks[0].note == "the price of m is unknown"


def test_a_latency_limit_is_of_the_95th_percentile():
    test = distributional("type: latency, p95: 5.0")
    fine = [case(i, reply(latency=1 + i / 100)) for i in range(200)]
    assert judge(test, fine).verdict == "pass"
    assert judge(test, fine).checks[0].text == "p95(latency) < 5"
    slow = [case(i, reply(latency=9.0 if i < 40 else 1.0)) for i in range(200)]
    found = judge(test, slow)
    assert found.verdict == "fail"
    assert {sample.latency for _, sample in found.failures} == {9.0}


def each(replies):
    return [case(number, one) for number, one in enumerate(replies)]


def test_a_share_of_replies_shows_those_that_count_against_it():
    """Though they score best."""
    good = [reply(score=0.2, output={"queue": "bug"})] * 30
    bad = [reply(score=0.9, output={"queue": "other"})] * 10
    found = judge(statistical("rate(output.queue == 'bug') > 0.9"), each([*good, *bad]))
    assert found.verdict == "fail"
    assert {sample.output["queue"] for _, sample in found.failures} == {"other"}
    assert (len(found.failures), found.more) == (5, 5)


def test_what_is_too_slow_shows_the_slowest_first():
    found = judge(statistical("mean(latency) < 2"), each(reply(latency=n) for n in range(20)))
    assert [sample.latency for _, sample in found.failures] == [19, 18, 17, 16, 15]


def test_an_estimate_is_shown_inside_of_its_interval():
    replies = each(reply(latency=0.012 + 0.0001 * n) for n in range(300))
    line = check("p95(latency) < 0.001", replies)
    assert line.low <= float(line.actual) <= line.high


def test_what_fails_for_want_of_evidence_says_so():
    line = check("rate(passed) > 0.45", cases([0.9, 0.1] * 3), keys="on_inconclusive: fail")
    assert line.verdict == "fail"
    assert "inconclusive results fail this test" in line.note
