from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from loomgit.stats.contracts import (
    Contract,
    mean_pass_at_k,
    mean_pass_hat_k,
    pass_at_k,
    pass_hat_k,
    suggest_min_pass,
)
from loomgit.stats.errors import NoValues, OutOfRange

SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
HOLDS = {  # P(pass), %
    (3, 2): (50, 78, 90, 97, 99, 100),
    (5, 4): (19, 53, 74, 92, 98, 100),
    (5, 5): (3, 17, 33, 59, 77, 95),
    (10, 8): (5, 38, 68, 93, 99, 100),
    (20, 18): (0, 4, 21, 68, 92, 100),
}


@pytest.mark.parametrize("samples_min_pass", HOLDS)
def test_the_table_of_contracts_is_exact(samples_min_pass):
    contract = Contract(*samples_min_pass)
    found = [round(100 * contract.pass_probability(p)) for p in SHARES]
    assert tuple(found) == HOLDS[samples_min_pass]


contracts = st.integers(1, 8).flatmap(
    lambda n: st.integers(1, n).map(lambda k: Contract(samples=n, min_pass=k))
)


@settings(deadline=None, max_examples=40)
@given(contracts, st.floats(0.01, 0.99))
def test_stopping_once_decided_changes_no_verdict_and_costs_what_it_says(contract, p):
    calls = passing = 0.0
    for replies in product((True, False), repeat=contract.samples):
        weight = np.prod([p if reply else 1 - p for reply in replies])
        passes = used = 0
        while (answer := contract.decide(passes, used - passes)) == "inconclusive":
            passes += replies[used]
            used += 1
        assert (answer == "pass") == (sum(replies) >= contract.min_pass)
        calls += weight * used
        passing += weight * (answer == "pass")
    assert contract.expected_calls(p) == pytest.approx(calls)
    assert contract.pass_probability(p) == pytest.approx(passing)
    assert contract.flake_rate(p) == pytest.approx(1 - passing)


def test_four_of_five_costs_as_many_calls_as_tabled():
    assert Contract(5, 4).expected_calls(0.9) == pytest.approx(4.25, abs=0.005)


@pytest.mark.parametrize(("samples", "min_pass"), [(5, 3), (10, 7), (20, 16)])
def test_the_suggestion_for_95_percent_is_as_tabled(samples, min_pass):
    assert suggest_min_pass(samples, 0.95) == min_pass
    assert Contract(samples, min_pass).flake_rate(0.95) <= 0.01
    assert Contract(samples, min_pass + 1).flake_rate(0.95) > 0.01


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.floats(0.01, 0.999))
def test_the_suggestion_is_scipys_quantile(samples, p):
    assert suggest_min_pass(samples, p) == max(1, stats.binom.ppf(0.01, samples, p))


def test_a_contract_that_no_replies_can_keep_is_refused():
    with pytest.raises(OutOfRange):
        Contract(samples=3, min_pass=4)
    with pytest.raises(OutOfRange):
        Contract(samples=3, min_pass=0)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_and_pass_hat_k_count_the_draws_of_k(n, data):
    passes, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = stats.hypergeom(n, passes, k)
    assert pass_at_k(n, passes, k) == pytest.approx(draws.sf(0), abs=1e-12)
    assert pass_hat_k(n, passes, k) == pytest.approx(draws.pmf(k), abs=1e-12)


@pytest.mark.parametrize(("p", "k"), [(0.3, 3), (0.8, 5)])
def test_both_are_unbiased_where_plugging_in_is_not(p, k):
    n = 10
    weights = stats.binom.pmf(range(n + 1), n, p)
    assert sum(w * pass_hat_k(n, c, k) for c, w in enumerate(weights)) == pytest.approx(p**k)
    at_least_one = 1 - (1 - p) ** k
    assert sum(w * pass_at_k(n, c, k) for c, w in enumerate(weights)) == pytest.approx(at_least_one)
    assert sum(w * (c / n) ** k for c, w in enumerate(weights)) > 1.05 * p**k


def test_cases_are_averaged_with_bounds():
    found = mean_pass_hat_k([(5, 5), (5, 4), (5, 0)], 2)
    assert found.estimate == pytest.approx((1 + 6 / 10 + 0) / 3)
    assert 0 < found.low < found.estimate < found.high < 1
    assert mean_pass_at_k([(5, 5)] * 59, 1).low > 0.95


def test_more_draws_than_replies_are_refused():
    with pytest.raises(OutOfRange):
        pass_at_k(5, 3, 6)
    with pytest.raises(OutOfRange):
        pass_hat_k(5, 6, 2)
    with pytest.raises(NoValues):
        mean_pass_at_k([], 1)
