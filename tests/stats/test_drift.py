import math

import numpy as np
import pytest
from scipy import stats

from loomgit.stats.drift import label_drift, length_drift, score_drift
from tests.stats.score_models import error


def rng(seed=1):
    return np.random.default_rng(seed)


def test_the_distance_is_scipys():
    b, c = rng(2).random((30, 3)), rng(3).beta(4, 2, (30, 2))
    b[0, 0] = c[5, 1] = math.nan
    found = score_drift(b, c, rng())
    seen = (side[~np.isnan(side)] for side in (b, c))
    assert found.distance == pytest.approx(stats.wasserstein_distance(*seen))
    assert (found.base, found.candidate) == (89, 59)


def test_the_distance_of_labels_is_half_the_sum_of_gaps():
    base = [["good"], ["good", "bad"], ["bad"]]
    candidate = [["good"], ["good"], ["neutral"]]
    found = label_drift(base, candidate, rng())
    assert found.distance == pytest.approx((abs(2 / 4 - 2 / 3) + 2 / 4 + 1 / 3) / 2)
    assert found.statistic == "total variation"


def test_the_same_outputs_have_not_drifted():
    b = rng().random((50, 2))
    found = score_drift(b, b.copy(), rng())
    assert (found.distance, found.p) == (0, 1)
    assert not found.warns
    same = label_drift([["a"], ["b"]], [["a"], ["b"]], rng())
    assert (same.distance, same.p, same.warns) == (0, 1, False)


def test_the_same_mean_but_wider_warns():
    level = rng(4).uniform(0.4, 0.6, 200)
    b = level + rng(5).normal(0, 0.05, 200)
    c = level + rng(6).normal(0, 0.2, 200)
    found = score_drift(b, c, rng())
    assert found.warns
    assert found.p == 1 / 1000


def test_a_sure_but_small_shift_does_not_warn():
    b = rng(4).uniform(0.4, 0.6, 400)
    found = score_drift(b, b + 0.02, rng())
    assert found.p <= 0.01
    assert not found.warns


def test_a_large_shift_that_may_be_luck_does_not_warn():
    found = score_drift([[0.9], [0.8], [0.4]], [[0.7], [0.9], [0.1]], rng())
    assert found.distance > 0.1
    assert found.p > 0.05
    assert not found.warns


def test_lengths_matter_from_a_tenth_of_the_mean():
    b = rng(4).uniform(90, 110, 200)
    assert length_drift(b, b * 1.15, rng()).warns
    small = length_drift(b, b * 1.05, rng())
    assert small.limit == pytest.approx(b.mean() / 10)
    assert not small.warns


def test_labels_that_shift_warn():
    base = [["positive"]] * 90 + [["negative"]] * 60
    candidate = [["positive"]] * 60 + [["negative"]] * 60 + [["neutral"]] * 30
    assert label_drift(base, candidate, rng()).warns


def test_cases_that_differ_do_not_look_like_drift():
    """Relabelling stays within cases: that cases lie far apart is no evidence."""
    levels = rng(7).random(150)
    found = score_drift(levels + rng(8).normal(0, 0.01, 150), levels, rng())
    assert found.p > 0.01 or found.distance < 0.03


@pytest.mark.parametrize("levels", [None, 5])
def test_without_a_shift_few_warn(levels):
    draws, runs = rng(9), 60
    p = []
    for _ in range(runs):
        both = draws.beta(8, 2, (2, 60))
        both = both if levels is None else np.round(both * (levels - 1)) / (levels - 1)
        p.append(score_drift(*both, draws).p)
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * error(0.05, runs)
    assert np.mean(p) > 0.4


def test_the_same_seed_gives_the_same_p():
    b, c = rng(2).random(40), rng(3).random(40)
    assert score_drift(b, c, rng()) == score_drift(b, c, rng())
