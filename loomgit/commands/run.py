"""`loom run`: runs pipelines end to end, each after its upstream pipelines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from loomgit.commands.numbers import FiniteNumber, WholeNumber
from loomgit.commands.options import (
    Common,
    Console,
    common,
    execution_date_option,
    isolation_option,
    target_option,
    variables_option,
)
from loomgit.domain.stage_progress import StageProgressed
from loomgit.errors import LoomError, error_lines
from loomgit.pipeline.events import Extracted, RunFinished, RunStarted, Warned
from loomgit.report import text
from loomgit.report.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from loomgit.domain.runs import Run
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.events import Event
    from loomgit.wiring.selection import PipelineSelection


class RunSettings(TypedDict):
    """The options that `loom run` passes to `Project.run`."""

    variables: dict[str, str]
    execution_date: datetime | None
    limit: int | None
    resume: str | None
    full_refresh: bool


EXIT = {"gate": 1, "user": 2, "world": 4, "stopped": 130}


@click.command("run", short_help="Run pipelines.")
@click.argument("pipelines", nargs=-1, metavar="PIPELINE...")
@click.option(
    "--select",
    multiple=True,
    metavar="EXPR",
    help="Also run the pipelines that EXPR selects. Can be repeated.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="EXPR",
    help="Do not run the pipelines that EXPR selects. Can be repeated.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show which pipelines would run, without running them."
)
@click.option("--explain", is_flag=True, help="Show why each pipeline is selected.")
@variables_option("Set {{ vars.NAME }}. Can be repeated.")
@execution_date_option
@target_option()
@isolation_option
@click.option("--limit", type=WholeNumber(min=1), metavar="N", help="Only the first N records.")
@click.option(
    "--budget",
    type=FiniteNumber(min=0),
    metavar="USD",
    help="Maximum cost of all pipelines together.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Continue an unfinished run: a run id, or `latest`.",
)
@click.option(
    "--full-refresh",
    is_flag=True,
    help="Ignore the watermark of an incremental pipeline: read as in its first run.",
)
@common
def command(
    options: Common,
    pipelines: tuple[str, ...],
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    explain: bool,
    target: str | None,
    isolation: str,
    budget: float | None,
    **settings: Unpack[RunSettings],
) -> int:
    """Run one or more pipelines: extract, transform, evaluate, gate, load.

    \b
    EXPR selects pipelines:
      name             a pipeline
      name+            a pipeline and its downstream pipelines
      +name            a pipeline and its upstream pipelines
      state:modified   pipelines that differ from the baseline
      state:modified+  modified pipelines and their downstream pipelines
      tag:nightly      pipelines with this tag
      "A B", "A,B"     the union of A and B, their intersection

    A run that was stopped or killed is unfinished. --resume RUN repeats only the work that is
    missing: loaded records are not loaded again, and replies are not paid again. --resume latest
    starts a new run if no run of the pipeline is unfinished.

    Exit codes: 0 success, 1 a gate or threshold failed, 2 usage or configuration error, 4 a
    provider, database or disk failed, 130 interrupted.
    """
    if not pipelines and not select:
        raise click.UsageError("Missing argument 'PIPELINE...' or option '--select'.")
    project, console = options.project(target=target, isolation=isolation), options.console
    if settings["resume"] not in (None, "latest") and (len(pipelines) != 1 or select):
        raise click.UsageError("--resume RUN continues the run of one pipeline; name the pipeline.")
    # Check all pipelines before the first one runs.
    selection = project.select(pipelines, select, exclude=exclude, variables=settings["variables"])
    if explain and not dry_run:
        _print_reasons(console, selection)
    if dry_run or not selection.chosen:
        _print_selection(console, selection, console.answer if dry_run else console.print)
        return 0

    from loomgit.gateway.budget import Budget  # noqa: PLC0415 - keeps `--help` fast

    shared = None if budget is None else Budget(budget)

    def run(name: str) -> Run:
        with console.only_document():
            view = RunView(console)
            return project.run(name, budget=shared, on_event=view.show, **settings)

    runs, errors, code = _run_all(console, selection, run)
    if console.json:
        documents = [project.run_document(run) for run in runs]
        is_single = len(pipelines) == 1 and not select
        console.document(documents[0] if is_single else runs_document(documents, errors))
    return code


def _print_reasons(console: Console, selection: PipelineSelection) -> None:
    for chosen in selection.chosen:
        console.answer(f"{chosen.name}: {'; '.join(chosen.reasons)}")


def _print_selection(
    console: Console, selection: PipelineSelection, show: Callable[[str], None]
) -> None:
    """Print the selected pipelines in execution order, each with the reason for its selection."""
    count = len(selection.chosen)
    if not count:
        show("No pipeline is selected")
    else:
        show(f"Would run {count} pipeline{'s' if count > 1 else ''}:")
    for chosen in selection.chosen:
        show(f"  {chosen.name}: {'; '.join(chosen.reasons)}")
    console.document(
        {
            "schema_version": 1,
            "pipelines": [
                {"pipeline": chosen.name, "reasons": chosen.reasons} for chosen in selection.chosen
            ],
        }
    )


def runs_document(documents: list[JsonObject], errors: Mapping[str, LoomError]) -> JsonObject:
    """Return the JSON document of several runs and of the pipelines that could not start."""
    return {
        "schema_version": 1,
        "runs": [*documents],
        "errors": [
            {"pipeline": name, "problems": [*error.documents()]} for name, error in errors.items()
        ],
    }


def _run_all(
    console: Console,
    selection: PipelineSelection,
    run_one: Callable[[str], Run],
) -> tuple[list[Run], dict[str, LoomError], int]:
    """Run the pipelines in order; return the runs, the errors and the exit code.

    If a pipeline fails, its downstream pipelines are skipped. The errors contain the reason for
    each pipeline that cannot start. If only one pipeline is selected, its LoomError is raised
    instead.
    """
    runs: list[Run] = []
    errors: dict[str, LoomError] = {}
    failed: list[str] = []
    code = 0
    for name in (chosen.name for chosen in selection.chosen):
        if failed_upstream := selection.waits_for(name, failed):
            console.warn(f"{name} is skipped: its upstream pipeline {failed_upstream[0]} failed")
            continue
        try:
            run = run_one(name)
        except LoomError as error:
            if len(selection.chosen) == 1:
                raise
            for line, hint in error_lines(error):
                console.error(line, hint)
            code = max(code, error.exit_code)
            failed.append(name)
            errors[name] = error
            continue
        runs.append(run)
        code = max(code, EXIT.get(run.results.cause, 0))
        if run.results.cause == "stopped":
            break
        if run.results.cause:
            failed.append(name)
    return runs, errors, code


class RunView:
    """Displays the events of one run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = ProgressLine()
        self._printed: set[str] = set()  # the stages whose results are printed

    def show(self, event: Event) -> None:
        """Display an event."""
        match event:
            case RunStarted():
                self._lines(text.run_heading(event.pipeline, event.version))
            case Extracted():
                line = text.extracted(event.records, event.refused, event.seconds, event.note)
                self._console.print(line)
                self._printed.add("extract")
            case StageProgressed():
                if self._console.progresses and event.stage not in self._printed:
                    self._console.progress(self._progress.render(event, time.monotonic()))
            case Warned():
                self._console.warn(event.message)
            case RunFinished():
                self._lines(text.run_result(event.run))
                self._printed |= {"process", "load"}
                if self._console.verbose:
                    self._lines(["", *text.run_lineage(event.run)])
                if event.run.results.cause:
                    self._console.error(event.run.results.message, event.hint)

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(line)
