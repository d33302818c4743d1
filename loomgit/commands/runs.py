"""`loom runs list|show|gc`: lists past runs, shows one run, removes old runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.default_group import DefaultGroup
from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import DATES, Common, common
from loomgit.domain.runs import INTERRUPTED
from loomgit.domain.values import to_plain
from loomgit.report import text

if TYPE_CHECKING:
    from datetime import datetime

    from loomgit.domain.runs import RunSummary
    from loomgit.domain.values import Json

STATUSES = ["success", "partial", "failed", "budget_exceeded", "interrupted"]


@click.group("runs", cls=DefaultGroup, default="list", takes_argument=False)
def command() -> None:
    """List, show or remove past runs.

    Without a command, list the runs.
    """


@command.command("list")
@click.option("--pipeline", metavar="NAME", help="Only runs of this pipeline.")
@click.option("--branch", metavar="NAME", help="Only runs on this branch.")
@click.option("--commit", metavar="REV", help="Only runs at this commit.")
@click.option(
    "--since",
    type=click.DateTime(DATES),
    metavar="DATE",
    help="Only runs since this date. A date without an offset is in UTC.",
)
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@click.option(
    "--limit",
    type=WholeNumber(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Show at most N runs.",
)
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
    rows = options.project().runs(
        pipeline, branch=branch, commit=commit, since=since, status=status
    )[-limit:]
    for line in text.run_list(rows):
        options.console.answer(line)
    documents = [_summary_document(row) for row in reversed(rows)]
    options.console.document({"schema_version": 1, "runs": documents})


def _summary_document(run: RunSummary) -> dict[str, Json]:
    """Return the JSON of a run. Numbers that only a record contains are null without a record."""
    unknown = ("processed", "validated", "duration") if run.status == INTERRUPTED else ()
    return {**to_plain(run), **dict.fromkeys(unknown)}


@command.command("show")
@click.argument("run", metavar="RUN")
@common
def show_run(options: Common, run: str) -> None:
    """Show a run.

    RUN is an id (2026-11-21-001), a uid, or `latest`.
    """
    project = options.project()
    record = project.get_run(run)
    console = options.console
    for line in [*text.run_lineage(record), "", *text.run_result(record)]:
        console.answer(line)
    console.document(project.run_document(record))


@command.command("gc")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, without removing it.")
@click.option(
    "--days",
    type=WholeNumber(min=0),
    default=90,
    show_default=True,
    metavar="N",
    help="Keep runs of the last N days.",
)
@click.option(
    "--keep",
    type=WholeNumber(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Keep the last N runs of each branch, pipeline and kind of run.",
)
@common
def collect(options: Common, dry_run: bool, days: int, keep: int) -> None:
    """Remove old runs and their records.

    A run is kept if it matches --days or --keep. It is also kept if it used no uncommitted changes
    and its commit is reachable from a branch, tag or remote branch. The state of an unfinished run
    is kept if it matches --days; without its state, a run cannot be resumed.
    """
    result = options.project().gc(days=days, keep=keep, dry_run=dry_run)
    console = options.console
    show = console.answer if dry_run else console.print
    for run in result.runs:
        show(f"{run.run_id}  {run.pipeline}  {run.started}  {size(run.bytes)}")
    for run in result.unfinished:
        state = "state of an unfinished run"
        show(f"{run.run_id}  {run.pipeline}  {run.started}  {size(run.bytes)}  {state}")
    for orphan in result.orphans:
        show(f".loom/{orphan}  not used by any run")
    if result.unknown:
        console.warn(
            f"shallow clone: {result.unknown:,} runs are kept because the missing history may "
            "contain their commits"
        )
    verb = "Would remove" if dry_run else "Removed"
    files = f" and {len(result.orphans):,} unused records files" if result.orphans else ""
    freed = f"{verb} {len(result.runs):,} runs{files}: {size(result.bytes)}"
    show(f"{freed}; {result.kept:,} runs remain")
    console.document({"schema_version": 1, "dry_run": dry_run, **to_plain(result)})


def size(count: int) -> str:
    """Return a number of bytes as text: `734 B`, `1.2 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
