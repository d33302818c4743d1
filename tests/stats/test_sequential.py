import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.means import bounded_mean
from loomgit.stats.sequential import SequentialMean, _stakes
from tests.stats.score_models import error

BUDGET = 1000


def drawn(comparison, threshold, values, step=10):
    """Draw until decided or all are spent: the decision before the closing, how many it took."""
    bets = SequentialMean(comparison, threshold)
    for start in range(0, len(values), step):
        if bets.update(values[start : start + step]) != "inconclusive":
            break
    return bets.outcome, bets.n, bets.close()


def coins(seed, runs, share):
    return (np.random.default_rng(seed).random((runs, BUDGET)) < share).astype(float)


def test_the_bets_are_the_published_sums():
    x = np.array([0.9, 0.4, 1.0, 0.7])
    bets = SequentialMean(">", 0.75)
    bets.update(x)
    up = np.log1p(_stakes() / 0.75 * (x[:, None] - 0.75)).sum(0)
    wealth = np.exp(up).mean()
    limit = 2 / 0.05
    assert wealth < limit
    # As many perfect values as it takes for the mean wealth to pass 2 / alpha, and not one fewer.
    n = next(n for n in range(1, 99) if np.exp(up + n * np.log1p(_stakes() / 3)).mean() >= limit)
    assert bets.update([1.0] * (n - 1)) == "inconclusive"
    assert bets.update([1.0]) == "pass"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.randoms())
def test_order_within_what_was_fed_does_not_matter(x, random):
    one, two = SequentialMean(">", 0.6), SequentialMean(">", 0.6)
    assert one.update(x) == two.update(random.sample(x, len(x)))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_turned_round_the_answer_is_the_same(x):
    one, two = SequentialMean(">", 0.6), SequentialMean("<", 0.4)
    assert one.update(x) == two.update([1 - value for value in x])
    assert one.close() == two.close()


def test_the_range_may_be_any():
    values = np.random.default_rng(1).beta(18, 2, 100)
    one, two = SequentialMean(">", 0.75), SequentialMean(">", 17.5, lo=10, hi=20)
    assert one.update(values) == two.update(10 + 10 * values) == "pass"


def test_a_decision_stays():
    bets = SequentialMean(">", 0.5)
    assert bets.update([1.0] * 30) == "pass"
    assert bets.update([0.0] * 500) == "pass"
    assert bets.close() == "pass"


def test_missing_values_are_skipped():
    bets = SequentialMean(">", 0.5)
    bets.update([1.0, math.nan, 0.0])
    assert bets.n == 2


def test_a_threshold_at_the_end_is_left_to_the_closing():
    bets = SequentialMean(">=", 0.0)
    assert bets.update([0.5] * 500) == "inconclusive"
    assert bets.close() == "pass"


def test_the_closing_is_the_bounded_interval_at_half_of_alpha():
    values = np.random.default_rng(2).beta(3, 1, 40)
    bets = SequentialMean(">", 0.75)
    for value in values:
        bets.update([value])
    found, whole = bets.interval(), bounded_mean(values, alpha=0.025)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), abs=1e-9)
    assert found.level == pytest.approx(0.95)


def test_values_outside_the_range_and_no_values_are_refused():
    with pytest.raises(OutOfRange):
        SequentialMean(">", 0.5).update([1.5])
    with pytest.raises(NoValues):
        SequentialMean(">", 0.5).close()


# Mean samples for 0/1 scores with looks every ten; the error is 4 of these runs' and 2 of the
# table's own.
@pytest.mark.parametrize(
    ("comparison", "threshold", "share", "runs", "samples", "tolerance", "answer"),
    [
        (">", 0.75, 0.87, 300, 135, 20, "pass"),
        (">", 0.75, 0.80, 100, 653, 120, "pass"),
        (">", 0.75, 0.70, 100, 674, 120, "fail"),
        ("<", 0.05, 0.01, 150, 229, 35, "pass"),
        ("<", 0.05, 0.02, 120, 436, 75, "pass"),
        ("<", 0.05, 0.03, 80, 797, 110, "pass"),
        ("<", 0.05, 0.10, 150, 247, 55, "fail"),
    ],
)
def test_it_saves_the_samples_that_the_table_says(
    comparison, threshold, share, runs, samples, tolerance, answer
):
    found = [drawn(comparison, threshold, x) for x in coins(11, runs, share)]
    assert np.mean([n for _, n, _ in found]) == pytest.approx(samples, abs=tolerance)
    assert np.mean([last == answer for _, _, last in found]) > 0.8
    wrong = {"pass": "fail", "fail": "pass"}[answer]
    assert np.mean([last == wrong for _, _, last in found]) <= 0.02


def test_graded_scores_are_decided_within_some_fifty():
    rng = np.random.default_rng(4)
    found = [drawn(">", 0.75, rng.beta(17.4, 2.6, BUDGET)) for _ in range(100)]
    assert np.mean([n for _, n, _ in found]) == pytest.approx(51, abs=4)
    assert all(last == "pass" for _, _, last in found)


@pytest.mark.parametrize(("threshold", "runs"), [(0.75, 80), (0.05, 80)])
def test_at_the_threshold_each_wrong_answer_keeps_to_alpha(threshold, runs):
    found = [drawn(">", threshold, x, step=20) for x in coins(5, runs, threshold)]
    bar = 0.05 + 3 * error(0.05, runs)
    assert np.mean([last == "pass" for _, _, last in found]) <= bar
    assert np.mean([last == "fail" for _, _, last in found]) <= bar
    early = [outcome for outcome, _, _ in found if outcome != "inconclusive"]
    assert len(early) / runs <= 0.05 + 3 * error(0.05, runs)
