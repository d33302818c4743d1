"""Makes the pairs of pipeline versions that a comparison compares.

A pipeline has one pair. If its test files set different variables, it has one pair for each set of
variables, because results with different variables are not comparable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.keys import digest
from loomgit.domain.suites import Suite
from loomgit.domain.variables import GivenValues
from loomgit.wiring.changed_inputs import changed_inputs
from loomgit.wiring.planning import Planning
from loomgit.wiring.revision import try_load
from loomgit.workflows.comparing.limits import set_limits
from loomgit.workflows.comparing.request import PipelinePair

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.wiring.revision import ProjectRevision
    from loomgit.workflows.comparing.request import ComparisonRequest


class _SuiteGroup(Struct):
    """The test files of a pipeline that use the same variables."""

    given: GivenValues
    suites: list[Suite] = field(default_factory=list)


class PairMaker:
    """Makes the pairs of two revisions. `suites` are the test files of the head."""

    def __init__(
        self,
        heads: ProjectRevision,
        bases: ProjectRevision,
        request: ComparisonRequest,
        suites: Sequence[Suite],
    ) -> None:
        self._heads = heads
        self._bases = bases
        self._request = request
        self._suites = suites
        self._base_suites = bases.catalog.readable_suites()[0]

    def pairs(self, name: str) -> Iterator[PipelinePair]:
        """Yield the pairs of a pipeline, with their test files and limits.

        Raises UserError or ProblemsFound if the head's pipeline or its variables are invalid.
        """
        before = [suite for suite in self._base_suites if suite.pipeline == name]
        groups = self._groups(name)
        grouped = {suite.path for group in groups for suite in group.suites}
        for number, group in enumerate(groups):
            pair = self._pair(name, group.given)
            pair.suites = group.suites
            paths = {suite.path for suite in group.suites}
            pair.before = [
                suite
                for suite in before
                # The first pair also compares the cases of the test files that the head removed.
                if suite.path in paths or (number == 0 and suite.path not in grouped)
            ]
            if len(groups) > 1:
                pair.variables = group.given.variables
            set_limits(pair, before, self._request)
            yield pair

    def _pair(self, name: str, given: GivenValues) -> PipelinePair:
        heads, bases = self._heads, self._bases
        head = heads.version(name, given=given)
        if self._request.aa:
            return PipelinePair(head, head, ["the baseline against itself"])
        if name not in bases.catalog.pipeline_names():
            return PipelinePair(head, notes=["the baseline has no such pipeline"], new=True)
        base = try_load(bases, name, given)
        if isinstance(base, str):
            return PipelinePair(head, notes=[f"the baseline's pipeline cannot be used: {base}"])
        return PipelinePair(head, base, inputs=changed_inputs(base, head))

    def _groups(self, name: str) -> list[_SuiteGroup]:
        """Return the test files of a pipeline in groups with the same variables, at least one
        group. Test files without cases belong to the first group."""
        heads = self._heads
        pipeline, planning = heads.catalog.pipeline(name), Planning(heads.wiring)
        suites = [suite for suite in self._suites if suite.pipeline == name]
        groups: dict[str, _SuiteGroup] = {}
        for suite in filter(_has_cases, suites):
            given = heads.given(suite)
            key = digest(planning.variables(pipeline, given.variables))
            groups.setdefault(key, _SuiteGroup(given)).suites.append(suite)
        first, *others = [*groups.values()] or [_SuiteGroup(heads.tested_values(name))]
        first.suites += [suite for suite in suites if not _has_cases(suite)]
        return [first, *others]


def _has_cases(suite: Suite) -> bool:
    """Return whether a test file has cases for a comparison; see `ProjectRevision.questions`."""
    tests = (*suite.unit_tests, *suite.distributional_tests)
    return any(test.policy.model is None for test in tests)
