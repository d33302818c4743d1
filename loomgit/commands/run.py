"""`loom run`: one pipeline, end to end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from loomgit.commands.options import PROGRESS_SECONDS, Common, Console, common, parse_variables
from loomgit.pipeline.events import Extracted, Progressed, RunFinished, RunStarted, Warned
from loomgit.report import text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from loomgit.domain.runs import Run
    from loomgit.pipeline.events import Event

DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z"]
EXIT = {"gate": 1, "user": 2, "world": 4, "stopped": 130}


@click.command("run", short_help="Run a pipeline.")
@click.argument("pipelines", nargs=-1, required=True, metavar="PIPELINE...")
@click.option(
    "--vars",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    callback=parse_variables,
    help="A value for {{ vars.NAME }}; may be given again.",
)
@click.option(
    "--execution-date",
    type=click.DateTime(DATES),
    help="What {{ execution_date }} is, UTC unless it says otherwise; default: now.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Take the first so many records.")
@common
def command(
    options: Common,
    pipelines: tuple[str, ...],
    variables: dict[str, str],
    execution_date: datetime | None,
    limit: int | None,
) -> int:
    """Run one or more pipelines: extract, transform, evaluate, gate, load.

    Exit codes: 0 success, 1 a gate or threshold says no, 2 something must be changed first,
    4 a provider, database or disk failed, 130 stopped by Ctrl-C.
    """
    project = options.project()
    runs: list[Run] = []
    code = 0
    names = list(dict.fromkeys(pipelines))
    for name in names:
        project.pipeline(name)  # a fault in the last one is told before the first one runs
    for name in names:
        view = RunView(options.console)
        with options.console.only_document():
            run = project.run(
                name,
                variables=variables,
                execution_date=execution_date,
                limit=limit,
                on_event=view.show,
            )
        runs.append(run)
        code = max(code, EXIT.get(run.results.cause, 0))
        if run.results.cause == "stopped":
            break
    if options.console.json:
        documents = [project.run_document(run) for run in runs]
        whole = {"schema_version": 1, "runs": documents}
        options.console.document(documents[0] if len(pipelines) == 1 else whole)
    return code


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
                self._console.print(text.extracted(event.records, event.seconds))
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
