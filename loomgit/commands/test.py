"""`loom test`: runs prompt tests and prints one line per assertion."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from loomgit.commands.error_document import error_document
from loomgit.commands.numbers import MAX_CONCURRENCY, FiniteNumber, WholeNumber
from loomgit.commands.options import (
    Common,
    common,
    execution_date_option,
    target_option,
    variables_option,
)
from loomgit.commands.pytest_start import run_pytest
from loomgit.commands.screen import echo
from loomgit.domain.variables import GivenValues
from loomgit.errors import Denied, LoomError, UserError, WorldError
from loomgit.pytest_plugin.interrupts import is_ctrl_c
from loomgit.report.session import assertion_lines, render_json
from loomgit.wiring.catalog import SUITE_ENDINGS
from loomgit.workflows.validate.suite_checks import require_fit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from loomgit.api import Project
    from loomgit.commands.options import Console
    from loomgit.pytest_plugin.session import PromptTestSession

INTERRUPTED, USAGE_ERROR = 130, 2
NO_TESTS_COLLECTED = 5  # pytest's exit code if no test ran
UNANSWERED = {"": 0, "denied": Denied.exit_code, "lost": WorldError.exit_code}
EXIT = {
    2: USAGE_ERROR,
    3: 3,
    4: USAGE_ERROR,
    NO_TESTS_COLLECTED: USAGE_ERROR,
}  # maps pytest's exit codes to Loom's exit codes
WATCHED = ("pipelines", "prompts", "context", "tests", ".loom/config.yaml")
POLL_SECONDS = 0.5
PYTEST_ARGUMENTS = "loom.pytest_arguments"

CONCURRENCY = WholeNumber(min=1, max=MAX_CONCURRENCY)


class _WithPytest(click.Command):
    """A command that keeps the arguments after `--` for pytest.

    Otherwise click would parse these arguments as pipelines.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            separator = args.index("--")
            ctx.meta[PYTEST_ARGUMENTS] = args[separator + 1 :]
            args = args[:separator]
        return super().parse_args(ctx, args)


@click.command("test", cls=_WithPytest)
@click.argument("pipelines", nargs=-1, metavar="[PIPELINE|FILE...] [-- PYTEST ARGS]")
@click.option("--watch", is_flag=True, help="Run the tests again when a file changes.")
@click.option(
    "--strict", is_flag=True, help="Also count inconclusive and unverified tests as failed."
)
@click.option("--baseline", metavar="REF", help="Revision to compare with, or `none`.")
@click.option("--samples", type=WholeNumber(min=1), metavar="N", help="Replies per case.")
@click.option(
    "--sample-size",
    type=WholeNumber(min=1),
    metavar="N",
    help="Cases per distributional test.",
)
@click.option("--model", metavar="M", help="Model to test.")
@click.option(
    "--concurrency",
    type=WholeNumber(min=1, max=MAX_CONCURRENCY),
    metavar="N",
    help="Maximum number of concurrent model calls.",
)
@click.option(
    "--budget",
    type=FiniteNumber(min=0),
    metavar="USD",
    help="Maximum cost.",
)
@click.option(
    "--replay",
    type=click.Choice(["off", "auto", "only", "record"]),
    help="Use or record replies in cassettes.",
)
@click.option(
    "--on-inconclusive",
    type=click.Choice(["point", "warn", "fail"]),
    help="Treatment of inconclusive assertions.",
)
@click.option("--report", metavar="F.html|md|json", help="Write the results to this file.")
@click.option("--no-store", is_flag=True, help="Do not store results or reuse stored results.")
@click.option("--modified", is_flag=True, help="Only tests affected by changes since the baseline.")
@variables_option("Set {{ vars.NAME }}; replaces `vars` of the test files. Can be repeated.")
@execution_date_option
@target_option()
@common
@click.pass_context
def command(
    context: click.Context,
    /,
    options: Common,
    pipelines: tuple[str, ...],
    watch: bool,
    variables: dict[str, str],
    execution_date: datetime | None,
    target: str | None,
    **chosen: object,
) -> int:
    """Run the prompt tests of all pipelines, or of the given pipelines and test files.

    Arguments after `--` are passed to pytest: `loom test -- -k refund -x`.

    Exit codes: 0 no test failed, 1 a test failed, 2 usage error, configuration error or missing API
    key, 4 no model responded, 130 interrupted.
    """
    if watch and options.console.json:
        raise click.UsageError("--watch runs the tests many times and cannot be used with --json.")
    project = options.project(target=target, given=GivenValues(variables, execution_date))
    if watch:
        return _watch(project)
    if chosen["report"] is not None:
        chosen["report"] = str(Path(str(chosen["report"])).absolute())
    for_pytest = context.meta.get(PYTEST_ARGUMENTS, [])
    chosen |= {"target": target, "execution_date": execution_date and execution_date.isoformat()}
    values = [f"--loom-vars={name}={text}" for name, text in variables.items()]
    arguments = [*_arguments(chosen), *values, *for_pytest, *_files(project, pipelines)]
    observer = _SessionObserver(options.console)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.chdir(project.root):
        code = run_pytest(
            ["-p", "loom", "--loom", *arguments],
            observer,
            strict=bool(chosen["strict"]),
            warn=options.console.warn,
        )
    options.console.clear()
    return _print_results(options.console, observer, code, output.getvalue())


