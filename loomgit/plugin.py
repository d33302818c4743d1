"""The pytest plugin: test files become items, items become verdicts, a session becomes runs.

Hooks only: what is measured and how it is judged stands in `loomgit.sessions.trial`, what is
kept of it in `loomgit.sessions.ledger`.
"""
# ruff: noqa: PLC0415 - a session pays for what it does: who only collects loads no gateway, and
# with pytest-xdist the controller judges nothing

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from loomgit.api import Project
from loomgit.domain.outside import for_screen
from loomgit.errors import LoomError, UserError
from loomgit.harness.choices import parse_choices, with_choices
from loomgit.harness.verdicts import blocks
from loomgit.sessions.given import given
from loomgit.sessions.interrupts import held_back, is_ctrl_c
from loomgit.sessions.items import LoomItem, SuiteFile
from loomgit.sessions.reports import SKIPPED, ReportHooks
from loomgit.sessions.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from loomgit.domain.bills import Bill
    from loomgit.domain.samples import Sample
    from loomgit.domain.suites import Suite
    from loomgit.harness.entry import Entry
    from loomgit.history.board import Board
    from loomgit.sessions.fixture import LoomFixture
    from loomgit.sessions.ledger import Ledger
    from loomgit.sessions.summary import Summary
    from loomgit.sessions.supply import Supply
    from loomgit.sessions.trial import Judged, Trial

ENDINGS = ("_test.yaml", ".loom.yaml")
BOARD = "board.db"
FIXTURE: pytest.StashKey[LoomFixture] = pytest.StashKey()


