"""Sequential tests of a mean: values are sampled until the verdict is certain.

The test is a mixture of betting e-processes after Waudby-Smith and Ramdas (arXiv 2010.09686). The
verdict may be checked after every value: by Ville's inequality, each wrong decision has a
probability of at most alpha, for any number of checks.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from loomgit.stats.bounds import moments_bounded_mean
from loomgit.stats.distributions import ALPHA
from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.lazy_numpy import np
from loomgit.stats.summary import Moments
from loomgit.stats.verdicts import judge

if TYPE_CHECKING:
    from loomgit.stats.interval import Interval
    from loomgit.stats.samples import Floats, Values
    from loomgit.stats.thresholds import Comparison
    from loomgit.stats.verdicts import Outcome


@cache
def _stakes() -> Floats:
    """Return the stakes of the bets, as fractions of the capital.

    Each stake is less than 1, because a bet with the stake 1 could lose the whole capital.
    """
    return np.geomspace(0.01, 0.99, 20)


class SequentialMean:
    """A sequential test of whether the mean of values in [lo, hi] satisfies a comparison.

    The batches must be in the order of a seeded shuffle of the cases, not in the order of
    completion, because latency and score are correlated. A decision is final. Missing values (NaN)
    are skipped. For a strict test, replace them by the worst value in [lo, hi]. Memory use is
    constant.
    """

    __slots__ = (
        "_above", "_below", "_comparison", "_hi", "_limit", "_lo", "_moments", "alpha", "outcome",
        "threshold",
    )  # fmt: skip

    def __init__(
        self,
        comparison: Comparison,
        threshold: float,
        *,
        lo: float = 0.0,
        hi: float = 1.0,
        alpha: float = ALPHA,
    ) -> None:
        self.outcome: Outcome = "inconclusive"
        self.threshold = threshold
        self.alpha = alpha
        self._comparison = comparison
        self._lo, self._hi = lo, hi
        self._limit = math.log(2 / alpha)  # the bets use half of alpha; `close` uses the other half
        self._above = np.zeros_like(_stakes())
        self._below = np.zeros_like(_stakes())
        self._moments = Moments()

    @property
    def n(self) -> int:
        """The number of values so far, without missing values."""
        return self._moments.n

    def update(self, values: Values) -> Outcome:
        """Add a batch and return the outcome: pass, fail, or inconclusive if the test is undecided.

        Raises OutOfRange for a value outside [lo, hi]. If the threshold is not between lo and hi,
        or equals one of them, the outcome is inconclusive until `close` is called.
        """
        x = np.asarray(values, dtype=np.float64).ravel()
        x = x[~np.isnan(x)]
        if x.size and (np.min(x) < self._lo or np.max(x) > self._hi):
            raise OutOfRange(f"a value is outside [{self._lo:g}, {self._hi:g}]")
        for value in x.tolist():
            self._moments.add(value)
        if not self._lo < self.threshold < self._hi:
            return self.outcome
        gain = (x - self.threshold)[:, None]
        self._above += np.log1p(_stakes() / (self.threshold - self._lo) * gain).sum(0)
        self._below += np.log1p(-_stakes() / (self._hi - self.threshold) * gain).sum(0)
        if self.outcome == "inconclusive":
            is_minimum = self._comparison in (">", ">=")
            if _log_mean_exp(self._above) >= self._limit:
                self.outcome = "pass" if is_minimum else "fail"
            elif _log_mean_exp(self._below) >= self._limit:
                self.outcome = "fail" if is_minimum else "pass"
        return self.outcome

    def interval(self) -> Interval:
        """Return the interval for the mean of all values so far: `bounded_mean` at alpha / 2.

        Raises NoValues if there are no values.
        """
        moments = self._moments
        if moments.mean is None:
            raise NoValues("no value was observed")
        std = moments.std or 0.0
        extremes = moments.min, moments.max
        return moments_bounded_mean(
            moments.n, moments.mean, std, *extremes, self._lo, self._hi, self.alpha / 2
        )

    def close(self) -> Outcome:
        """Return the final outcome. Call this method after the last value.

        If `update` has not decided the test, the outcome follows from `interval`. Raises NoValues
        if there are no values.
        """
        if self.outcome == "inconclusive":
            self.outcome = judge(self.interval(), self._comparison, self.threshold)
        return self.outcome


def _log_mean_exp(logs: Floats) -> float:
    largest = float(np.max(logs))
    return largest + math.log(float(np.exp(logs - largest).mean()))
