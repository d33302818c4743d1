"""Decides whether a change may pass: tests its pipelines, and compares them with the baseline. Git
hooks and `loom ci` use this module."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from loomgit.comparison.acceptance import Acceptance, accept
from loomgit.domain.comparison import Comparison, Revision
from loomgit.domain.samples import TestResult
from loomgit.errors import BudgetExceeded, Denied, LoomError, ProblemsFound, UserError, WorldError
from loomgit.gateway.budget import Budget
from loomgit.harness.outcome import CHANGED_EVALUATORS, TestOutcome
from loomgit.harness.overrides import Options
from loomgit.wiring.catalog import raise_or_warn
from loomgit.wiring.revision import ProjectRevision
from loomgit.workflows.comparing.compare import CompareWorkflow
from loomgit.workflows.comparing.request import ComparisonRequest
from loomgit.workflows.guard.affected import CONFIG, datasets_of, differ, files_of, find_affected
from loomgit.workflows.guard.removals import gone_pipelines, lost_tests, own_cassettes
from loomgit.workflows.testing.accepted_losses import load_acceptances
from loomgit.workflows.testing.baseline import OFF
from loomgit.workflows.testing.judge import TestJudge
from loomgit.workflows.testing.results import SessionResults
from loomgit.workflows.testing.sample_pool import SamplePool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.domain.samples import Sample
    from loomgit.domain.settings import Replay
    from loomgit.domain.suites import AnyTest, Suite
    from loomgit.wiring.project import Wiring
    from loomgit.workflows.testing.judge import JudgedTest

# Files and folders that can affect results, either directly or by a reference to another file.
DEFINING = ("pipelines", "prompts", "context", "tests", CONFIG)

OWN_CASSETTE = (
    "no model answered, and the replies come from a cassette that the change adds or changes"
)
SAME_COMMIT = (
    "the base and the head are the same commit, to which `baseline` in .loom/config.yaml refers"
)


class GuardedChange(Struct, frozen=True):
    """A change to judge: the trees `base` and `head`, each with its display name.

    `base` is a commit. If there is no base, `base` is None, and `why` is the reason. `head` is a
    commit, `""` for the index, or None for the working tree. `accepted` are the losses that commit
    messages accept. `base_unknown` is true if a base may exist but could not be determined.
    """

    base: str | None
    base_name: str
    head: str | None
    head_name: str
    accepted: tuple[Acceptance, ...] = ()
    why: str = ""
    base_unknown: bool = False


class FailedTest(Struct, frozen=True):
    """A failed test. `outcome` is stored, and `result` is displayed. `prompt` is the prompt with
    its version, and `line` is the line of the test in its file."""

    outcome: TestOutcome
    result: TestResult
    prompt: str
    line: int = 1


class GuardVerdict(Struct, frozen=True):
    """The verdict of the guard on a change.

    `blocked` is true if the change must not pass. The outcome of `comparison` ignores accepted
    losses. `failures` are the failed tests, and `unverified` are the tests without replies.
    `accepted` has a line for each accepted failure or loss. `touched` are the names of the affected
    pipelines. `unmeasured` is the error if the comparison could not be measured. If no model
    replied, `reason` states why, else it is empty. `unread` has a line for each pipeline that could
    not be judged, for example because it was removed. `lost` has a line for each loss that no
    commit accepts, for example a removed test, a removed expectation or changed cases.
    """

    comparison: Comparison
    failures: tuple[FailedTest, ...] = ()
    accepted: tuple[str, ...] = ()
    unverified: tuple[TestOutcome, ...] = ()
    touched: tuple[str, ...] = ()
    unmeasured: LoomError | None = None
    blocked: bool = False
    reason: str = ""
    unread: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def is_denied(self) -> bool:
        """Whether an API key is missing or refused, so that no call can succeed."""
        causes = [outcome.unanswered for outcome in self.unverified]
        return isinstance(self.unmeasured, Denied) or "denied" in causes

    @property
    def is_verified(self) -> bool:
        """Whether every affected pipeline was read, tested and compared."""
        return self.unmeasured is None and not self.unverified and not self.unread

    def unverified_lines(self, shown_reason: str) -> list[str]:
        """Return a line for each unverified test, with the reason. The lines do not repeat the
        reason `shown_reason`, because the caller displays it."""
        lines = (f"{o.file}::{o.full_name}: {' '.join(o.message.split())}" for o in self.unverified)
        return [line.removesuffix(shown_reason).removesuffix(": ") for line in lines]


class Guard:
    """Judges the changes to one project.

    If `strict` is true, a change is also blocked if its effect is unknown or if it loses tests. If
    `replay` is `auto`, recorded replies (cassettes) replace calls. `budget` (USD) limits the cost
    of all changes together. If a model does not answer for `outage` seconds, Loom stops calling it.
    """

    def __init__(
        self,
        wiring: Wiring,
        *,
        strict: bool = False,
        replay: Replay = "off",
        budget: float | None = None,
        outage: float = 10.0,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self._wiring = wiring
        self._strict = strict
        self._own_cassettes: set[str] = set()
        self._replay: Replay = replay
        self._budget = None if budget is None else Budget(budget)
        self._outage = outage
        self._progress = progress

    def watched(self, commit: str) -> list[str]:
        """Return Git pathspecs, relative to the root of the worktree, for all files that can affect
        the results at `commit`."""
        revision = ProjectRevision(self._wiring.at(commit))
        paths: dict[str, None] = dict.fromkeys(DEFINING)
        code: set[str] = set()
        try:
            for name in revision.catalog.pipeline_names():
                version = revision.version(name, given=revision.tested_values(name))
                paths |= dict.fromkeys(files_of(version))
                code |= version.plan.code.keys()
            paths |= dict.fromkeys(datasets_of(revision.catalog.readable_suites()[0]))
        except (ProblemsFound, UserError):
            paths["."] = None  # an unreadable pipeline may depend on any file
        # Watch the whole folders of evaluator code: a new file may replace an imported module.
        paths |= dict.fromkeys(str(PurePosixPath(path).parent) for path in code if "/" in path)
        in_repository = self._wiring.repository.in_repository
        names = [in_repository(path) for path in paths]
        specs = [
            ":(top)" if name == "." else f":(top,literal){name}"
            for name in names
            if not name.startswith("../")
        ]
        return [*specs, *([":(top,glob)**/*.py"] if code else [])]

    def judge(self, change: GuardedChange) -> GuardVerdict:
        """Test the affected pipelines, compare them with the baseline, and return the verdict.

        If a model cannot be called, recorded replies (cassettes) are used. Raises LoomError if the
        project has errors that must be fixed first, or if an external error occurs.
        """
        with ExitStack() as stack:
            wiring = self._tree(change.head, stack)
            heads = ProjectRevision(wiring)
            bases = None if change.base is None else ProjectRevision(self._tree(change.base, stack))
            suites, broken = heads.catalog.readable_suites()
            touched, unread = find_affected(heads, bases, suites)
            unread += gone_pipelines(heads, bases, change.accepted)
            if change.base is not None and change.base == change.head:
                unread += (SAME_COMMIT,)
            raise_or_warn(
                broken,
                lambda file: file.pipeline in touched or differ(heads, bases, [file.path]),
                self._wiring.warn if touched else lambda _: None,
            )
            if not touched:
                blocked = self._strict and bool(unread)
                outcome: Literal["unchanged", "inconclusive"] = (
                    "inconclusive" if unread else "unchanged"
                )
                return GuardVerdict(_empty(change, outcome), unread=unread, blocked=blocked)
            self._own_cassettes = own_cassettes(heads, bases, touched)
            tests = [
                (suite, test)
                for suite in suites
                if suite.pipeline in touched
                for test in _tests(suite)
            ]
            judged, reason = self._test(wiring, tests, change)
            lost, accepted = lost_tests(heads, bases, touched, change.accepted)
            is_unanswered = bool(reason) or any(j.outcome.unanswered for j, _, _ in judged)
            if self._replay == "off" and is_unanswered:
                unread += tuple(f"{name}: {OWN_CASSETTE}" for name in sorted(self._own_cassettes))
        outage = reason if self._replay == "off" else ""
        comparison, unmeasured = self._compare(change, touched, outage)
        verdict = self._verdict(change, comparison, unmeasured, judged, touched)
        return replace(
            verdict,
            reason=" ".join(reason.split()),
            unread=unread,
            lost=lost,
            accepted=(*verdict.accepted, *accepted),
            blocked=verdict.blocked or (self._strict and bool(unread or lost)),
        )

    def _tree(self, tree: str | None, stack: ExitStack) -> Wiring:
        if tree is None:
            return self._wiring
        wiring = self._wiring.at(tree)
        stack.callback(wiring.close)
        return wiring

    def _verdict(
        self,
        change: GuardedChange,
        comparison: Comparison,
        unmeasured: LoomError | None,
        judged: Sequence[tuple[JudgedTest, Suite, AnyTest]],
        touched: Sequence[str],
    ) -> GuardVerdict:
        failures: list[FailedTest] = []
        accepted: dict[str, None] = {}
        for result, _, test in judged:
            outcome = result.outcome
            if outcome.verdict not in ("fail", "error"):
                continue
            is_doubtful = CHANGED_EVALUATORS in outcome.message
            names = {test.name, *(["evaluators"] if is_doubtful else [])}
            covering = [
                item
                for item in change.accepted
                if any(item.covers(outcome.pipeline, name) for name in names)
            ]
            if covering:
                accepted[f"{outcome.full_name} failed: {covering[0]}"] = None
            else:
                line = test.place.line
                failures.append(FailedTest(outcome, result.result, result.prompt, line))
        unverified = tuple(j.outcome for j, _, _ in judged if j.outcome.verdict == "unverified")
        comparison = accept(comparison, change.accepted)
        worse = change.base is not None and comparison.blocks(strict=self._strict)
        unknown = self._strict and (bool(unverified) or unmeasured is not None)
        spent = isinstance(unmeasured, BudgetExceeded) or any(j.refused for j, _, _ in judged)
        return GuardVerdict(
            comparison,
            tuple(failures),
            tuple(accepted),
            unverified,
            tuple(touched),
            unmeasured,
            bool(failures) or worse or unknown or spent,
        )

    # -- the comparison

    def _compare(
        self, change: GuardedChange, touched: Sequence[str], outage: str
    ) -> tuple[Comparison, LoomError | None]:
        """Return (comparison, error). The error is None if the results were measured or replayed.

        Three methods are tried in this order: measure missing results, replay recorded replies, use
        only stored results. `outage` is "", or the reason why no model replied to the tests.
        """
        if change.base is None:
            fault = UserError(change.why) if change.base_unknown else None
            return _empty(change, "inconclusive"), fault
        modes: list[tuple[bool, Replay]] = [(True, self._replay), (False, "off")]
        if self._replay == "off":
            modes.insert(1, (True, "only"))
        if outage:
            del modes[0]  # do not wait again for a model that did not reply to the tests
        first_error: LoomError | None = WorldError(outage) if outage else None
        for number, (measures, replay) in enumerate(modes, 1):
            request = ComparisonRequest(
                expression=f"{change.base}..",
                head={None: "worktree", "": "index"}.get(change.head, change.head),
                pipelines=tuple(touched),
                run_missing=measures,
                replay=replay,
                keep=replay != "only" or not self._own_cassettes,
                budget=self._budget,
                outage=self._outage,
            )
            try:
                workflow = CompareWorkflow(self._wiring, request, self._progress, quiet=True)
                comparison = workflow.compare()
            except LoomError as error:
                if isinstance(error, ProblemsFound):
                    raise
                first_error = first_error or error
                if number == len(modes):
                    return _empty(change, "inconclusive"), first_error
                continue
            named = replace(
                comparison,
                base=replace(comparison.base, name=change.base_name),
                head=replace(comparison.head, name=change.head_name),
            )
            return named, None if replay == "only" and measures else first_error
        raise AssertionError(modes)  # the last mode returns or raises

    # -- the tests

    def _test(
        self, wiring: Wiring, tests: Sequence[tuple[Suite, AnyTest]], change: GuardedChange
    ) -> tuple[list[tuple[JudgedTest, Suite, AnyTest]], str]:
        """Return (judged tests, reason). `reason` is "" if a model replied, else it states why not.
        Tests without a verdict are judged again with recorded replies."""
        judged, reason = self._run(wiring, tests, change, self._replay)
        if self._replay != "off":
            return judged, reason
        unverified = [
            number
            for number, (result, _, _) in enumerate(judged)
            if result.outcome.verdict == "unverified"
        ]
        if unverified:
            replayed, _ = self._run(wiring, [tests[n] for n in unverified], change, "only")
            for number, item in zip(unverified, replayed, strict=True):
                if item[0].outcome.verdict != "unverified":
                    judged[number] = item
        return judged, reason

    def _run(
        self,
        wiring: Wiring,
        tests: Sequence[tuple[Suite, AnyTest]],
        change: GuardedChange,
        replay: Replay,
    ) -> tuple[list[tuple[JudgedTest, Suite, AnyTest]], str]:
        """Judge tests at the head of the change, and store the results. Returns the same values as
        `_test`."""
        baseline = OFF if change.base is None else f"{change.base}..{change.head or ''}"
        options = Options(
            baseline=baseline,
            replay=replay,
            on_inconclusive="warn",
            strict=self._strict,
            outage=self._outage,
            stricter=True,
        )
        judge = TestJudge(wiring, options, SamplePool(options, budget=self._budget))
        results = SessionResults(wiring)
        judged = []
        try:
            judge.start(tests)
            for number, (suite, test) in enumerate(tests, 1):
                result = judge.judge(suite, test)
                results.add(result.outcome)
                judged.append((result, suite, test))
                self._progress(number, len(tests))
        finally:
            judge.close()
        if replay != "only" or not self._own_cassettes:
            results.save(judge.samples, selected=len(tests), total=len(tests), finished=True)
        return judged, _outage(judge.samples.values())

    def acceptances(self, base: str | None, head: str | None) -> list[Acceptance]:
        """Return the losses that commit messages after `base`, up to `head`, accept."""
        return load_acceptances(self._wiring, base, head, self._wiring.warn)


def _outage(samples: Iterable[Sample]) -> str:
    """Return the first failure if an outage made all new samples fail, else ""."""
    drawn = [sample for sample in samples if not sample.reused]
    reasons = [sample.failure for sample in drawn if sample.trouble == "infrastructure"]
    return reasons[0] if reasons and len(reasons) == len(drawn) else ""


def _empty(change: GuardedChange, outcome: Literal["unchanged", "inconclusive"]) -> Comparison:
    """Return a comparison without pipelines. If there is no base, a note states the reason."""
    notes = (f"no baseline: {change.why}",) if change.base is None else ()
    base, head = Revision(change.base_name, change.base or ""), Revision(change.head_name)
    if change.head:
        head = replace(head, commit=change.head)
    return Comparison(base, head, outcome, (), change.base is None, notes)


def _tests(suite: Suite) -> Iterable[AnyTest]:
    """Yield all tests of a suite."""
    yield from suite.unit_tests
    yield from suite.distributional_tests
    yield from suite.integration_tests
