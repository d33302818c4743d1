import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, betaincinv

from loomgit.stats.beta import beta_cdf, beta_quantile

SHAPES = st.floats(0.05, 5000.0)


@given(SHAPES, SHAPES, st.floats(0.001, 0.999))
def test_quantiles_are_scipys(a, b, p):
    assert beta_quantile(p, a, b) == pytest.approx(float(betaincinv(a, b, p)), abs=1e-10)


@given(SHAPES, SHAPES, st.floats(0.0, 1.0))
def test_probabilities_are_scipys(a, b, x):
    assert beta_cdf(x, a, b) == pytest.approx(float(betainc(a, b, x)), abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(1.0, 250.0), (250.0, 1.0), (1.0, 1.0), (1e5, 3e3)])
def test_the_edges_hold(a, b):
    assert beta_quantile(0.05, a, b) == pytest.approx(float(betaincinv(a, b, 0.05)), abs=1e-12)
