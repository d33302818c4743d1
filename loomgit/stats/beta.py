"""Quantiles of Beta distributions in plain Python.

Many commands need only two quantiles. Importing scipy.special takes as long as computing a hundred
quantiles with this module.
"""

from __future__ import annotations

import math

TINY = 1e-300
EXACT = 1e-15
MOST_STEPS = 100_000


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return P(Beta(a, b) <= x), by the continued fraction of Abramowitz & Stegun 26.5.8.

    The fraction is evaluated by Lentz's method.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    c = 1.0
    d = 1 / _safe(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, MOST_STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _safe(1 + term * d)
            c = _safe(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < EXACT:
            break
    return value


def _safe(value: float) -> float:
    return value if abs(value) > TINY else TINY


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return the p-quantile of Beta(a, b), for 0 < p < 1. Uses bisection unless a or b is 1."""
    if math.isclose(a, 1.0, rel_tol=1e-9):
        return -math.expm1(math.log1p(-p) / b)
    if math.isclose(b, 1.0, rel_tol=1e-9):
        return float(p ** (1 / a))
    low, high = 0.0, 1.0
    while high - low > EXACT * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if beta_cdf(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2
