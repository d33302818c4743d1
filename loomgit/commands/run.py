"""`loom run`: pipelines, end to end, each behind those that it takes its data from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from loomgit.commands.numbers import FiniteNumber, WholeNumber
from loomgit.commands.options import (
    PROGRESS_SECONDS,
    Common,
    Console,
    common,
    execution_date_option,
    variables_option,
)
from loomgit.errors import LoomError, lines_of
from loomgit.pipeline.events import Extracted, Progressed, RunFinished, RunStarted, Warned
from loomgit.report import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from loomgit.domain.runs import Run
    from loomgit.domain.values import JsonObject
    from loomgit.pipeline.events import Event
    from loomgit.wiring.selection import Selection

EXIT = {"gate": 1, "user": 2, "world": 4, "stopped": 130}


@click.command("run", short_help="Run a pipeline.")
@click.argument("pipelines", nargs=-1, metavar="PIPELINE...")
@click.option(
    "--select",
    multiple=True,
    metavar="EXPR",
    help="Also name, +name, name+, tag:word, state:modified, state:modified+.",
)
@click.option("--exclude", multiple=True, metavar="EXPR", help="But not these.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and run nothing.")
@click.option("--explain", is_flag=True, help="Say why each pipeline was selected.")
@variables_option("A value for {{ vars.NAME }}; may be given again.")
@execution_date_option
@click.option("--limit", type=WholeNumber(min=1), help="Take the first so many records.")
@click.option(
    "--budget",
    type=FiniteNumber(min=0),
    metavar="USD",
    help="Spend no more than this, all pipelines together.",
)
@common
def command(
    options: Common,
    pipelines: tuple[str, ...],
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    explain: bool,
    variables: dict[str, str],
    execution_date: datetime | None,
    limit: int | None,
    budget: float | None,
) -> int:
    """Run one or more pipelines: extract, transform, evaluate, gate, load.

    \b
    --select name+            a pipeline and those that take their data from it
    --select +name            a pipeline and those that it takes its data from
    --select state:modified+  those that differ from the baseline, and those behind them
    --select tag:nightly      those with a tag; words apart: either, with a comma: both

    Exit codes: 0 success, 1 a gate or threshold says no, 2 something must be changed first,
    4 a provider, database or disk failed, 130 stopped by Ctrl-C.
    """
    if not pipelines and not select:
        raise click.UsageError("Missing argument 'PIPELINE...', or --select.")
    project = options.project()
    console = options.console
    # A fault in the last pipeline is told before the first one runs.
    selection = project.select(pipelines, select, exclude=exclude, variables=variables)
    if explain and not dry_run:
        for chosen in selection.chosen:
            console.answer(f"{chosen.name}: {'; '.join(chosen.reasons)}")
    if dry_run or not selection.chosen:
        _tell(console, selection)
        return 0

    from loomgit.gateway.budget import Budget  # noqa: PLC0415 - `--help` must not pay for it

    shared = None if budget is None else Budget(budget)

    def run(name: str) -> Run:
        view = RunView(console)
        with console.only_document():
            return project.run(
                name,
                variables=variables,
                execution_date=execution_date,
                limit=limit,
                budget=shared,
                on_event=view.show,
            )

    errors: dict[str, LoomError] = {}
    runs, code = _run_all(console, selection, run, errors)
    if console.json:
        documents = [project.run_document(run) for run in runs]
        alone = len(pipelines) == 1 and not select
        console.document(documents[0] if alone else _whole(documents, errors))
    return code


def _tell(console: Console, selection: Selection) -> None:
    """What would run, in its order, and why."""
    count = len(selection.chosen)
    if not count:
        console.answer("Nothing is selected: nothing runs")
    else:
        console.answer(f"Would run {count} pipeline{'s' if count > 1 else ''}:")
    for chosen in selection.chosen:
        console.answer(f"  {chosen.name}: {'; '.join(chosen.reasons)}")
    console.document(
        {
            "schema_version": 1,
            "pipelines": [
                {"pipeline": chosen.name, "reasons": chosen.reasons} for chosen in selection.chosen
            ],
        }
    )


def _whole(documents: list[JsonObject], errors: Mapping[str, LoomError]) -> JsonObject:
    """The document of several runs, with the pipelines that were refused before they began."""
    whole: JsonObject = {"schema_version": 1, "runs": [*documents]}
    if errors:
        whole["errors"] = [
            {"pipeline": name, "problems": [*error.documents()]} for name, error in errors.items()
        ]
    return whole


def _run_all(
    console: Console,
    selection: Selection,
    run_one: Callable[[str], Run],
    errors: dict[str, LoomError],
) -> tuple[list[Run], int]:
    """Run the pipelines in order; one that fails stops those that take their data from it.

    `errors` gets those that were refused before they began. Raises LoomError where the only
    pipeline is.
    """
    runs: list[Run] = []
    failed: list[str] = []
    code = 0
    for name in (chosen.name for chosen in selection.chosen):
        if broken := selection.waits_for(name, failed):
            console.warn(f"{name} is left out: it takes its data from {broken[0]}, which failed")
            continue
        try:
            run = run_one(name)
        except LoomError as error:
            if len(selection.chosen) == 1:
                raise
            for line, hint in lines_of(error):
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
    return runs, code


class RunView:
    """Draws the events of one run as the mission's sample shows them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0
        self._since = time.monotonic()

    def show(self, event: Event) -> None:
        """Print what the event says."""
        match event:
            case RunStarted():
                self._lines(text.run_heading(event.pipeline, event.version))
            case Extracted():
                self._console.print(text.extracted(event.records, event.refused, event.seconds))
                self._since = time.monotonic()
            case Progressed():
                self._draw(event)
            case Warned():
                self._console.warn(event.message)
            case RunFinished():
                self._lines(text.run_result(event.run))
                if self._console.verbose:
                    self._lines(["", *text.run_lineage(event.run)])
                if event.run.results.cause:
                    self._console.error(event.run.results.message, event.hint)

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(line)

    def _draw(self, event: Progressed) -> None:
        now = time.monotonic()
        if not self._console.progresses or now - self._last < PROGRESS_SECONDS:
            return
        self._last = now
        rate = event.done / max(now - self._since, 1e-9)
        left = (event.total - event.done) / rate
        self._console.progress(
            f"Transform: {event.done:,}/{event.total:,} records · {rate:,.0f}/s · "
            f"{text.money(event.cost)} · {left:,.0f}s left"
        )
