"""The probability laws behind the verdicts: the only door to scipy.special, opened at first use."""

from __future__ import annotations

import math
import sys
from functools import cache
from itertools import count
from statistics import NormalDist
from typing import Protocol, cast

from loomgit.stats import beta

FEW = 20  # Beta quantiles that are sooner found in plain Python than scipy.special is imported
_asked = count()
ALPHA = 0.05  # of every one-sided bound and test; printed intervals are therefore 90 %
Z = NormalDist().inv_cdf(1 - ALPHA)


class _Special(Protocol):
    """The functions of scipy.special that are used here, with types, which scipy has none of."""

    def betaincinv(self, a: float, b: float, y: float) -> float: ...
    def stdtr(self, df: float, t: float) -> float: ...
    def stdtrit(self, df: float, p: float) -> float: ...
    def bdtr(self, k: float, n: int, p: float) -> float: ...


@cache
def _special() -> _Special:
    # It takes 0.4 s to import, which commands without a verdict need not pay, and has no types.
    from scipy import special  # type: ignore[import-untyped]  # noqa: PLC0415

    return cast(_Special, special)


def normal_cdf(x: float) -> float:
    """P(N(0, 1) <= x)."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """The x with P(N(0, 1) <= x) = p, for p in (0, 1)."""
    return NormalDist().inv_cdf(p)


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with P(Beta(a, b) <= x) = p."""
    if "scipy.special" not in sys.modules and next(_asked) < FEW:
        return beta.beta_quantile(p, a, b)
    return float(_special().betaincinv(a, b, p))


def student_cdf(t: float, df: float) -> float:
    """P(T <= t) of Student's t with `df` degrees of freedom."""
    return float(_special().stdtr(df, t))


def student_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p of Student's t with `df` degrees of freedom."""
    return float(_special().stdtrit(df, p))


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) of X ~ Binomial(n, p), for any integer k."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else float(_special().bdtr(k, n, p))


def binomial_quantile(q: float, n: int, p: float) -> int:
    """The smallest k with P(Binomial(n, p) <= k) >= q."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(middle, n, p) >= q:
            high = middle
        else:
            low = middle + 1
    return low
