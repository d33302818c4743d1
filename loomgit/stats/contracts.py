"""Flaky tests as exact contracts: so many of so many replies pass; what that costs and promises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.stats.faults import NoValues, OutOfRange
from loomgit.stats.laws import binomial_cdf, binomial_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.stats.interval import Interval
    from loomgit.stats.verdicts import Outcome


class Contract(Struct, frozen=True):
    """Of `samples` replies, `min_pass` must pass. OutOfRange unless 1 <= min_pass <= samples."""

    samples: int
    min_pass: int

    def __post_init__(self) -> None:
        if not 1 <= self.min_pass <= self.samples:
            raise OutOfRange(f"min_pass {self.min_pass} is outside [1, {self.samples}]")

    def decide(self, passes: int, failures: int) -> Outcome:
        """The verdict as soon as no further reply can change it, inconclusive until then."""
        if passes >= self.min_pass:
            return "pass"
        return "fail" if failures > self.samples - self.min_pass else "inconclusive"

    def pass_probability(self, p: float) -> float:
        """How often the contract holds when each reply passes with probability `p`: exact."""
        return 1.0 - self.flake_rate(p)

    def flake_rate(self, p: float) -> float:
        """How often the contract fails although each reply passes with probability `p`: exact."""
        return binomial_cdf(self.min_pass - 1, self.samples, p)

    def expected_calls(self, p: float) -> float:
        """How many replies it takes on average when one stops once decided."""
        spare = self.samples - self.min_pass
        calls = 0.0
        for n in range(self.min_pass, self.samples + 1):  # the n-th reply is the last pass needed
            ways = math.comb(n - 1, self.min_pass - 1)
            calls += n * ways * p**self.min_pass * (1 - p) ** (n - self.min_pass)
        for n in range(spare + 1, self.samples + 1):  # the n-th reply is one failure too many
            calls += n * math.comb(n - 1, spare) * (1 - p) ** (spare + 1) * p ** (n - spare - 1)
        return calls


def suggest_min_pass(samples: int, p_good: float, flake: float = 0.01) -> int:
    """The strictest `min_pass` that a good prompt breaks at most `flake` of the time, at least 1.

    `p_good` is how often one of its replies passes.
    """
    return max(1, binomial_quantile(flake, samples, p_good))


def pass_at_k(n: int, passes: int, k: int) -> float:
    """The probability that at least one of k replies passes, unbiased from `passes` of n.

    Chen et al. 2021 (arXiv 2107.03374). OutOfRange unless 1 <= k <= n.
    """
    _require(n, passes, k)
    return 1.0 - math.comb(n - passes, k) / math.comb(n, k)


def pass_hat_k(n: int, passes: int, k: int) -> float:
    """The probability that all of k replies pass, unbiased from `passes` of n.

    Yao et al. 2024 (tau-bench, arXiv 2406.12045); (passes / n)^k would be biased upwards.
    """
    _require(n, passes, k)
    return math.comb(passes, k) / math.comb(n, k)


def _require(n: int, passes: int, k: int) -> None:
    if not 1 <= k <= n:
        raise OutOfRange(f"k = {k} is outside [1, {n}], the replies of the case")
    if not 0 <= passes <= n:
        raise OutOfRange(f"{passes} is outside [0, {n}]")


def mean_pass_at_k(cases: Sequence[tuple[int, int]], k: int) -> Interval:
    """pass@k averaged over cases, each given as (n, passes), with bounds for unseen cases."""
    return _average([pass_at_k(n, passes, k) for n, passes in cases])


def mean_pass_hat_k(cases: Sequence[tuple[int, int]], k: int) -> Interval:
    """pass^k averaged over cases, each given as (n, passes), with bounds for unseen cases."""
    return _average([pass_hat_k(n, passes, k) for n, passes in cases])


def _average(per_case: list[float]) -> Interval:
    if not per_case:
        raise NoValues("no case was observed")
    from loomgit.stats.means import bounded_mean  # noqa: PLC0415 - NumPy: verdicts need none

    return bounded_mean([min(max(value, 0.0), 1.0) for value in per_case])
