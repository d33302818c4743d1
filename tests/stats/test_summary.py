import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.stats.summary import Moments, percentile

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(numbers)
def test_moments_are_numpys(values):
    moments = Moments()
    for value in values:
        moments.add(value)
    assert moments.n == len(values)
    assert (moments.min, moments.max) == (min(values), max(values))
    assert moments.mean == pytest.approx(np.mean(values), abs=1e-6)
    if len(values) > 1:
        assert moments.std == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-6)
    assert moments.min <= moments.mean <= moments.max


def test_moments_do_not_cancel_far_from_zero():
    moments = Moments()
    for value in (1e9, 1e9 + 1, 1e9 + 2):
        moments.add(value)
    assert moments.std == pytest.approx(1.0)


def test_no_values_have_no_figures():
    moments = Moments()
    assert moments.mean is None
    assert moments.std is None
    assert percentile([], 50) is None


@given(numbers, st.floats(0, 100))
def test_percentiles_are_numpys(values, q):
    ordered = sorted(values)
    assert percentile(ordered, q) == pytest.approx(np.percentile(ordered, q), rel=1e-9, abs=1e-6)