def _files(project: Project, names: tuple[str, ...]) -> list[str]:
    """Return the absolute paths of the test files to run.

    Each of `names` is the path of a test file, or the name of a pipeline, which stands for all its
    test files. If `names` is empty, all test files of the project are run. Raises UserError if no
    test file exists, and ProblemsFound if a test file is invalid.
    """
    suites = project.suites()
    chosen = [] if names else [suite.path for suite in suites]
    for name in names:
        path = Path(name).absolute()
        if name.endswith((*SUITE_ENDINGS, ".py")) and path.is_file():
            chosen.append(str(path))
            continue
        pipeline = project.pipeline(name).name
        paths = [suite.path for suite in suites if suite.pipeline == pipeline]
        if not paths:
            raise UserError(f"{pipeline} has no tests", hint=f"create tests/{pipeline}_test.yaml")
        chosen += paths
    if not chosen:
        raise UserError("no test files found", hint="create tests/NAME_test.yaml")
    require_fit((suite for suite in suites if suite.path in chosen), project.wiring)
    return [str(project.root / path) for path in dict.fromkeys(chosen)]


def _arguments(chosen: dict[str, object]) -> list[str]:
    """Convert the options to arguments for pytest."""
    arguments: list[str] = []
    for name, value in chosen.items():
        flag = f"--loom-{name.replace('_', '-')}"
        if value is True:
            arguments.append(flag)
        elif value is not None and value is not False:
            arguments.append(f"{flag}={value}")
    return arguments


