import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from loomgit.stats.bounds import moments_bounded_mean
from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.means import bca_mean, bounded_mean, t_mean, unbounded_mean
from loomgit.stats.summary import Moments
from tests.stats.score_models import error

scores = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=40)
slow = settings(deadline=None, max_examples=40)


def published(x, lo, hi, alpha=0.05):
    """The lower bound as the formula is printed, with sums of squares."""
    from scipy.special import betaincinv

    n, y = len(x), (np.asarray(x) - lo) / (hi - lo)
    largest = y.max()
    if largest == 0:
        return lo
    y = y / largest
    m = y.sum() / (n + 1)
    v = ((y**2).sum() / (n + 1) - m**2) / (n + 2)
    k = m * (1 - m) / v - 1
    return lo + (hi - lo) * largest * betaincinv(m * k, (1 - m) * k, alpha)


@slow
@given(scores, st.floats(-5, 5), st.floats(0.1, 10))
def test_both_ends_are_the_published_formula(x, lo, width):
    hi = lo + width
    x = np.clip(lo + width * np.round(x, 6), lo, hi)
    found = bounded_mean(x, lo, hi)
    assert found.low == pytest.approx(published(x, lo, hi), abs=1e-6 * width)
    assert found.high == pytest.approx(lo + hi - published(lo + hi - x, lo, hi), abs=1e-6 * width)
    rounding = 1e-12 * width
    assert lo - rounding <= found.low <= found.estimate <= found.high <= hi + rounding


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (37, 100)])
def test_of_0_and_1_they_are_the_exact_interval_of_a_rate(hits, n):
    found = bounded_mean([1] * hits + [0] * (n - hits))
    exact = stats.binomtest(hits, n).proportion_ci(0.90, "exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0.9], 0.045, 0.995), ([0.9] * 10, 0.667, 0.926), ([1] * 5, 0.549, 1), ([0] * 5, 0, 0.451)],
)
def test_few_or_equal_values_have_wide_intervals(values, low, high):
    found = bounded_mean(values)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)


@slow
@given(scores, st.randoms())
def test_order_does_not_matter(x, random):
    shuffled = random.sample(x, len(x))
    one, two = bounded_mean(x), bounded_mean(shuffled)
    assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=1e-9)


@slow
@given(scores)
def test_turned_round_the_ends_change_places(x):
    one, two = bounded_mean(x), bounded_mean([1 - value for value in x])
    assert (one.low, one.high) == pytest.approx((1 - two.high, 1 - two.low), abs=1e-9)


@slow
@given(scores, st.floats(-100, 100), st.floats(0.01, 100))
def test_the_unit_does_not_matter(x, shift, scale):
    one = bounded_mean(x)
    two = bounded_mean(
        np.clip(shift + scale * np.array(x), shift, shift + scale), shift, shift + scale
    )
    assert two.low == pytest.approx(shift + scale * one.low, abs=1e-6 * (scale + abs(shift)))
    assert two.high == pytest.approx(shift + scale * one.high, abs=1e-6 * (scale + abs(shift)))


@slow
@given(scores, st.floats(0.001, 0.04))
def test_more_confidence_is_wider(x, alpha):
    wide, narrow = bounded_mean(x, alpha=alpha), bounded_mean(x)
    assert wide.low <= narrow.low + 1e-12
    assert wide.high >= narrow.high - 1e-12
    assert wide.level == pytest.approx(1 - 2 * alpha)


@slow
@given(scores)
def test_the_same_values_twice_narrow_the_interval(x):
    once, twice = bounded_mean(x), bounded_mean(x + x)
    assert twice.low >= once.low - 1e-9
    assert twice.high <= once.high + 1e-9


@slow
@given(st.lists(st.floats(0, 1).map(lambda x: round(x, 6)), min_size=1, max_size=40))
def test_moments_suffice(x):
    moments = Moments()
    for value in x:
        moments.add(value)
    kept = moments.n, moments.mean, moments.std or 0.0, moments.min, moments.max
    found, whole = moments_bounded_mean(*kept, 0.0, 1.0, 0.05), bounded_mean(x)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), abs=1e-8)


@pytest.mark.parametrize(
    ("law", "n", "miss_low", "miss_high"),
    [
        ((0.0, 1.0, 0.95), 100, 0.039, None),
        ((0.0, 1.0, 0.95), 1000, 0.036, None),
        ((0.2, 1.0, 0.97), 100, 0.0, None),
        ((0.2, 1.0, 0.97), 1000, 0.037, None),
        ((0.0, 1.0, 0.5), 10, None, None),
        ((0.0, 0.3, 0.9), 30, None, None),
        ((0.9, 1.0, 0.02), 100, None, None),
    ],
)
def test_two_point_laws_are_missed_five_percent_at_most_exactly(law, n, miss_low, miss_high):
    bad, good, share = law
    mean = bad + (good - bad) * share
    low = high = 0.0
    weights = stats.binom.pmf(np.arange(n + 1), n, share)
    for k in np.flatnonzero(weights > 1e-9):
        found = bounded_mean([good] * k + [bad] * (n - k))
        low += weights[k] * (found.low > mean + 1e-12)
        high += weights[k] * (found.high < mean - 1e-12)
    assert low <= 0.051
    assert high <= 0.051
    if miss_low is not None:  # the table's are of some thousand runs: an error of 0.4 points
        assert low == pytest.approx(miss_low, abs=0.012)


