import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from loomgit.stats.distributions import Z
from loomgit.stats.errors import NoValues
from loomgit.stats.pairs import (
    as_grid,
    case_shifts,
    has_equal_scores,
    pair,
    population_shift,
    suite_shift,
    welch_shift,
)

slow = settings(deadline=None, max_examples=30)
scores = st.floats(0, 1).map(lambda x: round(x, 3))
row = st.lists(scores | st.just(math.nan), min_size=1, max_size=4)
ragged = st.lists(st.tuples(row, row), min_size=1, max_size=12)


def sides(rows):
    return [b for b, _ in rows], [c for _, c in rows]


def textbook(base, candidate):
    """The formula case by case: variance of the pooled samples times 1/m_b + 1/m_c."""
    total, shifts = 0.0, []
    for rows in zip(base, candidate, strict=True):
        b, c = ([x for x in row if not math.isnan(x)] for row in rows)
        if b and c:
            total += np.var([*b, *c], ddof=1) * (1 / len(b) + 1 / len(c))
            shifts.append(np.mean(c) - np.mean(b))
    return np.mean(shifts), math.sqrt(total) / len(shifts), len(shifts)


@slow
@given(ragged)
def test_any_numbers_of_samples_give_the_textbook_formula(rows):
    base, candidate = sides(rows)
    usable = any(not all(map(math.isnan, b)) and not all(map(math.isnan, c)) for b, c in rows)
    if not usable:
        with pytest.raises(NoValues):
            pair(base, candidate)
        return
    delta, se, n = textbook(base, candidate)
    paired = pair(base, candidate)
    found = suite_shift(paired)
    assert (found.delta, found.se) == pytest.approx((delta, se), abs=1e-12)
    assert (paired.cases, paired.excluded) == (n, len(rows) - n)
    assert paired.missing == sum(math.isnan(x) for b, c in rows for x in (*b, *c))
    if se > 1e-9:
        assert found.p == pytest.approx(stats.norm.cdf(delta / se))
        assert (found.low, found.high) == pytest.approx((delta - Z * se, delta + Z * se))


def test_one_sample_of_0_or_1_a_side_is_mcnemars_test():
    rng = np.random.default_rng(1)
    b, c = (rng.random(80) < 0.8).astype(float), (rng.random(80) < 0.7).astype(float)
    lost, won = np.sum((b == 1) & (c == 0)), np.sum((b == 0) & (c == 1))
    found = suite_shift(pair(b, c))
    assert found.delta / found.se == pytest.approx((won - lost) / math.sqrt(won + lost))


def test_several_of_0_or_1_are_cochran_mantel_and_haenszels():
    rng = np.random.default_rng(2)
    b, c = (rng.random((30, 4)) < 0.8).astype(float), (rng.random((30, 4)) < 0.7).astype(float)
    passed, m = b.sum(1) + c.sum(1), 4
    # Of each case's 2x2 table: passes of the candidate, expected passed / 2, hypergeometric.
    variance = passed * (2 * m - passed) * m * m / ((2 * m) ** 2 * (2 * m - 1))
    z = (c.sum(1) - passed / 2).sum() / math.sqrt(variance.sum())
    found = suite_shift(pair(b, c))
    assert found.delta / found.se == pytest.approx(z)


grids = st.integers(2, 15).flatmap(
    lambda n: st.tuples(*[hnp.arrays(float, (n, 3), elements=scores) for _ in range(2)])
)


@slow
@given(grids)
def test_the_population_test_is_the_paired_t_test(both):
    b, c = (side.mean(1) for side in both)
    if np.std(c - b) < 1e-6:
        return
    found = population_shift(pair(*both))
    theirs = stats.ttest_rel(c, b, alternative="less")
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    ends = stats.ttest_rel(c, b).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=1e-9)


