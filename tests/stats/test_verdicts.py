import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loomgit.stats.interval import Interval
from loomgit.stats.means import bounded_mean
from loomgit.stats.quantiles import extreme, quantile_interval
from loomgit.stats.rates import rate_interval
from loomgit.stats.spread import std_interval
from loomgit.stats.thresholds import holds
from loomgit.stats.verdicts import judge, needed_n, verdict, worst_end, worst_for_spread


def between(low, high):
    return Interval((low + high) / 2, low, high, 10, "bounded")


@pytest.mark.parametrize(
    ("low", "high", "comparison", "answer"),
    [
        (0.6, 0.8, ">", "pass"),
        (0.5, 0.8, ">", "inconclusive"),
        (0.5, 0.8, ">=", "pass"),
        (0.4, 0.6, ">", "inconclusive"),
        (0.4, 0.5, ">", "fail"),
        (0.4, 0.5, ">=", "inconclusive"),
        (0.3, 0.4, ">=", "fail"),
        (0.3, 0.4, "<", "pass"),
        (0.3, 0.5, "<", "inconclusive"),
        (0.3, 0.5, "<=", "pass"),
        (0.5, 0.7, "<", "fail"),
        (0.5, 0.7, "<=", "inconclusive"),
        (0.6, 0.7, "<=", "fail"),
        (-math.inf, math.inf, "<", "inconclusive"),
        (0.2, math.inf, "<", "inconclusive"),
        (0.6, math.inf, "<", "fail"),
    ],
)
def test_an_interval_wholly_on_one_side_decides(low, high, comparison, answer):
    assert judge(between(low, high), comparison, 0.5) == answer


mirrored = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
ends = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted)


@given(ends, st.sampled_from(sorted(mirrored)), st.floats(-1, 1))
def test_turned_round_the_verdict_is_the_same(pair, comparison, threshold):
    low, high = pair
    one = judge(between(low, high), comparison, threshold)
    assert one == judge(between(-high, -low), mirrored[comparison], -threshold)


@given(ends, st.sampled_from(sorted(mirrored)), st.floats(-1, 1))
def test_a_pass_holds_everywhere_in_the_interval_and_a_fail_nowhere(pair, comparison, threshold):
    low, high = pair
    answers = {holds(x, comparison, threshold) for x in (low, (low + high) / 2, high)}
    answer = judge(between(low, high), comparison, threshold)
    assert answers == {"pass": {True}, "fail": {False}}.get(answer, {True, False}) or (
        answer == "inconclusive" and True in answers
    )


# P(assertion fails), %, of `mean > 0.75` on 0/1 scores: by the estimate, and only on evidence.
FAILS = {
    0.80: ((10, 34, 1), (30, 24, 0), (100, 14, 0), (300, 2, 0)),
    0.87: ((10, 12, 0), (30, 3, 0), (100, 0, 0), (300, 0, 0)),
    0.70: ((10, 63, 4), (30, 73, 8), (100, 88, 30), (300, 98, 64)),
    0.65: ((10, 73, 9), (30, 87, 22), (100, 99, 71), (300, 100, 98)),
}


@pytest.mark.parametrize(
    ("mean", "n", "point", "evidence"),
    [(mean, *cell) for mean, cells in FAILS.items() for cell in cells],
)
def test_estimates_flake_and_evidence_seldom_does_exactly_as_tabled(mean, n, point, evidence):
    law = stats.binom(n, mean)
    intervals = [rate_interval(k, n) for k in range(n + 1)]
    by_point = sum(law.pmf(k) for k in range(n + 1) if not holds(k / n, ">", 0.75))
    on_evidence = sum(
        law.pmf(k) for k, interval in enumerate(intervals) if judge(interval, ">", 0.75) == "fail"
    )
    # The table is of a thousand runs or so: an error of 1.6 points.
    assert 100 * by_point == pytest.approx(point, abs=5)
    assert 100 * on_evidence == pytest.approx(evidence, abs=5)


