"""Finds the effects of a change on the tests: loosened limits, deleted tests and changed cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from loomgit.domain.definitions import Evaluate
from loomgit.domain.suites import HallucinationRate, Suite
from loomgit.errors import LoomError
from loomgit.harness.policies import (
    LoosenedSetting,
    LostExpectation,
    deleted_expectations,
    stricter_evaluate,
    stricter_suite,
)
from loomgit.wiring.evaluator_code import find_code
from loomgit.wiring.revision import ProjectRevision, changed_files, try_load
from loomgit.workflows.testing.case_lists import (
    CaseLists,
    compare_questions,
    question_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from loomgit.comparison.acceptance import Acceptance
    from loomgit.wiring.project import Wiring

Test = TypeVar("Test", bound=Struct)
SHOWN = 5  # maximum number of cases that are listed in a line


class SuiteChange(Struct, frozen=True):
    """The changes to one pipeline's tests between base and head.

    `suites` are the head's test files by path. If base and head have different values of a setting,
    `suites` has the stricter value. `evaluate` has the stricter thresholds, weights and gate. It is
    None if the head loosened none of these. `looser` are the settings that the head loosened.
    `losses` are the tests and expectations that the head removed. A test that defines its own
    evaluator is also a loss if the head changed the code of this evaluator. `cases` are the cases
    that the head removed, changed or added.
    """

    pipeline: str
    suites: Mapping[str, Suite]
    evaluate: Evaluate | None = None
    looser: tuple[LoosenedSetting, ...] = ()
    losses: tuple[LostExpectation, ...] = ()
    cases: CaseLists = CaseLists()

    def stricter(self, suite: Suite, test: Test) -> Test:
        """Return the test. If base and head differ in a setting, it has the stricter value."""
        stricter = self.suites.get(suite.path)
        if stricter is None:
            return test
        tests = (*stricter.unit_tests, *stricter.distributional_tests, *stricter.integration_tests)
        for candidate in tests:
            if isinstance(candidate, type(test)) and candidate.name == getattr(test, "name", None):
                return candidate
        return test

    def accepted_losses(self, accepted: Sequence[Acceptance]) -> tuple[str, ...]:
        """Return a line for each loss that `accepted` covers; see `lost`."""
        open_losses = self.lost(accepted)
        return tuple(line for line in self.lost() if line not in open_losses)

    def lost(self, accepted: Iterable[Acceptance] = ()) -> tuple[str, ...]:
        """Return a line for each loss that is not accepted.

        There is one line for each item of `losses`, one for all removed cases, and one for all
        changed cases. If the cases could not be compared, a line states the reason.
        """
        accepted = list(accepted)
        lines = [
            str(loss)
            for loss in self.losses
            if not any(item.covers(self.pipeline, loss.test) for item in accepted)
        ]
        if any(item.covers(self.pipeline, "cases") for item in accepted):
            return tuple(lines)
        cases = self.cases
        if cases.fault:
            lines.append(f"{self.pipeline}: {cases.fault}")
        for word, names in (("removed", cases.removed), ("changed", cases.changed)):
            if names:
                lines.append(f"{self.pipeline}: {_counted(names)} {word}: {_listed(names)}")
        return tuple(lines)


class SuiteChanges:
    """Finds the changes to a project's tests. A pipeline's changes are computed when first needed.

    `find_base` returns the tree of the baseline, or None if there is no baseline. If `counts` is
    true and a setting differs between baseline and head, the stricter value applies. If `counts` is
    false, the settings of the head apply.
    """

    def __init__(
        self, wiring: Wiring, find_base: Callable[[], ProjectRevision | None], *, counts: bool
    ) -> None:
        self._heads = ProjectRevision(wiring)
        self._find_base = find_base
        self._counts = counts
        self._changes: dict[str, SuiteChange | None] = {}

    def of(self, pipeline: str) -> SuiteChange | None:
        """Return the changes to a pipeline's tests, or None if there is no baseline."""
        if pipeline not in self._changes:
            try:
                bases = self._find_base()
            except LoomError:
                bases = None  # the tests that need the baseline report this error
            change = None if bases is None else find_suite_change(self._heads, bases, pipeline)
            self._changes[pipeline] = change
        return self._changes[pipeline]

    def evaluate(self, pipeline: str) -> Evaluate | None:
        """Return the thresholds, weights and gate that apply to a pipeline. Return None if the
        head's own values apply."""
        change = self.of(pipeline) if self._counts else None
        return None if change is None else change.evaluate

    def stricter(self, suite: Suite, test: Test) -> Test:
        """Return the test with the settings that apply. If `counts` is true, each setting has the
        stricter of its values in baseline and head. Otherwise, the settings of the head apply."""
        change = self.of(suite.pipeline) if self._counts else None
        return test if change is None else change.stricter(suite, test)


def find_suite_change(heads: ProjectRevision, bases: ProjectRevision, pipeline: str) -> SuiteChange:
    """Return the changes to a pipeline's tests. Unreadable test files are not compared."""
    before = _suites_of(bases, pipeline)
    now = _suites_of(heads, pipeline)
    base, head = try_load(bases, pipeline), try_load(heads, pipeline)
    losses = (*deleted_expectations(before, now), *_changed_evaluators(bases, before, heads))
    looser: list[LoosenedSetting] = []
    suites: dict[str, Suite] = {}
    for suite in now:
        suites[suite.path], loosened = stricter_suite(before, suite)
        looser += loosened
    if isinstance(base, str) or isinstance(head, str):
        return SuiteChange(pipeline, suites, looser=tuple(looser), losses=losses)
    policies = (side.plan.pipeline.evaluate for side in (base, head))
    evaluate, loosened = stricter_evaluate(pipeline, *policies)
    cases = CaseLists()
    files = [*question_files(base, before), *question_files(head, now)]
    if before and now and changed_files(heads, bases, files):
        try:
            cases = compare_questions(bases, base, heads, head, list(suites.values()))
        except LoomError as error:
            cases = CaseLists(fault=f"the cases cannot be compared: {error.first_problem}")
    return SuiteChange(
        pipeline,
        suites,
        evaluate if loosened else None,
        (*looser, *loosened),
        losses,
        cases,
    )


def _suites_of(revision: ProjectRevision, pipeline: str) -> list[Suite]:
    return [suite for suite in revision.catalog.readable_suites()[0] if suite.pipeline == pipeline]


def _counted(names: Sequence[str]) -> str:
    return f"{len(names):,} case{'s' if len(names) != 1 else ''}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _changed_evaluators(
    bases: ProjectRevision, before: Iterable[Suite], heads: ProjectRevision
) -> Iterator[LostExpectation]:
    """Yield a loss for each test of the baseline that has its own evaluator, if the code of this
    evaluator is different in the head."""
    for suite in before:
        for test in suite.distributional_tests:
            if isinstance(test, HallucinationRate) and test.evaluator is not None:
                types = [test.evaluator.type]
                codes = (find_code(revision.wiring.tree, types) for revision in (bases, heads))
                base, head = ({path: e.blob for path, e in code.items()} for code in codes)
                files = sorted(path for path, _ in base.items() ^ head.items())
                if files:
                    text = (
                        f"the code of its evaluator has changed: {', '.join(dict.fromkeys(files))}"
                    )
                    yield LostExpectation(suite.pipeline, test.name, text)