class LoomPlugin(ReportHooks):
    """One pytest session with prompt tests, in the controller, in a worker, or in both at once.

    `summary` is there when the session has ended, unless no prompt test ran; `said` are the
    warnings to show then.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        try:
            self._choices = parse_choices(given(config))
        except UserError as error:
            raise pytest.UsageError(error.message) from error
        self._is_worker = hasattr(config, "workerinput")
        self._projects: dict[Path, Project] = {}
        self._folders: dict[Path, Project] = {}
        self._trials: dict[Path, Trial] = {}  # by the root of their project
        self._trial_of: dict[Path, Trial] = {}  # the same by test file
        self._supply: Supply | None = None
        self._shared: Path | None = None  # the folder of the board, in the controller
        self._selection = Selection(config.rootpath, lambda file: self.project(file).root)
        self._entries: dict[str, Entry] = {}
        self._began = datetime.now(UTC)
        self._hurried = False
        self.unmodified = 0  # tests that --loom-modified left out
        self.summary: Summary | None = None
        self.said: list[str] = []
        self.lost: list[str] = []  # lines about tests and cases that the change takes away

    @property
    def is_strict(self) -> bool:
        """Whether inconclusive and unverified tests fail."""
        return self._choices.options.strict

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many prompt tests ran, were selected, and were collected and are not unmodified."""
        ran, selected, collected = self._selection.counts(self._entries)
        return ran, selected, collected - self.unmodified

    @property
    def has_failures(self) -> bool:
        """Whether a prompt test failed, whatever pytest makes of it; under `strict` also whether
        tests or cases are gone that the baseline has."""
        failed = any(entry.blocks for entry in self._entries.values())
        return failed or (self.is_strict and bool(self.lost))

    # -- projects

    def project(self, path: Path) -> Project:
        """The project that a file stands in. Raises UserError."""
        if path.parent not in self._folders:
            found = Project.find(path.parent, warn=self.said.append)
            self._folders[path.parent] = self._projects.setdefault(found.root, found)
        return self._folders[path.parent]

    # -- collection

    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """A test file of ours becomes a collector."""
        if not file_path.name.endswith(ENDINGS):
            return None
        return SuiteFile.from_parent(parent, path=file_path, plugin=self)

    def parse(self, path: Path) -> Suite:
        """The test file at `path`, with what the invocation says in place of its own words.

        Raises UserError or ProblemsFound.
        """
        from loomgit.wiring.tested import checked_suite

        project = self.project(path)
        name = path.resolve().relative_to(project.root).as_posix()
        suite = checked_suite(project.wiring, name)
        return with_choices(suite, self._choices)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """With --loom-modified, leave out the tests of what did not change."""
        if not self._choices.modified:
            return
        suites = {item.path: item for item in items if isinstance(item, LoomItem)}
        same = {path for path, one in suites.items() if not self.trial(path).is_modified(one.suite)}
        left = [item for item in items if isinstance(item, LoomItem) and item.path in same]
        self.unmodified = len(left)
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [i for i in items if not (isinstance(i, LoomItem) and i.path in same)]

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Count the prompt tests, before `-k`, `-m` or a conftest.py leaves some out."""
        if isinstance(item, LoomItem):
            self._selection.collect(item.path)

    # -- running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Begin to draw what the selected tests take."""
        if session.config.option.collectonly or session.testsfailed:
            return
        ours = [item for item in session.items if isinstance(item, LoomItem)]
        self._selection.order(item.nodeid for item in session.items)
        self._selection.choose(item.nodeid for item in ours)
        if not ours:
            return
        # The modules and the tests stay to the end: what looks for garbage while the tests run need
        # not look through them each time.
        gc.freeze()
        draws = [
            draw for item in ours for draw in self.trial(item.path).draws(item.suite, item.test)
        ]
        self.supply.start(draws, max(trial.concurrency for trial in self._trials.values()))

    @property
    def supply(self) -> Supply:
        """Where samples come from, made when it is first needed."""
        from loomgit.sessions.supply import Supply

        if self._supply is None:
            board, workers = None, 1
            if self._is_worker:
                given: dict[str, str] = self._config.workerinput  # type: ignore[attr-defined]  # xdist's
                workers = int(given["workercount"])
                board = _board(Path(given["loom_board"])) if "loom_board" in given else None
            self._supply = Supply(self._choices.options, board, workers=workers)
        return self._supply

    def trial(self, path: Path) -> Trial:
        """What judges the tests of a file's project. Raises UserError."""
        if path in self._trial_of:
            return self._trial_of[path]
        from loomgit.sessions.trial import Trial

        project = self.project(path)
        if project.root not in self._trials:
            self._trials[project.root] = Trial(
                project.wiring, self._choices.options, self.supply, project=str(project.root)
            )
        return self._trial_of.setdefault(path, self._trials[project.root])

    def judge(self, item: LoomItem) -> Judged:
        """The verdict on a test. What the budget refused is an error: more would change that."""
        judged = self.trial(item.path).judge(item.suite, item.test)
        verdict = judged.entry.verdict
        if verdict == "unverified" and judged.refused:
            verdict = "error"
        strict = self._choices.options.strict or item.test.policy.strict
        if not blocks(verdict, strict=strict):
            return judged
        return replace(
            judged,
            entry=replace(judged.entry, verdict=verdict, blocks=True),
            result=replace(judged.result, verdict=verdict),
        )

    def fixture(self, node: pytest.Item) -> LoomFixture:
        """The fixture `loom` of a Python test."""
        from loomgit.sessions.fixture import LoomFixture

        marker = node.get_closest_marker("loom")
        made = LoomFixture(
            self.trial(node.path), node.nodeid, marker, self._choices.model, self._choices.samples
        )
        node.stash[FIXTURE] = made
        return made

    # -- outcomes

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the outcome on the report: so it travels from a worker to the controller."""
        report = yield
        if call.when != "call":
            return report
        entry: Entry | None = None
        if isinstance(item, LoomItem):
            if item.judged is None:
                return report
            entry = item.judged.entry
            # Its own time: it may have waited for others' samples, or its own were drawn before.
            report.duration = max(report.duration - item.judged.waited, 0.0) + item.judged.seconds
            if report.skipped:
                path, line, _ = item.reportinfo()
                report.longrepr = str(path), line + 1, f"{SKIPPED}{entry.message}"
        elif (fixture := item.stash.get(FIXTURE, None)) is not None:
            entry = fixture.entry(report)
            if entry is not None and report.failed:
                report.sections.append(("prompt replies, the last first", fixture.replies()))
        if entry is not None:
            total = self._selection.of(Path(entry.project)).total
            report.loom = {"total": total, "entry": entry}  # type: ignore[attr-defined]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in an outcome, in the controller or where there is none."""
        if self._is_worker or report.when != "call" or not hasattr(report, "loom"):
            return
        entry: Entry = report.loom["entry"]
        chosen = self._selection.of(Path(entry.project))
        chosen.total = max(chosen.total, report.loom["total"])
        self._entries[report.nodeid] = entry

    # -- the end

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_keyboard_interrupt(
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Generator[None]:
        """Announce what is waited for. A second Ctrl-C waits for teardown."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        with held_back() as pressed:
            if terminal is not None and self._supply is not None and is_ctrl_c(excinfo):
                terminal.ensure_newline()
                terminal.write_line("loom: calls in flight end first; Ctrl-C again: at once")
            yield
        self._hurried = bool(pressed)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Let what is in flight end (with pytest-xdist: the workers', who are gone now); keep the
        results, also where the end of another plugin or a fixture was interrupted."""
        try:
            yield
        finally:
            self._finish(hurried=self._hurried or isinstance(sys.exc_info()[1], KeyboardInterrupt))
        if self.is_strict and self.lost and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish(self, *, hurried: bool) -> None:
        gc.unfreeze()
        try:
            for trial in self._trials.values():
                trial.close(wait=not hurried)
        except LoomError as error:
            self.said.append(error.message)
        except KeyboardInterrupt:
            hurried = True
        if hurried and self._supply is not None:
            self.said.append("calls in flight were left: what they come to is lost")
        if self._is_worker:
            self._config.workeroutput["loom_said"] = self.said  # type: ignore[attr-defined]  # xdist's
            return
        from loomgit.sessions.accounts import unreported

        reported = {(entry.project, entry.pipeline) for entry in self._entries.values()}
        self.said += filter(None, [unreported(self._bills(), reported)])
        try:
            if self._entries:
                with held_back():
                    self._conclude()
        except LoomError as error:
            self.said.append(f"the results are not kept: {error.message}")
        finally:
            if self._shared is not None:
                shutil.rmtree(self._shared, ignore_errors=True)

    def _conclude(self) -> None:
        from loomgit.sessions.summary import Summary

        options, samples, ledgers = self._choices.options, self._samples(), self._ledgers()
        self.summary = Summary(ledgers, samples, options.baseline, self._bills())
        for ledger in ledgers:
            self.lost += ledger.find_lost(options)
        self.said += self.lost
        if options.store:
            for ledger in ledgers:
                chosen = self._selection.of(ledger.wiring.root)
                ledger.save(
                    samples,
                    selected=len(chosen.names),
                    total=chosen.total,
                    finished=chosen.is_finished(self._entries),
                )
        if self._choices.report is not None:
            self.summary.write(self._config.invocation_params.dir / self._choices.report)

    def _ledgers(self) -> list[Ledger]:
        """The outcomes by project, in the order of collection, whoever ran them."""
        from loomgit.sessions.ledger import Ledger

        found: dict[str, Ledger] = {}
        for name in sorted(self._entries, key=self._selection.position):
            entry = self._entries[name]
            if entry.project not in found:
                root = Path(entry.project)
                project = self._projects.get(root) or Project(root, warn=self.said.append)
                found[entry.project] = Ledger(project.wiring, self._began)
            found[entry.project].add(entry)
        return list(found.values())

    def _samples(self) -> dict[tuple[str, int], Sample]:
        if self._shared is not None and (self._shared / BOARD).exists():
            board = _board(self._shared / BOARD)
            return {(key, sample.index): sample for key, sample in board.settled()}
        return self._supply.samples if self._supply is not None else {}

    def _bills(self) -> Mapping[tuple[str, str], Bill]:
        if self._shared is not None and (self._shared / BOARD).exists():
            return _board(self._shared / BOARD).bills()
        return {} if self._supply is None else self._supply.bills

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - pytest keeps its type to itself
        """A table per pipeline."""
        for message in dict.fromkeys(self.said):
            terminalreporter.write_line(for_screen(f"loom: {message}"), yellow=True)
        if self.summary is None:
            return
        from loomgit.report.session import session_lines

        terminalreporter.section("prompt tests", sep="=")
        for line in session_lines(self.summary.tables()):
            terminalreporter.write_line(for_screen(line))

    # -- pytest-xdist

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types
        """Tell a worker where the board is."""
        if self._shared is None:
            self._shared = Path(tempfile.mkdtemp(prefix="loom-board-"))
        node.workerinput["loom_board"] = str(self._shared / BOARD)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """Know which of our tests are selected: the controller collects none itself."""
        names = list(ids)
        self._selection.order(names)
        ours = (name for name in names if name.partition("::")[0].endswith(ENDINGS))
        self._selection.choose(ours)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types
        """Say what a worker had to say."""
        with suppress(AttributeError, KeyError):  # one that crashed says nothing
            self.said += node.workeroutput["loom_said"]


def _board(path: Path) -> Board:
    from loomgit.history.board import Board

    return Board(path)
