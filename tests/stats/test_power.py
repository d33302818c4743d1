import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.stats.errors import NoValues
from loomgit.stats.power import (
    detectable_drop,
    needed_cases,
    power,
    shift_variance,
    within_deviation,
)
from tests.stats.score_models import MEANS, blocked, dropped, error, suite

DEVIATIONS = {"graded": 0.085, "five levels": 0.17, "pass/fail": 0.25}
NEEDED = {  # (drop, max_drop): cases at m = 1, 3, 5
    (0.02, 0.01): ((527, 176, 106), (1197, 399, 240), (2236, 746, 448)),
    (0.03, 0.02): ((309, 103, 62), (616, 206, 124), (1092, 364, 219)),
    (0.05, 0.02): ((154, 52, 31), (261, 87, 53), (427, 143, 86)),
    (0.1, 0.02): ((65, 22, 13), (92, 31, 19), (133, 45, 27)),
}


@pytest.mark.parametrize("drops", NEEDED)
def test_the_table_of_needed_cases_is_exact(drops):
    drop, max_drop = drops
    found = tuple(
        tuple(needed_cases(drop, sd, m, max_drop) for m in (1, 3, 5)) for sd in DEVIATIONS.values()
    )
    assert found == NEEDED[drops]


def test_small_uniform_shifts_need_far_fewer():
    found = [needed_cases(0.05, 0.085, m, 0.02, "uniform") for m in (1, 3, 5)]
    assert found == [36, 12, 8]


def test_a_drop_within_the_allowance_is_never_blocked_surely():
    assert needed_cases(0.02, 0.085, 3, 0.02) == math.inf
    assert needed_cases(0.01, 0.085, 3, 0.02) == math.inf
    assert power(10**9, 0.02, 0.085, 3) == pytest.approx(0.5)


drops = st.floats(0.025, 0.5)
kinds = st.sampled_from(["uniform", "scattered", "broken"])


@given(drops, st.floats(0.01, 0.4), st.integers(1, 9), kinds)
def test_the_needed_cases_are_the_fewest_with_80_percent(drop, sd, m, failures):
    n = needed_cases(drop, sd, m, 0.02, failures)
    assert power(n, drop, sd, m, 0.02, failures) >= 0.8 - 1e-9
    if n > 1:
        assert power(n - 1, drop, sd, m, 0.02, failures) < 0.8 + 1e-9


@given(drops, st.floats(0.01, 0.4), st.integers(1, 9), st.integers(1, 500), kinds)
def test_more_cases_and_samples_see_more(drop, sd, m, n, failures):
    now = power(n, drop, sd, m, 0.02, failures)
    assert power(n + 1, drop, sd, m, 0.02, failures) >= now - 1e-12
    assert power(n, drop, sd, m + 1, 0.02, failures) >= now - 1e-12


def test_broken_cases_add_variance_that_samples_do_not_take_away():
    assert shift_variance(0.1, 0.2, 4, "uniform") == pytest.approx(0.02)
    assert shift_variance(0.1, 0.2, 4, "scattered") == pytest.approx(0.02 + 0.09 / 4)
    assert shift_variance(0.1, 0.2, 4, "broken") == pytest.approx(0.02 + 0.09)


def test_without_any_noise_every_material_drop_is_seen():
    assert power(5, 0.05, 0.0, 3, 0.02, "uniform") == 1
    assert power(5, 0.01, 0.0, 3, 0.02, "uniform") == 0


@pytest.mark.parametrize("model", DEVIATIONS)
@pytest.mark.parametrize("drop", [0.05, 0.1])
@pytest.mark.parametrize("m", [1, 3])
def test_at_the_planned_number_the_simulated_power_is_as_planned(model, drop, m):
    rng, runs = np.random.default_rng(17), 1_000
    n = needed_cases(drop, DEVIATIONS[model], m)
    draw = suite(model, rng, runs, n)
    share = blocked(draw(m), dropped(draw(m), drop, "scattered", MEANS[model], rng)).mean()
    # A graded output that fails loses less than the plan assumes, which starts from 1.
    most = 0.92 if model == "graded" else 0.86
    assert 0.76 - 3 * error(0.8, runs) <= share <= most + 3 * error(0.8, runs)


@given(st.integers(1, 400), st.floats(0, 0.2), st.integers(1, 5), st.floats(0, 0.1))
def test_the_detectable_drop_is_what_has_80_percent(n, sd, m, max_drop):
    drop = detectable_drop(n, 2 * sd**2 / m, m, max_drop)
    if drop == math.inf:
        assert power(n, 1.0, sd, m, max_drop) < 0.8 + 1e-9
    else:
        assert drop > max_drop
        assert power(n, min(drop + 1e-5, 1.0), sd, m, max_drop) >= 0.8 - 1e-9
        assert power(n, drop - 1e-5, sd, m, max_drop) < 0.8 + 1e-9


def test_the_deviation_is_that_within_cases():
    scores = np.array([[0.0, 0.2], [0.9, 0.9], [0.5, np.nan], [np.nan, np.nan]])
    assert within_deviation(scores) == pytest.approx(math.sqrt((0.02 + 0) / 2))
    level = np.array([0.0, 1.0, 0.5, 0.2])[:, None]
    assert within_deviation(scores + level) == pytest.approx(within_deviation(scores))


def test_of_one_sample_a_case_it_is_that_of_all_scores():
    scores = np.array([[0.1], [0.5], [0.9]])
    assert within_deviation(scores) == pytest.approx(0.4)
    with pytest.raises(NoValues):
        within_deviation(np.array([[0.4]]))
