import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.stats.errors import NoValues
from loomgit.stats.seeded_random import generator
from loomgit.stats.spread import MAX_DISTINCT_VALUES, far_end, std_interval
from tests.stats.score_models import error


def of(values, lo=0.0, hi=1.0, seed=1):
    return std_interval(values, np.random.default_rng(seed), lo, hi)


def test_equal_values_may_still_hide_a_spread():
    found = of([0.9] * 10)
    assert (found.estimate, found.low) == (0, 0)
    # One value more at 0, weighing Beta(1, 10): 0.9 sqrt(w (1 - w)) at its 95 % point.
    w = 1 - 0.05 ** (1 / 10)
    assert found.high == pytest.approx(0.9 * math.sqrt(w * (1 - w)), abs=0.01)
    assert found.high == pytest.approx(0.4, abs=0.01)


def test_one_value_has_no_spread_and_no_assurance():
    found = of([0.5])
    assert (found.estimate, found.low) == (0, 0)
    assert found.high == pytest.approx(0.25, abs=0.01)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=1, max_size=30), st.randoms())
def test_order_does_not_matter_to_the_last_digit_of_the_ends(x, random):
    one, two = of(x), of(random.sample(x, len(x)))
    assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=1e-12)
    assert one.low <= one.estimate <= one.high


def test_the_unit_does_not_matter():
    x = np.random.default_rng(2).beta(18, 2, 50)
    one, two = of(x), of(3 + 10 * x, 3, 13)
    assert (10 * one.low, 10 * one.high) == pytest.approx((two.low, two.high), rel=1e-9)


def test_without_a_range_there_is_no_upper_end():
    assert of([1.0, 2.0, 5.0], 0, math.inf).high == math.inf


def test_the_farther_end_is_the_one_that_would_spread_most():
    assert far_end(0.9, 0, 1) == 0
    assert far_end(0.2, 0, 1) == 1


@pytest.mark.parametrize(("n", "runs"), [(10, 300), (30, 300), (100, 150)])
def test_skewed_scores_are_missed_as_seldom_as_tabled(n, runs):
    rng = np.random.default_rng(n)
    true = math.sqrt(18 * 2 / (20**2 * 21))
    found = [std_interval(rng.beta(18, 2, n), rng) for _ in range(runs)]
    assert np.mean([i.high < true for i in found]) <= 0.045 + 3 * error(0.045, runs)
    assert np.mean([i.low > true for i in found]) <= 0.049 + 3 * error(0.049, runs)
    if n == 30:
        assert np.mean([i.high for i in found]) == pytest.approx(0.27, abs=0.01)


def test_very_many_values_are_counted_in_cells_that_change_nothing():
    x = np.random.default_rng(1).beta(18, 2, 5 * MAX_DISTINCT_VALUES)
    found = of(x)
    sd = x.std(ddof=1)
    margin = 1.645 * math.sqrt(np.var((x - x.mean()) ** 2) / x.size) / (2 * sd)
    wary = math.sqrt(sd**2 + x.mean() ** 2 / x.size)  # with one value more, at 0
    assert found.low == pytest.approx(sd - margin, abs=0.1 * margin)
    assert found.high == pytest.approx(wary + margin, abs=0.3 * margin)


def test_the_same_test_draws_the_same_numbers():
    one = std_interval([0.1, 0.5, 0.9], generator("suite::quality", "scores"))
    two = std_interval([0.1, 0.5, 0.9], generator("suite::quality", "scores"))
    other = std_interval([0.1, 0.5, 0.9], generator("suite::quality", "other"))
    assert one == two
    assert one != other


def test_no_values_have_no_spread():
    with pytest.raises(NoValues):
        of([])
