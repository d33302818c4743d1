"""`loom test`: the prompt tests of pipelines, one line an assertion."""

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

from loomgit.commands.numbers import MOST_CALLS, FiniteNumber, WholeNumber
from loomgit.commands.options import Common, common
from loomgit.commands.pytest_start import run_pytest
from loomgit.commands.screen import echo
from loomgit.errors import Denied, LoomError, UserError, WorldError
from loomgit.report.session import as_object, mission_lines
from loomgit.sessions.interrupts import is_ctrl_c
from loomgit.wiring.catalog import SUITE_ENDINGS
from loomgit.wiring.tested import require_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.api import Project
    from loomgit.commands.options import Console
    from loomgit.plugin import LoomPlugin

STOPPED, USAGE = 130, 2
NO_TESTS = 5  # pytest's code for a session that ran no test
UNANSWERED = {"": 0, "denied": Denied.exit_code, "lost": WorldError.exit_code}
EXIT = {2: USAGE, 3: 3, 4: USAGE, NO_TESTS: USAGE}  # pytest's own codes, as ours
WATCHED = ("pipelines", "prompts", "context", "tests", ".loom/config.yaml")
POLL_SECONDS = 0.5
PYTEST_ARGUMENTS = "loom.pytest_arguments"

CALLS = WholeNumber(min=1, max=MOST_CALLS)


class _WithPytest(click.Command):
    """Passes the arguments after `--` to pytest; click would read them as pipelines."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[PYTEST_ARGUMENTS] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command("test", cls=_WithPytest)
@click.argument("pipelines", nargs=-1, metavar="[PIPELINE|FILE...] [-- PYTEST ARGS]")
@click.option("--watch", is_flag=True, help="Run the tests again when one of their files changes.")
@click.option("--strict", is_flag=True, help="Fail also what is inconclusive or unverified.")
@click.option("--baseline", metavar="REF", help="Compare with this revision; `none`: nothing.")
@click.option("--samples", type=WholeNumber(min=1), help="Replies to each case.")
@click.option("--sample-size", type=WholeNumber(min=1), help="Cases of distributional tests.")
@click.option("--model", metavar="M", help="Ask this model.")
@click.option(
    "--concurrency", type=WholeNumber(min=1, max=MOST_CALLS), help="Model calls in flight."
)
@click.option(
    "--budget",
    type=FiniteNumber(min=0, min_open=True),
    metavar="USD",
    help="Spend no more than this.",
)
@click.option(
    "--replay",
    type=click.Choice(["off", "auto", "only", "record"]),
    help="Take model replies from cassettes.",
)
@click.option(
    "--on-inconclusive",
    type=click.Choice(["point", "warn", "fail"]),
    help="What an undecided assertion does.",
)
@click.option("--report", metavar="F.html|md|json", help="Write the results to this file.")
@click.option("--no-store", is_flag=True, help="Neither keep results nor take earlier ones.")
@click.option("--modified", is_flag=True, help="Only tests of what changed against the baseline.")
@common
@click.pass_context
def command(
    context: click.Context,
    /,
    options: Common,
    pipelines: tuple[str, ...],
    watch: bool,
    **chosen: object,
) -> int:
    """Run the prompt tests of all pipelines, or of those named.

    Arguments after `--` go to pytest: `loom test -- -k refund -x`.

    Exit codes: 0 no test failed, 1 a test failed, 2 usage or configuration error or no key, 4 no
    model answered any test, 130 stopped.
    """
    project = options.project()
    if watch:
        return _watch(project)
    if chosen["report"] is not None:
        chosen["report"] = str(Path(str(chosen["report"])).absolute())
    for_pytest = context.meta.get(PYTEST_ARGUMENTS, [])
    arguments = [*_arguments(chosen), *for_pytest, *_files(project, pipelines)]
    view = _View(options.console)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.chdir(project.root):
        code = run_pytest(
            ["-p", "loom", "--loom", *arguments],
            view,
            strict=bool(chosen["strict"]),
            warn=options.console.warn,
        )
    options.console.clear()
    return _show(options.console, view, code, said.getvalue())


def _files(project: Project, names: tuple[str, ...]) -> list[str]:
    """The test files that are named by path or by pipeline, or all.

    Raises ProblemsFound where any is broken, before any runs.
    """
    suites = project.suites()
    chosen = [] if names else [suite.path for suite in suites]
    for name in names:
        path = Path(name).absolute()
        if name.endswith((*SUITE_ENDINGS, ".py")) and path.is_file():
            chosen.append(str(path))
            continue
        pipeline = project.pipeline(name).name
        found = [suite.path for suite in suites if suite.pipeline == pipeline]
        if not found:
            raise UserError(f"{pipeline} has no tests", hint=f"write tests/{pipeline}_test.yaml")
        chosen += found
    if not chosen:
        raise UserError("there are no test files", hint="write tests/NAME_test.yaml")
    require_fit((suite for suite in suites if suite.path in chosen), project.wiring)
    return [str(project.root / path) for path in dict.fromkeys(chosen)]


def _arguments(chosen: dict[str, object]) -> list[str]:
    """The flags as pytest's."""
    found: list[str] = []
    for name, value in chosen.items():
        flag = f"--loom-{name.replace('_', '-')}"
        if value is True:
            found.append(flag)
        elif value is not None and value is not False:
            found.append(f"{flag}={value}")
    return found