def test_a_pass_that_missing_values_could_flip_is_inconclusive():
    good = [0.9] * 40
    sure = verdict(good, bounded_mean, ">", 0.75, worst=0.0)
    assert (sure.outcome, sure.holds, sure.missing) == ("pass", True, 0)
    one = verdict([*good, math.nan], bounded_mean, ">", 0.75, worst=0.0)
    assert (one.outcome, one.missing) == ("pass", 1)
    assert one.interval == sure.interval
    six = verdict([*good, *[math.nan] * 6], bounded_mean, ">", 0.75, worst=0.0)
    assert (six.outcome, six.holds) == ("inconclusive", True)


def test_missing_values_do_not_soften_a_fail():
    found = verdict([0.1] * 40 + [math.nan], bounded_mean, ">", 0.75, worst=0.0)
    assert (found.outcome, found.holds) == ("fail", False)


def test_a_missing_latency_may_have_been_infinite():
    def p95(x):
        return quantile_interval(x, 0.95)

    assert verdict([1.0] * 59, p95, "<", 5, worst=math.inf).outcome == "pass"
    assert verdict([1.0] * 59 + [math.nan], p95, "<", 5, worst=math.inf).outcome == "inconclusive"
    enough = verdict([1.0] * 99 + [math.nan], p95, "<", 5, worst=math.inf)
    assert enough.outcome == "pass"


def test_a_missing_value_may_have_been_the_smallest():
    def least(x):
        return extreme(x, "min")

    assert verdict([0.6, 0.7], least, ">", 0.5, worst=0.0).outcome == "pass"
    assert verdict([0.6, 0.7, math.nan], least, ">", 0.5, worst=0.0).outcome == "inconclusive"


def test_the_worst_end_satisfies_least():
    assert worst_end(">", 0, 1) == 0
    assert worst_end("<=", 0, 1) == 1


def test_what_it_needs_is_the_normal_formula():
    assert needed_n(0.3, 0.8, 0.75) == math.ceil((1.6449 * 0.3 / 0.05) ** 2)
    assert needed_n(3.0, 8, 7.5, 0, math.inf) == needed_n(0.3, 0.8, 0.75)
    assert needed_n(0.3, 0.75, 0.75) == math.inf


def test_equal_values_need_what_a_perfect_sample_needs():
    assert needed_n(0.0, 0.0, 0.05) == 59
    assert needed_n(0.0, 1.0, 0.95) == 59
    n = needed_n(0.0, 0.9, 0.75)
    assert judge(bounded_mean([0.9] * n), ">", 0.75) == "pass"
    assert judge(bounded_mean([0.9] * (n - 1)), ">", 0.75) == "inconclusive"


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.integers(0, 5),
)
def test_the_worst_missing_values_of_a_spread(known, missing):
    x = np.array(known)
    worst = worst_for_spread(x, missing, "<", 0.0, 1.0)
    assert worst.shape == (missing,)
    largest = max(
        np.std([*known, *chosen]) for chosen in itertools.product((0.0, 0.5, 1.0), repeat=missing)
    )
    assert np.std([*known, *worst]) == pytest.approx(largest, abs=1e-9)
    best = worst_for_spread(x, missing, ">=", 0.0, 1.0)
    assert np.std([*known, *best]) <= np.std(known) + 1e-9
    smallest = min(np.std([*known, *[value] * missing]) for value in (0.0, *known, 1.0))
    assert np.std([*known, *best]) <= smallest + 1e-9


def test_missing_values_can_increase_a_spread_at_either_end():
    values = np.array([1.0] * 1000 + [np.nan] * 300)
    worst = worst_for_spread(values[:1000], 300, "<", 0.0, 1.0)
    judged = verdict(values, lambda x: std_interval(x, np.random.default_rng(1)), "<", 0.2, worst)
    assert judged.outcome == "inconclusive"
