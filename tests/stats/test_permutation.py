from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from loomgit.stats.pairs import pair, suite_shift
from loomgit.stats.permutation import exact_p, pool, upper_p
from tests.stats.score_models import error, suite


def brute_force(base, candidate):
    """Every labelling of every case, one by one."""
    shifts = []
    for b, c in zip(base, candidate, strict=True):
        values = [*b, *c]
        whole = range(len(values))
        shifts.append(
            [
                np.mean([values[i] for i in chosen])
                - np.mean([values[i] for i in whole if i not in chosen])
                for chosen in combinations(whole, len(c))
            ]
        )
    true = sum(np.mean(c) - np.mean(b) for b, c in zip(base, candidate, strict=True))
    return np.mean([sum(chosen) <= true + 1e-9 for chosen in product(*shifts)])


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_p_counts_every_labelling(seed):
    rng = np.random.default_rng(seed)
    base = [rng.integers(0, 5, m) / 4 for m in (2, 1, 3)]
    candidate = [rng.integers(0, 5, m) / 4 for m in (2, 2, 2)]
    assert exact_p(pair(base, candidate), rng) == pytest.approx(brute_force(base, candidate))


def test_of_one_0_or_1_a_side_it_is_the_exact_mcnemar_test():
    rng = np.random.default_rng(1)
    b, c = (rng.random(60) < 0.8).astype(float), (rng.random(60) < 0.6).astype(float)
    lost, won = int(((b == 1) & (c == 0)).sum()), int(((b == 0) & (c == 1)).sum())
    expected = stats.binomtest(won, won + lost, alternative="less").pvalue
    assert exact_p(pair(b, c), rng) == pytest.approx(expected)


def test_too_many_labellings_are_drawn():
    rng = np.random.default_rng(3)
    b, c = rng.random((40, 8)), rng.random((40, 8)) - 0.02
    paired = pair(b, c)
    p = exact_p(paired, rng)
    normal = suite_shift(paired).p
    assert p == pytest.approx(normal, abs=4 * error(normal, 9_999) + 0.003)


def test_drawn_labels_stay_within_their_case_and_fall_evenly():
    paired = pair([[1.0, 2.0], [3.0]], [[4.0], [5.0, 6.0, 7.0]])
    pooled = pool(paired)
    assert pooled.candidate.tolist() == [False, False, True, False, True, True, True]
    labels = np.concatenate(list(pooled.relabelled(4_000, np.random.default_rng(1))))
    assert labels.shape == (4_000, 7)
    assert (labels[:, :3].sum(1) == 1).all()
    assert (labels[:, 3:].sum(1) == 3).all()
    assert labels[:, :3].mean(0) == pytest.approx([1 / 3] * 3, abs=0.03)
    assert labels[:, 3:].mean(0) == pytest.approx([3 / 4] * 4, abs=0.03)


def test_the_true_labels_count_among_the_drawn():
    pooled = pool(pair(np.zeros((50, 2)), np.ones((50, 2))))
    true, p = upper_p(pooled, lambda labels: labels @ pooled.values, np.random.default_rng(1), 199)
    assert true == 100
    assert p == 1 / 200


@pytest.mark.parametrize("model", ["five levels", "pass/fail"])
def test_without_a_change_the_exact_p_is_never_too_small(model):
    rng, runs = np.random.default_rng(6), 300
    draw = suite(model, rng, runs, 10)
    both = draw(3), draw(3)
    p = np.array([exact_p(pair(both[0][i], both[1][i]), rng) for i in range(runs)])
    assert (p <= 0.05).mean() <= 0.05 + 2 * error(0.05, runs)
    normal = np.array([suite_shift(pair(both[0][i], both[1][i])).p for i in range(runs)])
    assert np.corrcoef(p, normal)[0, 1] > 0.95
