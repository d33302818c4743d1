"""`loom report`: the history of all pipelines, or who changed and approved what, as text, JSON or
one HTML file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from loomgit.commands.options import DATES, Common, common
from loomgit.errors import UserError, WorldError


@click.command("report")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this file: one that needs nothing else.",
)
@click.option("--since", type=click.DateTime(DATES), help="Only what happened since then, in UTC.")
@click.option("--compliance", is_flag=True, help="Who changed and who approved what.")
@common
def command(options: Common, html: Path | None, since: datetime | None, compliance: bool) -> None:
    """Tell how all pipelines are doing: runs, scores over commits, cost, the latest comparison.

    With --compliance: the changes of prompts, context files and pipelines, who approved each (the
    merge, trailers such as Reviewed-by and Loom-Accept, annotated tags), and what it scored.
    """
    console, project = options.console, options.project()
    when = since if since is None or since.tzinfo is not None else since.replace(tzinfo=UTC)
    if compliance:
        from loomgit.report.changes import change_document, change_table  # noqa: PLC0415

        log = project.changes(since=when)
        lines, document = change_table(log), change_document(log)
    else:
        from loomgit.report.overview import overview_document, overview_lines  # noqa: PLC0415

        with console.only_document():
            overview = project.report(since=when)
        lines, document = overview_lines(overview), overview_document(overview)
    if html is not None:
        from loomgit.report.html import render_changes, render_overview  # noqa: PLC0415 - Jinja2

        now = _now()
        text = (
            render_changes(log, generated=now)
            if compliance
            else render_overview(overview, generated=now)
        )
        _save(html, text)
        console.print(f"The report is in {html}")
    else:
        for line in lines:
            console.answer(line)
    console.document(document)


def _now() -> str:
    """The time in words; SOURCE_DATE_EPOCH (seconds since 1970) makes the file the same again."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = datetime.now(UTC) if not given else datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(f"SOURCE_DATE_EPOCH={given} is no number of seconds") from error
    return f"{now:%Y-%m-%d %H:%M} UTC"


def _save(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
