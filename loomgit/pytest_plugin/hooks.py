"""The hooks of the pytest plugin.

`loomgit.pytest_plugin.session` holds the state of the session, and
`loomgit.workflows.testing.judge` judges the tests.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loomgit.domain.safe_text import for_screen
from loomgit.errors import UserError
from loomgit.harness.overrides import parse_overrides
from loomgit.pytest_plugin.interrupts import defer_sigint, is_ctrl_c
from loomgit.pytest_plugin.items import LoomItem, SuiteFile
from loomgit.pytest_plugin.options import read_options
from loomgit.pytest_plugin.reports import SKIPPED, ReportHooks
from loomgit.pytest_plugin.session import PromptTestSession
from loomgit.report.tones import split_tones

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from loomgit.harness.outcome import TestOutcome
    from loomgit.pytest_plugin.fixture import LoomFixture
    from loomgit.report.tones import Tone

ENDINGS = ("_test.yaml", ".loom.yaml")
MARKUP: dict[Tone, dict[str, bool]] = {
    "": {},
    "success": {"green": True},
    "failure": {"red": True},
    "warning": {"yellow": True},
    "secondary": {"light": True},
}
FIXTURE: pytest.StashKey[LoomFixture] = pytest.StashKey()


class LoomPlugin(ReportHooks):
    """The plugin of one pytest session with prompt tests. `session` contains Loom's state."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        try:
            overrides = parse_overrides(read_options(config))
        except UserError as error:
            raise pytest.UsageError(error.message) from error
        self.session = PromptTestSession(config.rootpath, overrides)
        self._is_worker = hasattr(config, "workerinput")
        if self._is_worker:
            workerinput: dict[str, str] = config.workerinput  # type: ignore[attr-defined]  # set by pytest-xdist
            self.session.workers = int(workerinput["workercount"])
            if "loom_draws" in workerinput:
                self.session.worker_draws = Path(workerinput["loom_draws"])
        self._abandon = False  # true after a second Ctrl-C: do not wait for calls in flight

    # -- collection

    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """Collect the prompt tests of a YAML file."""
        if not file_path.name.endswith(ENDINGS):
            return None
        return SuiteFile.from_parent(parent, path=file_path, loom=self.session)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """If --loom-modified is set, deselect the tests of unmodified pipelines."""
        if not self.session.overrides.modified:
            return
        suites = {item.path: item for item in items if isinstance(item, LoomItem)}
        unmodified = {
            path
            for path, item in suites.items()
            if not self.session.judge_of(path).is_modified(item.suite)
        }
        deselected = [i for i in items if isinstance(i, LoomItem) and i.path in unmodified]
        self.session.unmodified = len(deselected)
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = [i for i in items if not (isinstance(i, LoomItem) and i.path in unmodified)]

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Count prompt tests before `-k`, `-m` or a conftest.py deselects some of them."""
        if isinstance(item, LoomItem):
            self.session.selection.collect(item.path)

    # -- running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start to draw the samples of the selected tests."""
        if session.config.option.collectonly or session.testsfailed:
            return
        items = [item for item in session.items if isinstance(item, LoomItem)]
        self.session.selection.order(item.nodeid for item in session.items)
        self.session.selection.choose(item.nodeid for item in items)
        if not items:
            return
        # Exclude the modules and tests from garbage collection: they stay in memory until the end.
        gc.freeze()
        self.session.start([(item.path, item.suite, item.test) for item in items])

    def fixture(self, node: pytest.Item) -> LoomFixture:
        """Create the value of the fixture `loom` for a Python test."""
        from loomgit.pytest_plugin.fixture import LoomFixture  # noqa: PLC0415 - only for Python tests

        overrides = self.session.overrides
        fixture = LoomFixture(
            self.session.judge_of(node.path),
            node.nodeid,
            node.get_closest_marker("loom"),
            overrides.model,
            overrides.samples,
        )
        node.stash[FIXTURE] = fixture
        return fixture

    # -- outcomes

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the outcome to the report, which pytest-xdist sends to the controller."""
        report = yield
        if call.when != "call":
            return report
        outcome: TestOutcome | None = None
        if isinstance(item, LoomItem):
            if item.judged is None:
                return report
            outcome = item.judged.outcome
            # The time that the test waited for samples depends on other tests. Therefore, the
            # duration contains the time of the slowest sample of this test instead.
            report.duration = (
                max(report.duration - item.judged.waited_seconds, 0.0) + item.judged.seconds
            )
            if report.skipped:
                path, line, _ = item.reportinfo()
                report.longrepr = str(path), line + 1, f"{SKIPPED}{outcome.message}"
        elif (fixture := item.stash.get(FIXTURE, None)) is not None:
            outcome = fixture.entry(report)
            if outcome is not None and report.failed:
                report.sections.append(("prompt replies, latest first", fixture.replies()))
        if outcome is not None:
            total = self.session.selection.of(Path(outcome.project)).total
            report.loom = {"total": total, "entry": outcome}  # type: ignore[attr-defined]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the outcome.

        A worker of pytest-xdist stores nothing, because the controller stores all outcomes.
        """
        if self._is_worker or report.when != "call" or not hasattr(report, "loom"):
            return
        outcome: TestOutcome = report.loom["entry"]
        chosen = self.session.selection.of(Path(outcome.project))
        chosen.total = max(chosen.total, report.loom["total"])
        self.session.outcomes[report.nodeid] = outcome

    # -- the end

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_keyboard_interrupt(
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Generator[None]:
        """Print that Loom waits for calls in flight.

        A second Ctrl-C does not interrupt this hook. It only makes the session end without waiting
        for the calls.
        """
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        with defer_sigint() as pressed:
            if terminal is not None and self.session.has_drawn and is_ctrl_c(excinfo):
                terminal.ensure_newline()
                terminal.write_line(
                    "loom: waiting for calls in flight; press Ctrl-C again to stop immediately"
                )
            yield
        self._abandon = bool(pressed)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Wait for calls in flight and store the results.

        The results are stored even if Ctrl-C interrupts the teardown of a fixture or of another
        plugin. pytest-xdist stops its workers before the results are stored.
        """
        try:
            yield
        finally:
            interrupted = isinstance(sys.exc_info()[1], KeyboardInterrupt)
            self._finish(wait=not (self._abandon or interrupted))
        strict = self.session.overrides.options.strict
        if strict and self.session.lost and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish(self, *, wait: bool) -> None:
        gc.unfreeze()
        self.session.close(wait=wait)
        if self._is_worker:
            self._config.workeroutput["loom_warnings"] = self.session.warnings  # type: ignore[attr-defined]  # set by pytest-xdist
            return
        report = self.session.overrides.report
        self.session.finish(None if report is None else self._config.invocation_params.dir / report)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - the type is private in pytest
        """Print the warnings and a table for each pipeline."""
        for message in dict.fromkeys(self.session.warnings):
            terminalreporter.write_line(for_screen(f"loom: {message}"), yellow=True)
        if self.session.summary is None:
            return
        terminalreporter.section("prompt tests", sep="=")
        for line in self.session.summary_lines():
            for part in split_tones(for_screen(line)):
                terminalreporter.write(part.text, **MARKUP[part.tone])
            terminalreporter.line("")

    # -- pytest-xdist

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types
        """Give a worker the path of the file through which all workers share their samples."""
        node.workerinput["loom_draws"] = str(self.session.share_draws())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """Record which prompt tests a worker selected, because the controller collects no tests."""
        names = list(ids)
        self.session.selection.order(names)
        prompt_tests = (name for name in names if name.partition("::")[0].endswith(ENDINGS))
        self.session.selection.choose(prompt_tests)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types
        """Collect the warnings of a worker."""
        with suppress(AttributeError, KeyError):  # a crashed worker has no output
            self.session.warnings += node.workeroutput["loom_warnings"]
