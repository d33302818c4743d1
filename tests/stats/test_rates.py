import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.means import bounded_mean
from loomgit.stats.rates import rate_interval, smallest_sample
from loomgit.stats.verdicts import judge


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_clopper_and_pearsons(counts):
    hits, n = counts
    found = rate_interval(hits, n)
    exact = stats.binomtest(hits, n).proportion_ci(0.90, "exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert not found.approximate


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_rate_is_the_mean_of_0_and_1(counts):
    hits, n = counts
    mean, rate = bounded_mean([1] * hits + [0] * (n - hits)), rate_interval(hits, n)
    assert (mean.low, mean.high) == pytest.approx((rate.low, rate.high), abs=1e-9)


@pytest.mark.parametrize(
    ("n", "passes_to", "fails_from"), [(1000, 38, 63), (100, 1, 10), (59, 0, 7), (58, None, 7)]
)
def test_rate_below_5_percent_is_decided_by_the_tabled_counts(n, passes_to, fails_from):
    answers = [judge(rate_interval(k, n), "<", 0.05) for k in range(n + 1)]
    passing = [k for k, answer in enumerate(answers) if answer == "pass"]
    failing = [k for k, answer in enumerate(answers) if answer == "fail"]
    assert (passing[-1] if passing else None) == passes_to
    assert failing[0] == fails_from


@pytest.mark.parametrize(
    ("threshold", "n"), [(0.5, 5), (0.75, 11), (0.8, 14), (0.9, 29), (0.95, 59), (0.99, 299)]
)
def test_the_smallest_sample_for_a_threshold_is_as_tabled(threshold, n):
    assert smallest_sample(threshold) == n
    assert judge(rate_interval(n, n), ">", threshold) == "pass"
    assert judge(rate_interval(n - 1, n - 1), ">", threshold) == "inconclusive"


def test_a_rate_above_0_takes_one():
    assert smallest_sample(0) == 1
    assert smallest_sample(math.nextafter(1.0, 0.0)) > 1e16  # and it ends


def test_impossible_counts_are_refused():
    with pytest.raises(OutOfRange):
        rate_interval(4, 3)
    with pytest.raises(OutOfRange):
        smallest_sample(1)
    with pytest.raises(NoValues):
        rate_interval(0, 0)
