"""Draw until decided: bets against both answers whose winnings allow looking at any time.

Mixture of betting e-processes after Waudby-Smith and Ramdas (arXiv 2010.09686); by Ville's
inequality each wrong decision has probability alpha at most, however often one looks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from loomgit.stats.bounds import moments_bounded_mean
from loomgit.stats.faults import NoValues, OutOfRange
from loomgit.stats.laws import ALPHA
from loomgit.stats.summary import Moments
from loomgit.stats.verdicts import judge

if TYPE_CHECKING:
    from loomgit.stats.interval import Interval
    from loomgit.stats.order import Comparison
    from loomgit.stats.samples import Floats, Values
    from loomgit.stats.verdicts import Outcome

STAKES = np.geomspace(0.01, 0.99, 20)  # shares of the largest stake that cannot go broke


class SequentialMean:
    """Whether the mean of values in [lo, hi] satisfies the comparison, asked after any batch.

    Feed batches in the order of a seeded shuffle of the cases, never in order of completion:
    latency goes with score. A decision stays once it is made. A missing value (NaN) is skipped;
    feed the bad end of the range to be strict. Constant memory.
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
        self._limit = math.log(2 / alpha)  # two questions, half of alpha left for the closing
        self._above = np.zeros_like(STAKES)
        self._below = np.zeros_like(STAKES)
        self._moments = Moments()

    @property
    def n(self) -> int:
        """How many values were fed, the missing ones not counted."""
        return self._moments.n

    def update(self, values: Values) -> Outcome:
        """Take in a batch and answer: pass, fail, or inconclusive while it is open.

        OutOfRange for a value outside [lo, hi]. A threshold at or beyond an end of the range is
        never decided before the closing.
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
        self._above += np.log1p(STAKES / (self.threshold - self._lo) * gain).sum(0)
        self._below += np.log1p(-STAKES / (self._hi - self.threshold) * gain).sum(0)
        if self.outcome == "inconclusive":
            up = self._comparison in (">", ">=")
            if _log_mean_exp(self._above) >= self._limit:
                self.outcome = "pass" if up else "fail"
            elif _log_mean_exp(self._below) >= self._limit:
                self.outcome = "fail" if up else "pass"
        return self.outcome

    def interval(self) -> Interval:
        """The bounded interval at alpha / 2 of all that was fed; NoValues before the first."""
        moments = self._moments
        if moments.mean is None:
            raise NoValues("no value was observed")
        std = moments.std or 0.0
        extremes = moments.min, moments.max
        return moments_bounded_mean(
            moments.n, moments.mean, std, *extremes, self._lo, self._hi, self.alpha / 2
        )

    def close(self) -> Outcome:
        """The last word when the budget is spent: as decided, else by the closing interval."""
        if self.outcome == "inconclusive":
            self.outcome = judge(self.interval(), self._comparison, self.threshold)
        return self.outcome


def _log_mean_exp(logs: Floats) -> float:
    most = float(np.max(logs))
    return most + math.log(float(np.exp(logs - most).mean()))
