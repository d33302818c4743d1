"""`loom runs list|show|gc`: what was run, one run in full, and the removal of old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import DATES, Common, common
from loomgit.domain.values import to_plain
from loomgit.report import text

if TYPE_CHECKING:
    from datetime import datetime

STATUSES = ["success", "partial", "failed", "budget_exceeded"]


@click.group("runs", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List past runs (the default), show one, or remove old ones."""
    if context.invoked_subcommand is None:
        context.invoke(context.command.get_command(context, "list"))  # type: ignore[attr-defined]


@command.command("list")
@click.option("--pipeline", metavar="NAME", help="Only runs of this pipeline.")
@click.option("--branch", metavar="NAME", help="Only runs on this branch.")
@click.option("--commit", metavar="REV", help="Only runs at this commit.")
@click.option("--since", type=click.DateTime(DATES), help="Only runs since then, in UTC.")
@click.option("--status", type=click.Choice(STATUSES), help="Only runs that ended so.")
@click.option("--limit", type=WholeNumber(min=1), default=20, show_default=True)
@common
def list_runs(
    options: Common,
    pipeline: str | None,
    branch: str | None,
    commit: str | None,
    since: datetime | None,
    status: str | None,
    limit: int,
) -> None:
    """List runs, newest first."""
    found = options.project().runs(
        pipeline, branch=branch, commit=commit, since=since, status=status
    )
    rows = found[-limit:]
    for line in text.run_list(rows):
        options.console.answer(line)
    documents = [to_plain(row) for row in reversed(rows)]
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


@command.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--days",
    type=WholeNumber(min=0),
    default=90,
    show_default=True,
    help="Keep younger runs.",
)
@click.option(
    "--keep",
    type=WholeNumber(min=0),
    default=20,
    show_default=True,
    help="Keep so many of each branch and pipeline.",
)
@common
def collect(options: Common, dry_run: bool, days: int, keep: int) -> None:
    """Remove old runs and their records.

    Runs stay whose commit a branch, tag or remote reaches, that are young, or the last of their
    branch. Runs of uncommitted work go by age and number alone.
    """
    done = options.project().gc(days=days, keep=keep, dry_run=dry_run)
    console = options.console
    for run in done.runs:
        console.answer(f"{run.run_id}  {run.pipeline}  {run.started}  {size(run.bytes)}")
    for orphan in done.orphans:
        console.answer(f".loom/{orphan}  belongs to no run")
    if done.unknown:
        console.warn(
            f"history is cut off here (shallow clone): {done.unknown:,} runs are kept whose "
            "commits it may hold"
        )
    verb = "Would remove" if dry_run else "Removed"
    files = f" and {len(done.orphans):,} loose records files" if done.orphans else ""
    console.answer(
        f"{verb} {len(done.runs):,} runs{files}: {size(done.bytes)}; {done.kept:,} runs stay"
    )
    console.document({"schema_version": 1, "dry_run": dry_run, **to_plain(done)})


def size(count: int) -> str:
    """Bytes as people read them: `734 B`, `1.2 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
