import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.quantiles import extreme, quantile_interval, unseen_share
from loomgit.stats.rates import rate_interval
from loomgit.stats.verdicts import judge


@pytest.mark.parametrize("n", [2, 5, 13, 58, 59, 60, 100, 333, 1000])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.9, 0.95, 0.99])
def test_the_ends_are_those_of_scipys_quantile_test(n, q):
    x = np.random.default_rng(n).exponential(1, n)
    found = quantile_interval(x, q)
    upper = stats.quantile_test(x, q=0, p=q, alternative="less").confidence_interval(0.95).high
    lower = stats.quantile_test(x, q=0, p=q, alternative="greater").confidence_interval(0.95).low
    assert found.high == (math.inf if math.isnan(upper) else upper)
    assert found.low == (-math.inf if math.isnan(lower) else lower)
    assert found.estimate == pytest.approx(np.percentile(x, 100 * q))


def test_a_p95_has_no_upper_end_below_59_values():
    assert not quantile_interval(np.arange(58), 0.95).bounded_above
    assert quantile_interval(np.arange(59), 0.95).high == 58


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.floats(0.5, 6))
def test_a_p95_below_t_is_a_rate_at_or_above_t_below_5_percent(n, seed, t):
    x = np.random.default_rng(seed).exponential(1, n)
    p95 = judge(quantile_interval(x, 0.95), "<", t)
    assert p95 == judge(rate_interval(int((x >= t).sum()), n), "<", 0.05)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.sampled_from([0.1, 0.5, 0.95]))
def test_turned_round_the_ends_change_places(x, q):
    one, two = quantile_interval(x, q), quantile_interval([-v for v in x], 1 - q)
    assert (one.low, one.high) == (-two.high, -two.low)


def test_the_interval_misses_five_percent_at_most_exactly():
    # Of n continuous values, B ~ Binomial(n, q) lie below the quantile, whatever their law.
    for n in (30, 59, 100, 300):
        found = quantile_interval(np.arange(1, n + 1), 0.9)
        below = stats.binom(n, 0.9)
        missed_above = 0.0 if found.high == math.inf else below.sf(found.high - 1)
        missed_below = 0.0 if found.low == -math.inf else below.cdf(found.low - 1)
        assert missed_above <= 0.05
        assert missed_below <= 0.05


def test_time_outs_are_values_like_others():
    x = [1.0] * 90 + [2.0] * 10 + [math.inf]
    assert quantile_interval(x, 0.5).high == 1.0
    tail = quantile_interval([1.0] * 10 + [math.inf] * 10, 0.95)
    assert tail.estimate == math.inf
    assert tail.low == math.inf
    assert quantile_interval([1.0, math.inf, math.inf], 0.0001).estimate == math.inf
    assert quantile_interval([1.0, 1.0, math.inf], 0.5).estimate == 1.0


def test_extremes_are_what_was_observed():
    least = extreme([0.4, 0.9], "min")
    assert (least.low, least.estimate, least.high) == (0.4, 0.4, 0.4)
    assert judge(least, ">", 0.5) == "fail"
    assert judge(extreme([0.4, 0.9], "max"), "<", 0.95) == "pass"


@pytest.mark.parametrize("n", [1, 10, 59, 1000])
def test_a_share_below_the_extreme_any_larger_would_have_shown(n):
    share = unseen_share(n)
    assert (1 - share) ** n == pytest.approx(0.05)
    assert share <= 3 / n


def test_a_quantile_of_nothing_or_beyond_is_refused():
    with pytest.raises(NoValues):
        quantile_interval([], 0.5)
    with pytest.raises(OutOfRange):
        quantile_interval([1.0], 1.0)