class _View:
    """Listens to pytest: a line of progress, what failed, whether somebody stopped it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.plugin: LoomPlugin | None = None
        self.failures: list[tuple[str, str]] = []
        self.stopped = False
        self._done = self._total = 0  # for the progress line

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Remember who runs prompt tests."""
        self.plugin = config.pluginmanager.get_plugin("loom-tests")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Know how many there are."""
        self._total = len(session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count, and keep what failed."""
        if report.failed:
            self.failures.append((report.nodeid, str(report.longrepr)))
        if report.when == "call":
            self._done += 1
            of = f"/{self._total:,}" if self._total else ""
            self._console.progress(f"Testing: {self._done:,}{of} tests")

    @property
    def unfinished(self) -> str:
        """Which of the tests did not run; empty if all ran."""
        ran, _, total = self.plugin.counts if self.plugin is not None else (0, 0, 0)
        if ran < total:
            return f"{total - ran:,} of {total:,} did not run"
        return "stopped" if self.stopped else ""

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember that somebody stopped it, and say what is waited for."""
        if not is_ctrl_c(excinfo):
            return
        self.stopped = True
        self._console.warn("stopping: calls in flight end first; Ctrl-C again: at once")


def _show(console: Console, view: _View, code: int, said: str) -> int:
    """Print the results, or pytest's own output if there are none."""
    if code == NO_TESTS and view.plugin is not None and view.plugin.unmodified:
        console.answer("Nothing that is tested has changed")
        console.document(json.loads(as_object([])))
        return 0
    code = STOPPED if view.stopped else EXIT.get(code, code)
    summary = view.plugin.summary if view.plugin is not None else None
    if summary is None or code == USAGE:
        echo(said.rstrip("\n"), err=True)
    if summary is None:
        if code == 0:
            raise UserError("no prompt test ran", hint="a conftest.py or addopts prevents it")
        return code
    assert view.plugin is not None
    if code == 0:  # a conftest.py can make pytest report success
        ran, selected, _ = view.plugin.counts
        code = int(view.plugin.has_failures or (view.plugin.is_strict and ran < selected))
        code = code or (0 if _is_fork() else UNANSWERED[summary.unanswered])
    tables = summary.tables()
    for line in mission_lines(tables, view.unfinished):
        console.answer(line)
    if view.failures and not console.quiet:
        console.print()
        console.print("Failures:")
        for name, text in view.failures:
            console.print()
            console.print(name)
            for line in text.splitlines():
                console.print(f"  {line}")
    for message in dict.fromkeys(view.plugin.said):
        console.warn(message)
    console.document(json.loads(as_object(tables)))
    return code


def _is_fork() -> bool:
    """Whether this is the workflow of a fork's pull request, which has no keys."""
    from loomgit.history.baselines import read_event  # noqa: PLC0415 - for workflows alone
    from loomgit.hooks.github import parse_workflow  # noqa: PLC0415 - as above

    workflow = parse_workflow(os.environ, read_event(os.environ))
    return workflow is not None and workflow.fork


def _watch(project: Project) -> int:
    """Run again on every change, each time in a process of its own, until Ctrl-C."""
    arguments = [word for word in sys.argv[1:] if word != "--watch"]
    seen: dict[Path, float] | None = None
    data = _data(project)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            now = _times(project, data)
            if now != seen:
                data = _data(project)
                seen = _times(project, data)
                _run_again(arguments)
            time.sleep(POLL_SECONDS)
    return 0


def _run_again(arguments: list[str]) -> None:
    """Run the tests in a child process; at Ctrl-C, wait until it has saved its results."""
    command = [sys.executable, "-P", "-m", "loomgit", *arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - Loom itself
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise


def _times(project: Project, data: Sequence[Path]) -> dict[Path, float]:
    """When each file that matters to the tests was changed last."""
    found: dict[Path, float] = {}
    for place in (*(project.root / name for name in WATCHED), *data):
        for path in place.rglob("*") if place.is_dir() else [place]:
            with contextlib.suppress(OSError):
                if path.is_file() and "__pycache__" not in path.parts:
                    found[path] = path.stat().st_mtime
    return found


def _data(project: Project) -> list[Path]:
    """The files that cases come from; none while a file that names them is broken."""
    try:
        suites = project.suites()
        named = [
            suite.dataset or project.pipeline(suite.pipeline).extract.source for suite in suites
        ]
    except LoomError:
        return []
    return [project.root / name.removeprefix("file://") for name in named]