@slow
@given(grids)
def test_the_unpaired_test_is_welchs(both):
    b, c = (side.mean(1) for side in both)
    if min(np.std(b), np.std(c)) < 1e-6:
        return
    found = welch_shift(both[0], both[1][:-1])
    if len(c) == 2:
        assert (found.p, found.low, found.high) == (1.0, -math.inf, math.inf)
        return
    theirs = stats.ttest_ind(c[:-1], b, equal_var=False, alternative="less")
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    ends = stats.ttest_ind(c[:-1], b, equal_var=False).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=1e-9)


@slow
@given(grids, st.randoms())
def test_order_of_cases_and_of_samples_does_not_matter(both, random):
    cases = random.sample(range(len(both[0])), len(both[0]))
    samples = random.sample(range(3), 3)
    one = suite_shift(pair(*both))
    two = suite_shift(pair(both[0][cases], both[1][cases][:, samples]))
    assert (one.delta, one.se) == pytest.approx((two.delta, two.se), abs=1e-12)


@slow
@given(grids)
def test_the_sides_swapped_the_shift_turns_round(both):
    one, two = suite_shift(pair(*both)), suite_shift(pair(*both[::-1]))
    assert (one.delta, one.se) == pytest.approx((-two.delta, two.se), abs=1e-12)
    if one.se > 1e-9:
        assert one.p == pytest.approx(1 - two.p)


@slow
@given(grids, st.floats(-10, 10), st.floats(0.1, 10))
def test_the_unit_does_not_matter(both, shift, scale):
    one = suite_shift(pair(*both))
    two = suite_shift(pair(*(shift + scale * side for side in both)))
    assert (two.delta, two.se) == pytest.approx((scale * one.delta, scale * one.se), abs=1e-9)


def test_cases_that_all_moved_alike_are_judged_by_sign_flips():
    few = population_shift(pair([[1.0]] * 4, [[0.5]] * 4))
    assert (few.p, few.low, few.high) == (1 / 16, -math.inf, math.inf)
    more = population_shift(pair([[1.0]] * 5, [[0.5]] * 5))
    assert (more.p, more.low, more.high) == (1 / 32, -0.5, -0.5)
    assert population_shift(pair([[0.5]] * 9, [[1.0]] * 9)).p == 1


def test_one_case_says_nothing_of_a_population():
    found = population_shift(pair([[1.0, 0.9]], [[0.0, 0.1]]))
    assert (found.p, found.low, found.high) == (1.0, -math.inf, math.inf)


def test_a_case_without_a_sample_on_one_side_is_excluded():
    paired = pair([[1.0], [0.5, 0.5], []], [[math.nan], [0.5], [1.0]])
    assert (paired.cases, paired.excluded, paired.missing, paired.samples) == (1, 2, 1, 1)
    assert case_shifts(paired.base, paired.candidate).tolist() == [0.0]


def test_rows_of_any_length_are_filled_up():
    grid = as_grid([[1.0], [], [0.5, 0.25]])
    assert grid.shape == (3, 2)
    assert np.isnan(grid).sum() == 3
    assert as_grid([[], []]).shape == (2, 0)
    assert as_grid(np.array([1.0, 0.5])).shape == (2, 1)


@pytest.mark.parametrize(
    ("base", "candidate", "same"),
    [
        ([[0.2, 0.8]], [[0.8, 0.2]], True),
        ([[0.2, 0.8]], [[0.5, 0.5]], False),
        ([[0.1 + 0.2]], [[0.3]], True),
        ([[0.5, 0.5, 0.5]], [[0.5]], True),
        ([[0.5, 0.5, 0.4]], [[0.5, 0.5]], False),
        ([[0.5], [0.1]], [[0.5], [0.2]], False),
        ([[0.5, math.nan]], [[0.5, math.nan]], True),
    ],
)
def test_unchanged_means_the_same_scores_in_whatever_order(base, candidate, same):
    assert has_equal_scores(pair(base, candidate)) is same


def test_sides_that_cannot_pair_are_refused():
    with pytest.raises(ValueError, match="different numbers of cases: 2 and 1"):
        pair([[1.0], [1.0]], [[1.0]])
    with pytest.raises(ValueError, match="infinite"):
        pair([[math.inf]], [[1.0]])
