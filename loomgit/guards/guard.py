"""The guard of a branch: are the prompts of these commits, or of what is staged, good enough to go
on? Git hooks and `loom ci` ask it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from loomgit.comparisons.comparing import Comparing
from loomgit.comparisons.pairs import Wanted
from loomgit.domain.comparison import Comparison, Revision
from loomgit.domain.samples import TestResult
from loomgit.errors import BudgetExceeded, Denied, LoomError, ProblemsFound, UserError, WorldError
from loomgit.gateway.budget import Budget
from loomgit.guards.removals import gone_pipelines, lost_tests, own_cassettes
from loomgit.guards.touched import CONFIG, datasets_of, differ, files_of, find_touched
from loomgit.harness.acceptance import Acceptance, accept
from loomgit.harness.choices import Options
from loomgit.harness.entry import DOUBTED, Entry
from loomgit.sessions.accepting import acceptances
from loomgit.sessions.ledger import Ledger
from loomgit.sessions.standard import OFF
from loomgit.sessions.supply import Supply
from loomgit.sessions.trial import Trial
from loomgit.wiring.bench import Bench
from loomgit.wiring.catalog import raise_or_warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.domain.samples import Sample
    from loomgit.domain.settings import Replay
    from loomgit.domain.suites import AnyTest, Suite
    from loomgit.sessions.trial import Judged
    from loomgit.wiring.project import Wiring

# What may name a file that matters, besides the files that pipelines and tests name already.
DEFINING = ("pipelines", "prompts", "context", "tests", CONFIG)

OWN_CASSETTE = "no model answered, and the replies come from a cassette that the change brings in"
SAME_COMMIT = "the base and the head are the same commit: `baseline` in .loom/config.yaml names it"


class Change(Struct, frozen=True):
    """What there is to judge: the tree `head` (a commit, `""` for the index, None for the working
    tree) against the commit `base` (None: there is none, and `why` says why); each with its name,
    and what its author accepts. `base_unknown`: there may be a base, but it could not be found."""

    base: str | None
    base_name: str
    head: str | None
    head_name: str
    accepted: tuple[Acceptance, ...] = ()
    why: str = ""
    base_unknown: bool = False


class Failure(Struct, frozen=True):
    """A test that failed: what is kept of it, what is shown, the prompt with its version, and the
    line of its file where it stands."""

    entry: Entry
    result: TestResult
    prompt: str
    line: int = 1


class Judgement(Struct, frozen=True):
    """What the guard found: the comparison with the accepted losses taken out, the tests that
    failed, those that failed and are accepted, those that nobody could verify, why the comparison
    could not be measured (None: it could), whether the answer is no; `reason`: why no model
    answered at all, empty where one did; `unread`: a line for each pipeline that is gone, or cannot
    be read at the head, so that nobody knows whether the change concerns it; `lost`: a line for
    each test, expectation and list of cases that the change takes away and nobody accepts."""

    comparison: Comparison
    failures: tuple[Failure, ...] = ()
    accepted: tuple[str, ...] = ()
    unverified: tuple[Entry, ...] = ()
    touched: tuple[str, ...] = ()
    unmeasured: LoomError | None = None
    blocked: bool = False
    reason: str = ""
    unread: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def is_denied(self) -> bool:
        """Whether a key is missing or refused, so that no call can succeed."""
        causes = [entry.unanswered for entry in self.unverified]
        return isinstance(self.unmeasured, Denied) or "denied" in causes

    @property
    def is_verified(self) -> bool:
        """Whether all that the change concerns was read, tested and compared."""
        return self.unmeasured is None and not self.unverified and not self.unread

    def lacks(self, said: str) -> list[str]:
        """Each unverified test in a line, without a reason that was `said` already."""
        lines = (f"{e.file}::{e.full_name}: {' '.join(e.message.split())}" for e in self.unverified)
        return [line.removesuffix(said).removesuffix(": ") for line in lines]


class Guard:
    """Judges one project's changes. `strict` blocks also what is not proven harmless; with `replay`
    `auto` cassettes answer what they can; `budget` in USD is for all changes together, their tests
    and comparisons; a model that is out for `outage`
    seconds is given up."""

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
        """The pathspecs, from the top of the worktree, of everything that can change a result at a
        commit."""
        there = Bench(self._wiring.at(commit))
        paths: dict[str, None] = dict.fromkeys(DEFINING)
        code: set[str] = set()
        try:
            for name in there.catalog.pipeline_names():
                subject = there.subject(name)
                paths |= dict.fromkeys(files_of(subject))
                code |= subject.plan.code.keys()
            paths |= dict.fromkeys(datasets_of(there.catalog.sound_suites()[0]))
        except (ProblemsFound, UserError):
            paths["."] = None  # what cannot be read may need anything
        # A module or a file that is new there may take the place of another one.
        paths |= dict.fromkeys(str(PurePosixPath(path).parent) for path in code if "/" in path)
        inside = self._wiring.repository.in_repository
        names = [inside(path) for path in paths]
        specs = [
            ":(top)" if name == "." else f":(top,literal){name}"
            for name in names
            if not name.startswith("../")
        ]
        return [*specs, *([":(top,glob)**/*.py"] if code else [])]

    def judge(self, change: Change) -> Judgement:
        """The verdict on a change: the tests of what it touches, on its own content, and the
        comparison with the baseline.

        What no model can be asked for is taken from cassettes, as far as they have it. Raises
        LoomError where something has to be changed first, or the world failed.
        """
        with ExitStack() as stack:
            there = self._tree(change.head, stack)
            heads = Bench(there)
            bases = None if change.base is None else Bench(self._tree(change.base, stack))
            suites, broken = heads.catalog.sound_suites()
            touched, unread = find_touched(heads, bases, suites)
            unread += gone_pipelines(heads, bases, change.accepted)
            if change.base is not None and change.base == change.head:
                unread += (SAME_COMMIT,)
            raise_or_warn(
                broken,
                lambda each: each.pipeline in touched or differ(heads, bases, [each.path]),
                self._wiring.warn if touched else lambda _: None,
            )
            if not touched:
                outcome: Literal["unchanged", "inconclusive"] = (
                    "inconclusive" if unread else "unchanged"
                )
                return Judgement(
                    _empty(change, outcome), unread=unread, blocked=self._strict and bool(unread)
                )
            self._own_cassettes = own_cassettes(heads, bases, touched)
            tests = [
                (suite, test)
                for suite in suites
                if suite.pipeline in touched
                for test in _tests(suite)
            ]
            found, reason = self._test(there, tests, change)
            lost, allowed = lost_tests(heads, bases, touched, change.accepted)
            if self._replay == "off" and (reason or any(j.entry.unanswered for j, _, _ in found)):
                unread += tuple(f"{name}: {OWN_CASSETTE}" for name in sorted(self._own_cassettes))
        silent = reason if self._replay == "off" else ""
        comparison, unmeasured = self._compare(change, touched, silent)
        judgement = self._judgement(change, comparison, unmeasured, found, touched)
        return replace(
            judgement,
            reason=" ".join(reason.split()),
            unread=unread,
            lost=lost,
            accepted=(*judgement.accepted, *allowed),
            blocked=judgement.blocked or (self._strict and bool(unread or lost)),
        )

    def _tree(self, tree: str | None, stack: ExitStack) -> Wiring:
        if tree is None:
            return self._wiring
        there = self._wiring.at(tree)
        stack.callback(there.close)
        return there

    def _judgement(
        self,
        change: Change,
        comparison: Comparison,
        unmeasured: LoomError | None,
        found: Sequence[tuple[Judged, Suite, AnyTest]],
        touched: Sequence[str],
    ) -> Judgement:
        failures: list[Failure] = []
        accepted: dict[str, None] = {}
        for judged, _, test in found:
            if judged.entry.verdict not in ("fail", "error"):
                continue
            pipeline = judged.entry.pipeline
            names = {test.name, *(["evaluators"] if DOUBTED in judged.entry.message else [])}
            covering = [
                item
                for item in change.accepted
                if any(item.covers(pipeline, name) for name in names)
            ]
            if covering:
                accepted[f"{judged.entry.full_name} failed: {covering[0]}"] = None
            else:
                failures.append(
                    Failure(judged.entry, judged.result, judged.prompt, test.place.line)
                )
        unverified = tuple(j.entry for j, _, _ in found if j.entry.verdict == "unverified")
        comparison = accept(comparison, change.accepted)
        worse = change.base is not None and comparison.blocks(strict=self._strict)
        unknown = self._strict and (bool(unverified) or unmeasured is not None)
        spent = isinstance(unmeasured, BudgetExceeded) or any(j.refused for j, _, _ in found)
        return Judgement(
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
        self, change: Change, touched: Sequence[str], lost: str
    ) -> tuple[Comparison, LoomError | None]:
        """The comparison: measured, or replayed, or of what is stored; and what kept it from being
        measured. `lost`: why no model answered the tests, empty where one did."""
        if change.base is None:
            fault = UserError(change.why) if change.base_unknown else None
            return _empty(change, "inconclusive"), fault
        modes: list[tuple[bool, Replay]] = [(True, self._replay), (False, "off")]
        if self._replay == "off":
            modes.insert(1, (True, "only"))
        if lost:
            del modes[0]  # the model did not answer the tests: no second wait
        first: LoomError | None = WorldError(lost) if lost else None
        for number, (measures, replay) in enumerate(modes, 1):
            wanted = Wanted(
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
                comparing = Comparing(self._wiring, wanted, self._progress, quiet=True)
                comparison = comparing.compare()
            except LoomError as error:
                if isinstance(error, ProblemsFound):
                    raise
                first = first or error
                if number == len(modes):
                    return _empty(change, "inconclusive"), first
                continue
            named = replace(
                comparison,
                base=replace(comparison.base, name=change.base_name),
                head=replace(comparison.head, name=change.head_name),
            )
            return named, None if replay == "only" and measures else first
        raise AssertionError(modes)  # the last one returns or raises

    # -- the tests

    def _test(
        self, there: Wiring, tests: Sequence[tuple[Suite, AnyTest]], change: Change
    ) -> tuple[list[tuple[Judged, Suite, AnyTest]], str]:
        """The tests with their outcomes, and why no model answered at all; empty where one did."""
        found, reason = self._run(there, tests, change, self._replay)
        if self._replay != "off":
            return found, reason
        lost = [n for n, (judged, _, _) in enumerate(found) if judged.entry.verdict == "unverified"]
        if lost:
            again, _ = self._run(there, [tests[number] for number in lost], change, "only")
            for number, item in zip(lost, again, strict=True):
                if item[0].entry.verdict != "unverified":
                    found[number] = item
        return found, reason

    def _run(
        self,
        there: Wiring,
        tests: Sequence[tuple[Suite, AnyTest]],
        change: Change,
        replay: Replay,
    ) -> tuple[list[tuple[Judged, Suite, AnyTest]], str]:
        """Run tests on their own content, and keep the results; as `_test`."""
        against = OFF if change.base is None else f"{change.base}..{change.head or ''}"
        options = Options(
            baseline=against,
            replay=replay,
            on_inconclusive="warn",
            strict=self._strict,
            outage=self._outage,
            stricter=True,
        )
        trial = Trial(there, options, Supply(options, budget=self._budget))
        ledger = Ledger(there)
        found = []
        try:
            trial.start(tests)
            for number, (suite, test) in enumerate(tests, 1):
                judged = trial.judge(suite, test)
                ledger.add(judged.entry)
                found.append((judged, suite, test))
                self._progress(number, len(tests))
        finally:
            trial.close()
        if replay != "only" or not self._own_cassettes:
            ledger.save(trial.samples, selected=len(tests), total=len(tests), finished=True)
        return found, _outage(trial.samples.values())

    def acceptances(self, base: str | None, head: str | None) -> list[Acceptance]:
        """What the commits between base and head accept; of a shallow history what is there."""
        return acceptances(self._wiring, base, head, self._wiring.warn)


def _outage(samples: Iterable[Sample]) -> str:
    """Why samples were lost, where none was drawn; empty where one was."""
    drawn = [sample for sample in samples if not sample.reused]
    reasons = [sample.failure for sample in drawn if sample.trouble == "infrastructure"]
    return reasons[0] if reasons and len(reasons) == len(drawn) else ""


def _empty(change: Change, outcome: Literal["unchanged", "inconclusive"]) -> Comparison:
    """A comparison of nothing: nothing is touched, or there is nothing to compare with."""
    notes = (f"no baseline: {change.why}",) if change.base is None else ()
    base, head = Revision(change.base_name, change.base or ""), Revision(change.head_name)
    if change.head:
        head = replace(head, commit=change.head)
    return Comparison(base, head, outcome, (), change.base is None, notes)


def _tests(suite: Suite) -> Iterable[AnyTest]:
    """A suite's tests that a guard runs: comparing is done over all of them at once."""
    yield from suite.unit_tests
    yield from suite.distributional_tests
    yield from suite.integration_tests
