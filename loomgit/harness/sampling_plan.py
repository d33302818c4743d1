"""Plans how many cases a test draws, batch after batch, until the test is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from loomgit.domain.records import Record
from loomgit.harness.cases import shuffled
from loomgit.harness.claims import SequentialClaim, observe
from loomgit.stats.errors import NoValues

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from loomgit.domain.samples import CaseSamples
    from loomgit.domain.suites import Policy
    from loomgit.harness.claims import Claim, Observations
    from loomgit.stats.verdicts import Verdict

BATCH = 10  # cases per batch; sequential claims are checked after each batch
AnyCase = TypeVar("AnyCase", bound="CaseSamples")


def in_draw_order(cases: Sequence[CaseSamples]) -> list[CaseSamples]:
    """Return the cases in the order in which they are drawn.

    The order is pseudo-random, but the same in every run.
    """
    by_id = {case.id: case for case in cases}
    return [by_id[record.key] for record in shuffled([Record(0, id_, {}) for id_ in by_id])]


def drawn_cases(
    head: Collection[str], base: Collection[str], sample_size: int | None
) -> frozenset[str]:
    """Return the ids of the cases to compare, from both sides.

    `head` contains the cases drawn from the head, and `base` contains the cases of the baseline. A
    test draws at most `sample_size` cases. If the head reaches this number, the baseline's cases
    that come later in draw order are left out, because they would look like removed cases.
    """
    order = [record.key for record in shuffled([Record(0, id_, {}) for id_ in {*head, *base}])]
    if sample_size is None or len(head) < sample_size:
        return frozenset(order)
    last = max((index for index, id_ in enumerate(order) if id_ in head), default=-1)
    return frozenset(order[: last + 1])


def initial_count(sample_size: int | None, policy: Policy, available: int) -> int:
    """Return the number of cases in the first batch of a test, at most `available`."""
    if policy.max_samples is None:
        return available if sample_size is None else min(sample_size, available)
    return min(sample_size or BATCH, _max_cases(policy), available)


def _max_cases(policy: Policy) -> int:
    """Return the number of cases that `max_samples` allows, at least 1."""
    return max(1, (policy.max_samples or 0) // policy.samples)


class SamplingPlan:
    """Plans the batches of cases that one test draws, until all claims are decided.

    If the policy has no `max_samples`, there is only one batch. Otherwise, batches are drawn
    up to this maximum while a claim about a rate or about the mean of bounded values is undecided.
    Other claims (about a spread, an extreme, a cost) do not cause another batch. `observations` has
    one list for each claim. This list contains the observations of each batch.
    """

    def __init__(
        self, claims: Sequence[Claim], sample_size: int | None, policy: Policy, available: int
    ) -> None:
        self.claims = tuple(claims)
        self._policy = policy
        self._max_count = min(_max_cases(policy), available)
        self._drawn = 0
        self._next_count = initial_count(sample_size, policy, available)
        self.observations: list[list[Observations]] = [[] for _ in self.claims]
        self._sequential = {
            index: SequentialClaim(claim, policy)
            for index, claim in enumerate(self.claims)
            if policy.max_samples is not None and claim.sequential
        }

    @property
    def next_count(self) -> int:
        """The number of cases to draw next, or 0 at the end. Each case has `policy.samples`
        replies."""
        return self._next_count

    def take(self, batch: Sequence[CaseSamples]) -> None:
        """Add the next batch of cases, and decide whether the test needs more cases.

        Raises SearchTimeout if a regular expression in a condition takes too long.
        """
        self._drawn += len(batch)
        for index, claim in enumerate(self.claims):
            observations = observe(claim, batch)
            self.observations[index].append(observations)
            if index in self._sequential:
                self._sequential[index].update(observations)
        is_open = any(claim.open for claim in self._sequential.values())
        self._next_count = min(BATCH, self._max_count - self._drawn) if is_open and batch else 0

    def close(self, index: int) -> Verdict | None:
        """Return the final verdict on the claim at `index`.

        The result is None if the claim has no values, or if it is not sequential (not checked after
        each batch).
        """
        claim = self._sequential.get(index)
        try:
            return claim.close() if claim else None
        except NoValues:
            return None
