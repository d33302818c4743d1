"""Sequential tests of a mean: sample until the comparison is decided. Checks at any time are valid.

The test is a mixture of betting e-processes after Waudby-Smith and Ramdas (arXiv 2010.09686). By
Ville's inequality, each wrong decision has a probability of at most alpha, for any number of
checks.
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
    """Return the stakes of the bets, as shares of the largest stake that cannot lose everything."""
    return np.geomspace(0.01, 0.99, 20)


class SequentialMean:
    """A test of whether the mean of values in [lo, hi] satisfies a comparison, after any batch.

    The batches must be in the order of a seeded shuffle of the cases, not in the order of
    completion, because latency and score are correlated. A decision is final. A missing value (NaN)
    is skipped; pass the bad end of the range instead for a strict test. Memory use is constant.
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
        self._limit = math.log(2 / alpha)  # alpha / 2; the other half is for the closing interval
        self._above = np.zeros_like(_stakes())
        self._below = np.zeros_like(_stakes())
        self._moments = Moments()

    @property
    def n(self) -> int:
        """The number of values so far, without the missing ones."""
        return self._moments.n

    def update(self, values: Values) -> Outcome:
        """Add a batch and return the outcome: pass, fail, or inconclusive if the test is undecided.

        Raises OutOfRange for a value outside [lo, hi]. If the threshold is at or beyond an end of
        the range, only `close` decides.
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
        """Return the bounded interval at alpha / 2 of all values so far.

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
        """Return the final outcome. No more values may follow.

        If `update` has decided the test, the outcome is that decision, else the outcome of the
        closing interval.
        """
        if self.outcome == "inconclusive":
            self.outcome = judge(self.interval(), self._comparison, self.threshold)
        return self.outcome


def _log_mean_exp(logs: Floats) -> float:
    largest = float(np.max(logs))
    return largest + math.log(float(np.exp(logs - largest).mean()))