class _SessionObserver:
    """A pytest plugin that displays progress and collects failures."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.session: PromptTestSession | None = None
        self.failures: list[tuple[str, str]] = []
        self.stopped = False
        self._done = self._total = 0  # numbers of finished tests and of all tests, for progress

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Store the session of the prompt tests."""
        plugin = config.pluginmanager.get_plugin("loom-tests")
        self.session = None if plugin is None else plugin.session

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the tests."""
        self._total = len(session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Display progress and collect a failure."""
        if report.failed:
            self.failures.append((report.nodeid, str(report.longrepr)))
        if report.when == "call":
            self._done += 1
            of = f"/{self._total:,}" if self._total else ""
            self._console.progress(f"Testing: {self._done:,}{of} tests")

    @property
    def unfinished(self) -> str:
        """A text about the tests that did not run, such as `2 of 9 did not run`.

        If all tests ran, the text is `stopped` after Ctrl-C, and otherwise empty.
        """
        ran, _, total = self.session.counts if self.session is not None else (0, 0, 0)
        if ran < total:
            return f"{total - ran:,} of {total:,} did not run"
        return "stopped" if self.stopped else ""

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Record that the user stopped the session, and print that Loom waits for calls."""
        if not is_ctrl_c(excinfo):
            return
        self.stopped = True
        self._console.warn(
            "stopping: waiting for calls in flight; press Ctrl-C again to stop immediately"
        )


def _print_results(console: Console, observer: _SessionObserver, code: int, output: str) -> int:
    """Print the results, or pytest's output if there are no results; return the exit code."""
    if code == NO_TESTS_COLLECTED and observer.session is not None and observer.session.unmodified:
        console.print("Nothing that is tested has changed")
        console.document(json.loads(render_json([])))
        return 0
    code = INTERRUPTED if observer.stopped else EXIT.get(code, code)
    summary = observer.session.summary if observer.session is not None else None
    if summary is None or code == USAGE_ERROR:
        echo(output.rstrip("\n"), err=True, plain=True)
    if summary is None:
        if code == 0:
            raise UserError(
                "no prompt test ran",
                hint="check whether conftest.py or addopts disables prompt tests",
            )
        console.document(error_document(output.strip() or "pytest failed", None, code))
        return code
    assert observer.session is not None
    if code == 0:  # a conftest.py can change pytest's exit code to 0, so check the results
        ran, selected, _ = observer.session.counts
        code = int(
            observer.session.has_failures
            or (observer.session.overrides.options.strict and ran < selected)
        )
        code = code or (0 if _is_fork() else UNANSWERED[summary.unanswered])
    tables = summary.tables()
    lines = list(assertion_lines(tables, observer.unfinished, only_problems=console.quiet))
    if console.quiet and not lines:  # a Python test without prompts can fail
        lines = [f"failed: {name}" for name, _ in observer.failures]
    for line in lines:
        console.answer(line)
    if observer.failures and not console.quiet:
        console.print()
        console.print("Failures:")
        for name, text in observer.failures:
            console.print()
            console.print_content(name)
            for line in text.splitlines():
                console.print_content(f"  {line}")
    for message in dict.fromkeys(observer.session.warnings):
        console.warn(message)
    console.document(json.loads(render_json(tables)))
    return code


def _is_fork() -> bool:
    """Whether Loom runs in a CI workflow for a pull request from a fork (without API keys)."""
    from loomgit.workflows.guard.fork import is_fork  # noqa: PLC0415 - rarely needed

    return is_fork(os.environ)


def _watch(project: Project) -> int:
    """Run the tests in a new process after each change, until Ctrl-C."""
    arguments = [word for word in sys.argv[1:] if word != "--watch"]
    previous: dict[Path, float] | None = None
    data = _data_files(project)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            now = _modification_times(project, data)
            if now != previous:
                data = _data_files(project)
                previous = _modification_times(project, data)
                _run_again(arguments)
            time.sleep(POLL_SECONDS)
    return 0


def _run_again(arguments: list[str]) -> None:
    """Run the tests in a child process. At Ctrl-C, wait until the child has saved its results."""
    command = [sys.executable, "-P", "-m", "loomgit", *arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - the command is Loom itself
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise


def _modification_times(project: Project, data: Sequence[Path]) -> dict[Path, float]:
    """Return the modification time of each file on which the tests depend."""
    times: dict[Path, float] = {}
    for place in (*(project.root / name for name in WATCHED), *data):
        for path in place.rglob("*") if place.is_dir() else [place]:
            with contextlib.suppress(OSError):
                if path.is_file() and "__pycache__" not in path.parts:
                    times[path] = path.stat().st_mtime
    return times


def _data_files(project: Project) -> list[Path]:
    """Return the files that contain the cases, or [] while a pipeline or test file is invalid."""
    try:
        suites = project.suites()
        names = [
            suite.dataset or project.pipeline(suite.pipeline).extract.source for suite in suites
        ]
    except LoomError:
        return []
    return [project.root / name.removeprefix("file://") for name in names]
