import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from loomgit.stats.gate import compare
from loomgit.stats.multiple_testing import adjust, decide_family
from tests.stats.score_models import error


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_adjusted_p_values_are_scipys(p):
    assert adjust(p) == pytest.approx(stats.false_discovery_control(p).tolist(), abs=1e-12)


def test_no_metrics_are_no_family():
    assert adjust([]) == ()
    assert decide_family([]) == ()


@pytest.mark.parametrize(
    ("metrics", "raw", "adjusted"), [(5, 18, 5.0), (20, 35, 3.3), (50, 48, 3.2)]
)
def test_some_metric_blocks_by_luck_as_seldom_as_tabled(metrics, raw, adjusted):
    rng, runs = np.random.default_rng(8), 2_000
    shared, own = rng.standard_normal((runs, 1)), rng.standard_normal((runs, metrics))
    p = special.ndtr((shared + own) / np.sqrt(2))
    any_raw = 100 * (p <= 0.05).any(1).mean()
    any_adjusted = 100 * np.mean([min(adjust(row)) <= 0.05 for row in p])
    assert any_raw == pytest.approx(raw, abs=100 * 3 * error(raw / 100, runs) + 1.5)
    assert any_adjusted == pytest.approx(adjusted, abs=100 * 3 * error(0.05, runs))
    assert any_adjusted <= 5 + 100 * 3 * error(0.05, runs)


def metric(shift, seed, max_drop=0.02):
    rng = np.random.default_rng(seed)
    base = rng.beta(16, 4, (60, 1))
    noise = rng.normal(0, 0.2, (60, 1))
    return compare(base, base + shift + noise - noise.mean(), max_drop=max_drop)


def test_one_weak_loss_among_many_metrics_no_longer_blocks():
    weak = metric(-0.05, 1)
    assert weak.outcome == "degraded"
    family = decide_family([weak, *[metric(0.0, seed) for seed in range(2, 12)]])
    assert family[0].adjusted > 0.05 >= family[0].p
    assert family[0].outcome == "inconclusive"


def test_a_clear_loss_still_does():
    family = decide_family([metric(-0.2, 1), *[metric(0.0, seed) for seed in range(2, 12)]])
    assert family[0].outcome == "degraded"
    assert all(change.outcome != "degraded" for change in family[1:])


def test_materiality_stays_each_metrics_own():
    one, two = metric(-0.2, 1, max_drop=0.3), metric(-0.2, 1)
    assert [change.outcome for change in decide_family([one, two])] == ["no_worse", "degraded"]


def test_identical_scores_stay_so_and_a_family_of_one_is_as_before():
    same = compare([[0.5], [0.7]] * 30, [[0.5], [0.7]] * 30)
    assert decide_family([same, metric(-0.2, 1)])[0] == same
    alone = metric(-0.05, 1)
    assert decide_family([alone]) == (alone,)


def test_deciding_twice_adjusts_once():
    family = decide_family([metric(-0.05, 1), *[metric(0.0, seed) for seed in range(2, 12)]])
    assert decide_family(family) == family