def beta(rng, shape):
    return rng.beta(18, 2, shape)


def five_levels(rng, shape):
    return rng.choice([0, 0.25, 0.5, 0.75, 1], shape, p=[0.02, 0.03, 0.1, 0.25, 0.6])


def zeros_and_beta(rng, shape):
    return np.where(rng.random(shape) < 0.07, 0.0, rng.beta(18, 2, shape))


@pytest.mark.parametrize(
    ("law", "mean", "n"),
    [
        (law, mean, n)
        for law, mean in ((beta, 0.9), (five_levels, 0.845), (zeros_and_beta, 0.837))
        for n in (10, 100)
    ],
)
def test_skewed_laws_are_missed_five_percent_at_most(law, mean, n):
    runs = 1_000
    found = [bounded_mean(x) for x in law(np.random.default_rng(n), (runs, n))]
    bar = 0.051 + 3 * error(0.05, runs)  # 7.2 %
    assert np.mean([interval.low > mean for interval in found]) <= bar
    assert np.mean([interval.high < mean for interval in found]) <= bar


@pytest.mark.parametrize(("n", "slack"), [(10, 0.224), (30, 0.083), (100, 0.027), (1000, 0.005)])
def test_the_lower_bound_of_beta_18_2_lies_as_far_below_the_mean_as_tabled(n, slack):
    draws = np.random.default_rng(7).beta(18, 2, (300, n))
    assert 0.9 - np.mean([bounded_mean(x).low for x in draws]) == pytest.approx(slack, abs=0.002)


def test_t_is_false_comfort_where_bounded_is_none():
    draws = np.random.default_rng(3).random((500, 30)) < 0.95
    assert np.mean([t_mean(x).low > 0.95 for x in draws]) > 0.15
    assert not any(bounded_mean(x).low > 0.95 for x in draws)


@slow
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30).filter(lambda x: np.std(x) > 1e-6))
def test_t_is_scipys(x):
    found = t_mean(x)
    theirs = stats.ttest_1samp(x, 0).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-6)


def test_t_of_one_value_has_no_ends():
    found = t_mean([0.4])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert not found.bounded_below
    assert not found.bounded_above


def test_bca_is_scipys():
    x = np.random.default_rng(5).lognormal(0, 1, 150)
    found = bca_mean(x, np.random.default_rng(1))
    theirs = stats.bootstrap(
        (x,), np.mean, confidence_level=0.9, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    width = found.high - found.low
    assert found.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.03 * width)
    assert found.approximate


def test_bca_of_equal_values_is_a_point():
    found = bca_mean([0.1] * 7, np.random.default_rng(1))
    assert found.low == found.high == found.estimate == pytest.approx(0.1)


def test_a_cost_has_no_upper_end_until_a_hundred_were_seen():
    rng = np.random.default_rng(1)
    few = unbounded_mean(rng.exponential(2, 99), rng)
    assert few.high == math.inf
    assert few.method == "bounded"
    assert 0 < few.low < few.estimate
    many = unbounded_mean(rng.exponential(2, 100), rng)
    assert many.method == "bca"
    assert many.low < 2 < many.high < 3


def test_the_lower_end_of_a_cost_needs_no_upper_limit():
    x = np.random.default_rng(1).exponential(2, 40)
    assert bounded_mean(x, 0, math.inf).low == pytest.approx(bounded_mean(x, 0, 1e6).low)


def test_a_mean_with_a_time_out_is_infinite_and_still_bounded_below():
    found = bounded_mean([1.0, 2.0, 2.0, math.inf], 0, math.inf)
    assert (found.estimate, found.high) == (math.inf, math.inf)
    assert found.low == bounded_mean([1.0, 2.0, 2.0, 2.0], 0, math.inf).low


def test_values_outside_the_range_are_refused():
    with pytest.raises(OutOfRange, match=r"1\.2 is outside \[0, 1\]"):
        bounded_mean([0.5, 1.2])
    with pytest.raises(OutOfRange, match=r"-0\.1 is outside"):
        bounded_mean([0.5, -0.1])


def test_no_values_have_no_interval():
    with pytest.raises(NoValues):
        bounded_mean([math.nan, math.nan])


def test_missing_values_are_left_out():
    assert bounded_mean([0.5, math.nan, 0.7]) == bounded_mean([0.5, 0.7])
