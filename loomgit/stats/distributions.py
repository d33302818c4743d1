"""Probability distributions. Only this module imports scipy.special, and only when it is needed."""

from __future__ import annotations

import math
import sys
from functools import cache
from itertools import count
from statistics import NormalDist
from typing import Protocol, cast

from loomgit.stats import beta

PLAIN_PYTHON_CALLS = (
    20  # computing this many Beta quantiles takes less time than importing scipy.special
)
_beta_calls = count()
ALPHA = 0.05  # error rate of each one-sided bound and test; two bounds form a 90 % interval
Z = NormalDist().inv_cdf(1 - ALPHA)


class _Special(Protocol):
    """The functions of scipy.special that this module uses. scipy has no type annotations."""

    def betaincinv(self, a: float, b: float, y: float) -> float: ...
    def stdtr(self, df: float, t: float) -> float: ...
    def stdtrit(self, df: float, p: float) -> float: ...
    def bdtr(self, k: float, n: int, p: float) -> float: ...


@cache
def _special() -> _Special:
    # The import takes 0.4 s, so it is postponed until a command needs it.
    from scipy import special  # type: ignore[import-untyped]  # noqa: PLC0415

    return cast("_Special", special)


def normal_cdf(x: float) -> float:
    """Return P(N(0, 1) <= x)."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """Return the p-quantile of the standard normal distribution, for 0 < p < 1."""
    return NormalDist().inv_cdf(p)


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return the p-quantile of the distribution Beta(a, b), rounded to 12 decimal places.

    The implementations in plain Python and in scipy agree only to 12 places. Earlier computations
    in the process determine which implementation is used. Therefore, the result is rounded.
    """
    if "scipy.special" not in sys.modules and next(_beta_calls) < PLAIN_PYTHON_CALLS:
        return round(beta.beta_quantile(p, a, b), 12)
    return round(float(_special().betaincinv(a, b, p)), 12)


def student_cdf(t: float, df: float) -> float:
    """Return P(T <= t) for Student's t with `df` degrees of freedom."""
    return float(_special().stdtr(df, t))


def student_quantile(p: float, df: float) -> float:
    """Return the t with P(T <= t) = p for Student's t with `df` degrees of freedom."""
    return float(_special().stdtrit(df, p))


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return P(X <= k) for X ~ Binomial(n, p) and any integer k."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else float(_special().bdtr(k, n, p))


def binomial_quantile(q: float, n: int, p: float) -> int:
    """Return the smallest k with P(Binomial(n, p) <= k) >= q."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(middle, n, p) >= q:
            high = middle
        else:
            low = middle + 1
    return low
