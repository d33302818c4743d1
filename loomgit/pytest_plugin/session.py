"""The prompt tests of one pytest session: their projects, judges and results."""
# ruff: noqa: PLC0415 - slow modules are imported inside functions: collection needs no gateway, and
# the controller of pytest-xdist does not judge tests

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.api import Project
from loomgit.errors import LoomError
from loomgit.harness.overrides import Overrides, apply_overrides
from loomgit.harness.verdicts import blocks
from loomgit.pytest_plugin.interrupts import defer_sigint
from loomgit.pytest_plugin.selection import SelectedTests
from loomgit.wiring.project_files import find_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.domain.bills import Bill
    from loomgit.domain.samples import Sample
    from loomgit.domain.suites import AnyTest, Suite
    from loomgit.harness.outcome import TestOutcome
    from loomgit.history.shared_draws import SharedDraws
    from loomgit.workflows.testing.judge import JudgedTest, TestJudge
    from loomgit.workflows.testing.results import SessionResults
    from loomgit.workflows.testing.sample_pool import SamplePool
    from loomgit.workflows.testing.summary import Summary

SHARED_FILE = "draws.db"


class PromptTestSession:
    """Loom's state of a pytest session in one process.

    With pytest-xdist, the process is the controller or a worker. Otherwise, it is the only process.
    `summary` is set at the end of the session if a prompt test ran. `warnings` are printed at the
    end. `lost` has the lines of `SessionResults.find_lost`: they describe tests and cases that the
    baseline has, but that the tested project no longer has.
    """

    def __init__(self, rootpath: Path, overrides: Overrides) -> None:
        self.overrides = overrides
        self.selection = SelectedTests(rootpath, lambda file: self.project(file).root)
        self.outcomes: dict[str, TestOutcome] = {}  # the keys are pytest's node ids
        self.unmodified = 0  # tests that --loom-modified deselected
        self.summary: Summary | None = None
        self.warnings: list[str] = []
        self.lost: list[str] = []
        self.worker_draws: Path | None = None  # the file of all workers; set only in workers
        self.workers = 1
        self._shared_folder: Path | None = None  # contains SHARED_FILE; set only in the controller
        self._projects: dict[Path, Project] = {}
        self._project_of: dict[Path, Project] = {}  # the keys are folders of test files
        self._judges: dict[Path, TestJudge] = {}  # the keys are roots of projects
        self._judge_of: dict[Path, TestJudge] = {}  # the keys are test files
        self._pool: SamplePool | None = None
        self._started = datetime.now(UTC)

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many prompt tests ran, were selected, and were collected.

        Tests that --loom-modified deselected are not counted.
        """
        ran, selected, collected = self.selection.counts(self.outcomes)
        return ran, selected, collected - self.unmodified

    @property
    def has_failures(self) -> bool:
        """Whether a prompt test failed, even if pytest does not count the test as failed.

        If `strict` is set, the result is also true if tests or cases of the baseline no longer
        exist.
        """
        failed = any(outcome.blocks for outcome in self.outcomes.values())
        return failed or (self.overrides.options.strict and bool(self.lost))

    # -- projects and test files

    def project(self, path: Path) -> Project:
        """Return the project that contains a file. Raises UserError."""
        if path.parent not in self._project_of:
            project = self._open(find_root(path.parent))
            project.wiring.settings  # noqa: B018 - raises UnknownTarget
            self._project_of[path.parent] = self._projects.setdefault(project.root, project)
        return self._project_of[path.parent]

    def _open(self, root: Path) -> Project:
        """Return the project in the folder `root`, with the target and values of the session."""
        chosen = self.overrides
        return Project(root, warn=self.warnings.append, target=chosen.target, given=chosen.given)

    def parse(self, path: Path) -> Suite:
        """Parse the test file at `path`, and apply the overrides of the session.

        Raises UserError or ProblemsFound.
        """
        from loomgit.workflows.validate.suite_checks import load_suite

        project = self.project(path)
        name = path.resolve().relative_to(project.root).as_posix()
        return apply_overrides(load_suite(project.wiring, name), self.overrides)

    # -- judging

    @property
    def pool(self) -> SamplePool:
        """The samples of the session. The pool is created when it is first used."""
        from loomgit.workflows.testing.sample_pool import SamplePool

        if self._pool is None:
            draws = None if self.worker_draws is None else _shared_draws(self.worker_draws)
            self._pool = SamplePool(self.overrides.options, draws, workers=self.workers)
        return self._pool

    @property
    def has_drawn(self) -> bool:
        """Whether the session has a sample pool, and so may have drawn samples."""
        return self._pool is not None

    def judge_of(self, path: Path) -> TestJudge:
        """Return the judge of the project that contains a file. Raises UserError."""
        if path in self._judge_of:
            return self._judge_of[path]
        from loomgit.workflows.testing.judge import TestJudge

        project = self.project(path)
        if project.root not in self._judges:
            self._judges[project.root] = TestJudge(
                project.wiring, self.overrides.options, self.pool, project=str(project.root)
            )
        return self._judge_of.setdefault(path, self._judges[project.root])

    def start(self, tests: Sequence[tuple[Path, Suite, AnyTest]]) -> None:
        """Start to draw the samples of these tests, in the order of the tests."""
        draws = [
            draw for path, suite, test in tests for draw in self.judge_of(path).draws(suite, test)
        ]
        self.pool.start(draws, max(judge.concurrency for judge in self._judges.values()))

    def judge(self, path: Path, suite: Suite, test: AnyTest) -> JudgedTest:
        """Return the verdict on a test.

        The verdict `unverified` becomes `error` if a call was refused because the budget was spent.
        With a larger budget, the test could have another verdict.
        """
        judged = self.judge_of(path).judge(suite, test)
        verdict = judged.outcome.verdict
        if verdict == "unverified" and judged.refused:
            verdict = "error"
        strict = self.overrides.options.strict or test.policy.strict
        if not blocks(verdict, strict=strict):
            return judged
        return replace(
            judged,
            outcome=replace(judged.outcome, verdict=verdict, blocks=True),
            result=replace(judged.result, verdict=verdict),
        )

    # -- pytest-xdist

    def share_draws(self) -> Path:
        """Return the path of the file in which workers claim the samples that they draw.

        Only the controller calls this method.
        """
        if self._shared_folder is None:
            self._shared_folder = Path(tempfile.mkdtemp(prefix="loom-draws-"))
        return self._shared_folder / SHARED_FILE

    # -- the end

    def close(self, *, wait: bool) -> None:
        """Stop drawing samples. If `wait` is true, wait until calls in flight end."""
        try:
            for judge in self._judges.values():
                judge.close(wait=wait)
        except LoomError as error:
            self.warnings.append(error.message)
        except KeyboardInterrupt:
            wait = False
        if not wait and self._pool is not None:
            self.warnings.append("calls in flight were abandoned, and their replies are lost")

    def finish(self, report: Path | None) -> None:
        """Summarize and store the results, and write them to the file `report` if it is given.

        The workers of pytest-xdist do not call this method.
        """
        from loomgit.workflows.testing.session_budget import unreported

        reported = {(outcome.project, outcome.pipeline) for outcome in self.outcomes.values()}
        self.warnings += filter(None, [unreported(self._bills(), reported)])
        try:
            if self.outcomes:
                with defer_sigint():
                    self._store(report)
        except LoomError as error:
            self.warnings.append(f"the results are not stored: {error.message}")
        finally:
            if self._shared_folder is not None:
                shutil.rmtree(self._shared_folder, ignore_errors=True)

    def _store(self, report: Path | None) -> None:
        from loomgit.workflows.testing.summary import Summary

        options, samples, results = self.overrides.options, self._samples(), self._results()
        self.summary = Summary(results, samples, options.baseline, self._bills())
        for project_results in results:
            self.lost += project_results.find_lost(options)
        self.warnings += self.lost
        if options.store:
            for project_results in results:
                tests = self.selection.of(project_results.wiring.root)
                project_results.save(
                    samples,
                    selected=len(tests.names),
                    total=tests.total,
                    finished=tests.is_finished(self.outcomes),
                )
        if report is not None:
            self.summary.write(report)

    def _results(self) -> list[SessionResults]:
        """Return the outcomes of each project, in the order of collection."""
        from loomgit.workflows.testing.results import SessionResults

        results: dict[str, SessionResults] = {}
        for name in sorted(self.outcomes, key=self.selection.position):
            outcome = self.outcomes[name]
            if outcome.project not in results:
                root = Path(outcome.project)
                project = self._projects.get(root) or self._open(root)
                results[outcome.project] = SessionResults(project.wiring, self._started)
            results[outcome.project].add(outcome)
        return list(results.values())

    def _shared(self) -> SharedDraws | None:
        """Return the samples that the workers of pytest-xdist shared.

        Return None if this process is not the controller, or if no worker shared a sample.
        """
        if self._shared_folder is None or not (self._shared_folder / SHARED_FILE).exists():
            return None
        return _shared_draws(self._shared_folder / SHARED_FILE)

    def _samples(self) -> Mapping[tuple[str, int], Sample]:
        shared = self._shared()
        if shared is not None:
            return {(key, sample.index): sample for key, sample in shared.settled()}
        return self._pool.samples if self._pool is not None else {}

    def _bills(self) -> Mapping[tuple[str, str], Bill]:
        shared = self._shared()
        if shared is not None:
            return shared.bills()
        return {} if self._pool is None else self._pool.bills

    def summary_lines(self) -> Iterable[str]:
        """Return the lines of all pipelines' tables, or no lines if no prompt test ran."""
        from loomgit.report.session import session_lines

        return [] if self.summary is None else session_lines(self.summary.tables())


def _shared_draws(path: Path) -> SharedDraws:
    from loomgit.history.shared_draws import SharedDraws

    return SharedDraws(path)
