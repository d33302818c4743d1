"""What a change does to the tests themselves: the limits that it loosens, what it deletes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from loomgit.domain.definitions import Evaluate
from loomgit.domain.suites import HallucinationRate, Suite
from loomgit.errors import LoomError
from loomgit.harness.policies import (
    Looser,
    Loss,
    deleted_expectations,
    stricter_evaluate,
    stricter_suite,
)
from loomgit.sessions.questions import CaseLists, compare_questions, first_line, question_files
from loomgit.wiring.bench import Bench, changed_files, readable
from loomgit.wiring.code import find_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from loomgit.harness.acceptance import Acceptance
    from loomgit.wiring.project import Wiring

Test = TypeVar("Test", bound=Struct)
SHOWN = 5  # cases that a line names


class SuiteChange(Struct, frozen=True):
    """What a change does to the tests of one pipeline.

    `suites` are the head's test files, by path, with the stricter settings of both versions;
    `evaluate` has the stricter thresholds, weights and gate (None: the head has loosened none).
    `looser` are the settings that the head has loosened, `losses` the tests and expectations that
    it lacks and the tests whose own evaluator it has changed, `cases` the cases that it has
    removed, changed or added.
    """

    pipeline: str
    suites: Mapping[str, Suite]
    evaluate: Evaluate | None = None
    looser: tuple[Looser, ...] = ()
    losses: tuple[Loss, ...] = ()
    cases: CaseLists = CaseLists()

    def stricter(self, suite: Suite, test: Test) -> Test:
        """A test with the stricter settings of both versions."""
        known = self.suites.get(suite.path)
        if known is None:
            return test
        for one in (*known.unit_tests, *known.distributional_tests, *known.integration_tests):
            if isinstance(one, type(test)) and one.name == getattr(test, "name", None):
                return one
        return test

    def accepted_losses(self, accepted: Sequence[Acceptance]) -> tuple[str, ...]:
        """A line for each loss that somebody accepts."""
        open_losses = self.lost(accepted)
        return tuple(line for line in self.lost() if line not in open_losses)

    def lost(self, accepted: Iterable[Acceptance] = ()) -> tuple[str, ...]:
        """A line for each test, expectation and list of cases that is gone and not accepted."""
        accepted = list(accepted)
        lines = [
            str(each)
            for each in self.losses
            if not any(item.covers(self.pipeline, each.test) for item in accepted)
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
    """What a change does to the tests of a project, by pipeline, found when it is asked for.

    `find_base` returns the tree of the baseline, or None if there is none. If `counts` is false,
    the settings of the head apply.
    """

    def __init__(
        self, wiring: Wiring, find_base: Callable[[], Bench | None], *, counts: bool
    ) -> None:
        self._heads = Bench(wiring)
        self._find_base = find_base
        self._counts = counts
        self._found: dict[str, SuiteChange | None] = {}

    def of(self, pipeline: str) -> SuiteChange | None:
        """What the change does to the tests of a pipeline; None without a baseline."""
        if pipeline not in self._found:
            try:
                bases = self._find_base()
            except LoomError:
                bases = None  # the tests that compare report it
            change = None if bases is None else find_suite_change(self._heads, bases, pipeline)
            self._found[pipeline] = change
        return self._found[pipeline]

    def evaluate(self, pipeline: str) -> Evaluate | None:
        """The thresholds, weights and gate that count; None: the head's."""
        change = self.of(pipeline) if self._counts else None
        return None if change is None else change.evaluate

    def stricter(self, suite: Suite, test: Test) -> Test:
        """A test with the settings that count."""
        change = self.of(suite.pipeline) if self._counts else None
        return test if change is None else change.stricter(suite, test)


def find_suite_change(heads: Bench, bases: Bench, pipeline: str) -> SuiteChange:
    """Find what the head does to the tests of a pipeline. What cannot be read is not compared."""
    before = _suites_of(bases, pipeline)
    now = _suites_of(heads, pipeline)
    base, head = readable(bases, pipeline), readable(heads, pipeline)
    losses = (*deleted_expectations(before, now), *_changed_evaluators(bases, before, heads))
    looser: list[Looser] = []
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
            cases = CaseLists(fault=f"the cases cannot be compared: {first_line(error)}")
    return SuiteChange(
        pipeline,
        suites,
        evaluate if loosened else None,
        (*looser, *loosened),
        losses,
        cases,
    )


def _suites_of(bench: Bench, pipeline: str) -> list[Suite]:
    return [suite for suite in bench.catalog.sound_suites()[0] if suite.pipeline == pipeline]


def _counted(names: Sequence[str]) -> str:
    return f"{len(names):,} case{'s' if len(names) != 1 else ''}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _changed_evaluators(bases: Bench, before: Iterable[Suite], heads: Bench) -> Iterator[Loss]:
    """The tests of the base whose own evaluator has other code in the head."""
    for suite in before:
        for test in suite.distributional_tests:
            if isinstance(test, HallucinationRate) and test.evaluator is not None:
                types = [test.evaluator.type]
                codes = (find_code(bench.wiring.tree, types) for bench in (bases, heads))
                base, head = ({path: e.blob for path, e in code.items()} for code in codes)
                files = sorted(path for path, _ in base.items() ^ head.items())
                if files:
                    text = (
                        f"the code of its evaluator has changed: {', '.join(dict.fromkeys(files))}"
                    )
                    yield Loss(suite.pipeline, test.name, text)
