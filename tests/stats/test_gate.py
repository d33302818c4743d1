import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loomgit.stats.distributions import Z
from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.gate import blocks, compare, compare_rise, compare_unpaired, confirm
from loomgit.stats.means import bounded_mean
from loomgit.stats.power import power

slow = settings(deadline=None, max_examples=30)


def noisy(seed, shift, n=60, sd=0.1, m=1):
    """Two sides whose mean shift is exactly `shift`."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.3, 0.9, (n, 1)).repeat(m, axis=1)
    noise = rng.normal(0, sd, (n, m))
    return base, base + noise - noise.mean() + shift


def test_the_same_scores_are_no_worse_from_fifty_samples_on():
    found = compare([[0.5, 0.7], [1.0]] * 20, [[0.7, 0.5], [1.0]] * 20)
    assert (found.outcome, found.p, found.delta) == ("no_worse", 1.0, 0.0)
    assert not blocks(found, strict=True)
    few = compare([[0.5, 0.7], [1.0]], [[0.7, 0.5], [1.0]])
    assert (few.outcome, few.identical) == ("inconclusive", True)
    assert few.detects == pytest.approx(1 - 0.2 ** (1 / 3))  # of outputs that fail altogether


def test_a_sure_and_material_drop_is_degraded():
    found = compare(*noisy(1, -0.05))
    assert found.outcome == "degraded"
    assert blocks(found)
    assert found.delta == pytest.approx(-0.05)
    assert found.adjusted == found.p <= 0.05


def test_a_sure_drop_below_max_drop_does_not_block():
    found = compare(*noisy(1, -0.015, n=1_000, sd=0.02))
    assert found.p < 0.05
    assert found.outcome == "no_worse"
    assert compare(*noisy(1, -0.015, n=1_000, sd=0.02), max_drop=0.01).outcome == "degraded"


def test_a_drop_of_just_max_drop_blocks_in_spite_of_binary_fractions():
    base = np.full(60, 0.2)
    found = compare(base, base - 0.02)
    assert found.delta > -0.02
    assert found.outcome == "degraded"


def test_a_material_drop_that_may_be_luck_does_not_block():
    found = compare(*noisy(1, -0.05, n=10, sd=0.3))
    assert found.outcome == "inconclusive"
    assert not blocks(found)
    assert blocks(found, strict=True)


def test_a_sure_gain_is_improved_whatever_its_size():
    found = compare(*noisy(1, 0.04, n=20, sd=0.05))
    assert found.outcome == "improved"
    assert found.interval.low > 0


def test_an_overwhelming_gain_is_improved_too():
    assert compare(np.zeros(200), np.ones(200)).outcome == "improved"


def test_no_worse_takes_fifty_samples_a_side():
    assert compare(*noisy(1, 0.0, n=50, sd=0.01), max_drop=0.05).outcome == "no_worse"
    assert compare(*noisy(1, 0.0, n=49, sd=0.01), max_drop=0.05).outcome == "inconclusive"
    assert compare(*noisy(1, 0.0, n=25, sd=0.01, m=2), max_drop=0.05).outcome == "no_worse"


def test_no_worse_holds_as_if_one_more_output_had_failed():
    base, candidate = noisy(1, 0.0, n=100, sd=0.01)
    found = compare(base, candidate)
    one = base.mean() / 100
    se = (found.delta - found.interval.low) / Z
    assert found.floor == pytest.approx(found.delta - one - Z * math.hypot(se, one))
    turned = compare(1 - base, 1 - candidate, higher_is_better=False)
    assert turned.floor == pytest.approx(found.floor)
    assert compare_rise(*rises(1, 1.0, sd=0.1)).floor == pytest.approx(
        compare_rise(*rises(1, 1.0, sd=0.1)).interval.low
    )


def test_of_a_population_no_worse_rests_on_the_bounded_bound():
    base, candidate = noisy(1, 0.0, n=60, sd=0.03)
    assert compare(base, candidate, scope="population").outcome == "inconclusive"
    many = noisy(1, 0.0, n=200, sd=0.03)
    found = compare(*many, scope="population")
    assert found.outcome == "no_worse"
    assert found.floor == bounded_mean((many[1] - many[0])[:, 0], -1, 1).low
    assert found.floor < found.interval.low


@pytest.mark.parametrize(("n", "green"), [(145, False), (155, True)])
def test_a_population_of_equal_scores_but_for_noise_needs_about_150_cases(n, green):
    base, candidate = noisy(1, 0.0, n=n, sd=1e-6)
    assert (compare(base, candidate, scope="population").outcome == "no_worse") is green


grids = st.integers(1, 15).flatmap(
    lambda n: st.tuples(
        *[
            hnp.arrays(float, (n, 2), elements=st.integers(0, 20).map(lambda k: k / 20))
            for _ in range(2)
        ]
    )
)


@slow
@given(grids, st.sampled_from(["suite", "population"]))
def test_lower_is_better_is_the_same_gate_turned_round(both, scope):
    up = compare(*both, scope=scope)
    down = compare(*(1 - side for side in both), scope=scope, higher_is_better=False)
    assert up.outcome == down.outcome
    assert (up.delta, up.p, up.floor) == pytest.approx((down.delta, down.p, down.floor), abs=1e-9)


@slow
@given(grids, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_larger_allowance_never_blocks_more(both, one, two):
    tight, loose = sorted((one, two))
    if compare(*both, max_drop=loose).outcome == "degraded":
        assert compare(*both, max_drop=tight).outcome == "degraded"


@slow
@given(grids)
def test_it_blocks_exactly_if_p_and_the_drop_say_so(both):
    found = compare(*both)
    same = (np.sort(both[0], 1) == np.sort(both[1], 1)).all()
    assert found.identical == same
    if not same:
        assert blocks(found) == (found.p <= 0.05 and found.delta <= -0.02 + 1e-12)
        assert found.interval.high - found.interval.low > 0


def test_missing_samples_are_left_out_and_counted():
    base = [[0.9, 0.8], [0.7, math.nan], [math.nan, math.nan]]
    found = compare(base, [[0.9, 0.7], [0.6, 0.5], [0.4, 0.4]])
    assert (found.cases, found.excluded, found.missing, found.samples) == (2, 1, 3, 3)


def test_it_says_which_drop_it_would_have_seen():
    rng = np.random.default_rng(4)
    sd, m, n = 0.2, 3, 80
    level = rng.uniform(0.4, 0.6, (n, 1))
    found = compare(*(level + rng.normal(0, sd, (n, m)) for _ in range(2)))
    assert power(n, found.detects, sd, m) == pytest.approx(0.8, abs=0.05)
    assert compare([[0.0]], [[1.0]]).detects == math.inf


def test_the_exact_p_takes_the_place_of_the_normal_one():
    base, candidate = [[1.0]] * 4 + [[0.0]], [[0.0]] * 4 + [[0.0]]
    assert compare(base, candidate).outcome == "degraded"
    exact = compare(base, candidate, exact=np.random.default_rng(1))
    assert exact.p == 1 / 16
    assert exact.outcome == "inconclusive"


def test_a_degradation_stands_only_if_a_fresh_run_agrees():
    first = compare(*noisy(1, -0.05))
    assert confirm(first, compare(*noisy(2, -0.05))).outcome == "degraded"
    assert confirm(first, compare(*noisy(2, 0.0))).outcome == "inconclusive"
    gain = compare(*noisy(1, 0.05))
    assert confirm(gain, first) == gain


def test_shifts_beyond_the_range_are_refused_of_a_population():
    wide = [[0.0], [10.0]], [[9.0], [0.0]]
    with pytest.raises(OutOfRange):
        compare(*wide, scope="population")
    assert compare(*wide, scope="population", span=10).cases == 2


def rises(seed, factor, n=50, m=3, sd=0.3):
    base, candidate = noisy(seed, 0.0, n, sd, m)
    return np.exp(base), np.exp(candidate) * factor


def test_a_rise_of_max_rise_blocks():
    found = compare_rise(*rises(1, 1.25))
    assert found.outcome == "degraded"
    assert found.ratio == pytest.approx(1.25)
    assert compare_rise(*rises(1, 1.25), max_rise=0.3).outcome != "degraded"
    assert compare_rise(*rises(1, 1 / 1.25)).outcome == "improved"
    assert compare_rise(*rises(1, 1.0, sd=0.1)).outcome == "no_worse"


def test_the_unit_of_a_cost_does_not_matter():
    base, candidate = rises(1, 1.12)
    one, two = compare_rise(base, candidate), compare_rise(1000 * base, 1000 * candidate)
    assert one.outcome == two.outcome
    assert (one.delta, one.p) == pytest.approx((two.delta, two.p))


def test_time_outs_count_as_the_slowest_and_free_calls_as_next_to_nothing():
    timed_out = compare_rise([[1.0, math.inf], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]])
    assert timed_out.identical
    assert compare_rise(np.zeros(5), np.zeros(5)).outcome == "inconclusive"
    assert compare_rise(np.zeros(50), np.zeros(50)).outcome == "no_worse"
    assert compare_rise(np.zeros(5), np.full(5, 0.01)).outcome == "degraded"
    missing = compare_rise([[1.0, math.nan], [1.0]], [[1.0], [2.0]])
    assert (missing.missing, missing.cases) == (1, 2)


def test_measures_that_cannot_be_are_refused():
    with pytest.raises(OutOfRange):
        compare_rise([[-1.0]], [[1.0]])
    with pytest.raises(NoValues):
        compare_rise([[math.inf]], [[math.nan]])
    with pytest.raises(NoValues):
        compare([[math.nan]], [[1.0]])
    with pytest.raises(NoValues):
        compare_unpaired([[math.nan]], [[1.0]])


def test_unpaired_sides_may_have_different_cases():
    rng = np.random.default_rng(5)
    base, candidate = rng.beta(16, 4, (80, 2)), rng.beta(12, 8, (70, 2))
    found = compare_unpaired(base, candidate)
    assert (found.outcome, found.interval.method) == ("degraded", "welch")
    assert (found.cases, found.samples) == (70, 140)
    turned = compare_unpaired(1 - base, 1 - candidate, higher_is_better=False)
    assert turned.outcome == "degraded"
    assert turned.floor == pytest.approx(found.floor)
    assert compare_unpaired(candidate, base).outcome == "improved"


def test_unpaired_sides_of_one_score_throughout_are_identical():
    assert compare_unpaired([[0.5]] * 3, [[0.5]] * 4).identical
    assert compare_unpaired([[0.5]] * 60, [[0.5]] * 70).outcome == "no_worse"
    assert compare_unpaired([[0.5]] * 3, [[0.4]] * 4).outcome == "inconclusive"


def test_the_interval_is_the_ninety_percent_one():
    base, candidate = noisy(1, -0.01)
    d = (candidate - base)[:, 0]
    half = Z * math.sqrt((d**2).sum()) / d.size
    found = compare(base, candidate).interval
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half))
    assert found.level == pytest.approx(0.9)


@pytest.mark.parametrize("shape", ["rows", "array", "flat"])
def test_the_share_of_missing_samples_is_that_of_the_side_that_lacks_more(shape):
    base = [[1.0, 1.0] for _ in range(100)]
    candidate = [[1.0, math.nan] if n < 18 else [1.0, 1.0] for n in range(100)]
    if shape == "array":
        base, candidate = np.array(base), np.array(candidate)
    if shape == "flat":
        base, candidate = np.ravel(base), np.ravel(candidate)
    for found in (compare(base, candidate), compare_unpaired(base, candidate)):
        assert (found.missing, found.missing_share) == (18, 0.09)
