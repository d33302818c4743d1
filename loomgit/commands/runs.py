"""`loom runs list|show`: what was run, and one run in full."""

from __future__ import annotations

import dataclasses

import click

from loomgit.commands.options import Common, common
from loomgit.report import text


@click.group("runs", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List past runs (the default), or show one."""
    if context.invoked_subcommand is None:
        context.invoke(context.command.get_command(context, "list"))  # type: ignore[attr-defined]


@command.command("list")
@click.option("--pipeline", metavar="NAME", help="Only runs of this pipeline.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@common
def list_runs(options: Common, pipeline: str | None, limit: int) -> None:
    """List runs, newest first."""
    rows = options.project().runs(pipeline)[-limit:]
    for line in text.run_list(rows):
        options.console.answer(line)
    documents = [dataclasses.asdict(row) for row in reversed(rows)]
    options.console.document({"schema_version": 1, "runs": documents})


@command.command("show")
@click.argument("run", metavar="RUN")
@common
def show_run(options: Common, run: str) -> None:
    """Show a run by its id (2026-11-21-001), its uid, or `latest`."""
    project = options.project()
    found = project.get_run(run)
    console = options.console
    for line in [*text.run_lineage(found), "", *text.run_result(found)]:
        console.answer(line)
    console.document(project.run_document(found))
