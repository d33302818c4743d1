"""Which cases a test over many replies uses, and how many more it needs to be decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from loomgit.domain.records import Record
from loomgit.harness.cases import shuffled
from loomgit.harness.claims import Question, observe
from loomgit.stats.faults import NoValues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.samples import CaseSamples
    from loomgit.domain.suites import Policy
    from loomgit.harness.claims import Claim, Observed
    from loomgit.stats.verdicts import Verdict

BATCH = 10  # cases between two looks; the e-process allows any number of looks
AnyCase = TypeVar("AnyCase", bound="CaseSamples")


def in_order(cases: Sequence[CaseSamples]) -> list[CaseSamples]:
    """The cases in the order in which they are drawn: a seeded shuffle, the same every time."""
    by_id = {case.id: case for case in cases}
    return [by_id[record.key] for record in shuffled([Record(0, id_, {}) for id_ in by_id])]


def first_cases(sample_size: int | None, policy: Policy, available: int) -> int:
    """How many cases a test begins with, of those that there are."""
    if policy.max_samples is None:
        return available if sample_size is None else min(sample_size, available)
    return min(sample_size or BATCH, _budget(policy), available)


def _budget(policy: Policy) -> int:
    """How many cases `max_samples` replies are."""
    return max(1, (policy.max_samples or 0) // policy.samples)


class Drawing:
    """The drawing of one test's cases, batch after batch, until every claim is decided.

    Claims that only a whole data set can answer (a spread, an extreme, a cost) are content with
    the first batch. Without `max_samples` there is but one batch.
    """

    def __init__(
        self, claims: Sequence[Claim], sample_size: int | None, policy: Policy, available: int
    ) -> None:
        self.claims = tuple(claims)
        self._policy = policy
        self._end = min(_budget(policy), available)
        self._drawn = 0
        self._wanted = first_cases(sample_size, policy, available)
        self.seen: list[list[Observed]] = [[] for _ in self.claims]
        self._questions = {
            index: Question(claim, policy)
            for index, claim in enumerate(self.claims)
            if policy.max_samples is not None and claim.sequential
        }

    @property
    def wanted(self) -> int:
        """How many more cases to draw now, each with `policy.samples` replies; 0 at the end."""
        return self._wanted

    def take(self, batch: Sequence[CaseSamples]) -> None:
        """Take in the cases that were wanted. TooSlow as conditions raise it."""
        self._drawn += len(batch)
        for index, claim in enumerate(self.claims):
            seen = observe(claim, batch)
            self.seen[index].append(seen)
            if index in self._questions:
                self._questions[index].update(seen)
        open_ = any(question.open for question in self._questions.values())
        self._wanted = min(BATCH, self._end - self._drawn) if open_ and batch else 0

    def close(self, index: int) -> Verdict | None:
        """The last word on the claim at `index`, None where drawing decides nothing about it."""
        question = self._questions.get(index)
        try:
            return question.close() if question else None
        except NoValues:
            return None
