"""Contracts for flaky tests: at least k of n replies must pass.

The probabilities and the expected numbers of calls are exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.stats.distributions import binomial_cdf, binomial_quantile
from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.means import bounded_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.interval import Interval
    from loomgit.stats.verdicts import Outcome


class Contract(Struct, frozen=True):
    """A contract: at least `min_pass` of `samples` replies must pass.

    Raises OutOfRange unless 1 <= min_pass <= samples.
    """

    samples: int
    min_pass: int

    def __post_init__(self) -> None:
        if not 1 <= self.min_pass <= self.samples:
            raise OutOfRange(f"min_pass {self.min_pass} is outside [1, {self.samples}]")

    def decide(self, passes: int, failures: int) -> Outcome:
        """Return `pass` or `fail` once the verdict is certain, else `inconclusive`."""
        if passes >= self.min_pass:
            return "pass"
        return "fail" if failures > self.samples - self.min_pass else "inconclusive"

    def pass_probability(self, p: float) -> float:
        """Return the exact probability that the contract holds.

        `p` is the probability that a reply passes.
        """
        return 1.0 - self.flake_rate(p)

    def flake_rate(self, p: float) -> float:
        """Return the exact probability that the contract does not hold.

        `p` is the probability that a reply passes.
        """
        return binomial_cdf(self.min_pass - 1, self.samples, p)

    def expected_calls(self, p: float) -> float:
        """Return the expected number of replies if sampling stops once the verdict is certain.

        `p` is the probability that a reply passes.
        """
        spare = self.samples - self.min_pass
        calls = 0.0
        for n in range(self.min_pass, self.samples + 1):  # the n-th reply is the pass that decides
            ways = math.comb(n - 1, self.min_pass - 1)
            calls += n * ways * p**self.min_pass * (1 - p) ** (n - self.min_pass)
        for n in range(spare + 1, self.samples + 1):  # the n-th reply breaks the contract
            calls += n * math.comb(n - 1, spare) * (1 - p) ** (spare + 1) * p ** (n - spare - 1)
        return calls


def suggest_min_pass(samples: int, p_good: float, flake: float = 0.01) -> int:
    """Return the largest `min_pass` at which a good prompt rarely breaks the contract.

    `p_good` is the probability that a reply to the good prompt passes. The probability that the
    prompt breaks the contract is at most `flake`. If this is impossible, the result is 1.
    """
    return max(1, binomial_quantile(flake, samples, p_good))


def pass_at_k(n: int, passes: int, k: int) -> float:
    """Return the unbiased estimate of the probability that at least one of k replies passes.

    The estimate is based on n observed replies; `passes` is the number of them that passed. Source:
    Chen et al. 2021, arXiv 2107.03374. Raises OutOfRange unless 1 <= k <= n.
    """
    _require(n, passes, k)
    return 1.0 - math.comb(n - passes, k) / math.comb(n, k)


def pass_hat_k(n: int, passes: int, k: int) -> float:
    """Return the unbiased estimate of the probability that all of k replies pass.

    The estimate is based on n observed replies; `passes` is the number of them that passed. The
    simpler estimate (passes / n)^k would be biased upwards. Source: Yao et al. 2024, tau-bench,
    arXiv 2406.12045. Raises OutOfRange unless 1 <= k <= n.
    """
    _require(n, passes, k)
    return math.comb(passes, k) / math.comb(n, k)


def _require(n: int, passes: int, k: int) -> None:
    if not 1 <= k <= n:
        raise OutOfRange(f"k = {k} is outside [1, {n}]; the case has {n} replies")
    if not 0 <= passes <= n:
        raise OutOfRange(f"{passes} passes are outside [0, {n}]")


def mean_pass_at_k(cases: Sequence[tuple[int, int]], k: int) -> Interval:
    """Return the mean of `pass_at_k` over the cases, with its confidence interval.

    Each case is a pair: the number of its replies, and the number of those that passed.

    The interval is for the mean over all possible cases, not only over the observed cases. Raises
    NoValues if there are no cases.
    """
    return _average([pass_at_k(n, passes, k) for n, passes in cases])


def mean_pass_hat_k(cases: Sequence[tuple[int, int]], k: int) -> Interval:
    """Return the mean of `pass_hat_k` over the cases, with its confidence interval.

    Each case is a pair: the number of its replies, and the number of those that passed.

    The interval is for the mean over all possible cases, not only over the observed cases. Raises
    NoValues if there are no cases.
    """
    return _average([pass_hat_k(n, passes, k) for n, passes in cases])


def _average(per_case: list[float]) -> Interval:
    if not per_case:
        raise NoValues("no case was observed")
    return bounded_mean([min(max(value, 0.0), 1.0) for value in per_case])
