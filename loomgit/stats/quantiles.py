"""Intervals for quantiles (from order statistics), and the smallest and largest values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from loomgit.stats.distributions import ALPHA, binomial_quantile
from loomgit.stats.errors import OutOfRange
from loomgit.stats.interval import Interval
from loomgit.stats.lazy_numpy import np
from loomgit.stats.samples import ROUNDING, observed

if TYPE_CHECKING:
    from loomgit.stats.samples import Floats, Values


def quantile_interval(values: Values, q: float, alpha: float = ALPHA) -> Interval:
    """Return the estimate of the q-quantile (0 < q < 1) and its bounds, which are order statistics.

    The bounds are exact for any distribution (Conover, Practical Nonparametric Statistics, 3.2). A
    bound is infinite if n is too small. For example, the upper bound for q = 0.95 is infinite if
    n < 59. Infinite values (the latency of a timeout) are allowed. The estimate is computed with
    the default method of `numpy.quantile`.
    """
    if not 0 < q < 1:
        raise OutOfRange(f"{q:g} is outside (0, 1)")
    x = np.sort(observed(values))
    n = x.size
    tail = alpha * (1 + ROUNDING)  # despite rounding, a probability equal to alpha is accepted
    below = binomial_quantile(tail, n, q)  # P(Bin(n, q) < below) <= alpha
    above = binomial_quantile(1 - tail, n, q) + 1  # P(Bin(n, q) >= above) <= alpha
    low = float(x[below - 1]) if below >= 1 else -math.inf
    high = float(x[above - 1]) if above <= n else math.inf
    return Interval(_linear(x, q), low, high, n, "order statistics", alpha)


def _linear(ordered: Floats, q: float) -> float:
    """Return the quantile by linear interpolation (type 7 of Hyndman and Fan).

    NumPy uses the same type, but returns NaN if one of the two neighbouring values is infinite.
    """
    position = (ordered.size - 1) * q
    rank = math.floor(position)
    low, share = float(ordered[rank]), position - rank
    high = float(ordered[math.ceil(position)])
    return low if low == high else low + (high - low) * share


def extreme(values: Values, which: Literal["min", "max"]) -> Interval:
    """Return the smallest or largest observed value.

    The interval is valid for the observed values only: a later output may be more extreme.
    `unseen_share` returns an upper bound for the fraction of such outputs.
    """
    x = observed(values)
    value = float(np.min(x) if which == "min" else np.max(x))
    return Interval(value, value, value, x.size, "observed")


def unseen_share(n: int, alpha: float = ALPHA) -> float:
    """Return an upper bound for the fraction of outputs more extreme than all observed outputs.

    `n` is the number of observed outputs. If `alpha` is 0.05, the bound is about 3/n.
    """
    return 1.0 - math.pow(alpha, 1 / n)
