"""`loom report`: reports on all pipelines, or on changes and their approvals.

The report is text, JSON or HTML.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from loomgit.commands.options import DATES, Common, common
from loomgit.domain.values import JsonObject
from loomgit.errors import UserError, WorldError

if TYPE_CHECKING:
    from loomgit.domain.changes import ChangeLog
    from loomgit.report.overview import Overview

# A report in three forms: its lines of text, its JSON document, and a function that renders its
# HTML page. The argument of the function is the time that the page shows.
Report: TypeAlias = tuple[Iterable[str], JsonObject, Callable[[str], str]]


@click.command("report")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this self-contained HTML file.",
)
@click.option(
    "--since",
    type=click.DateTime(DATES),
    metavar="DATE",
    help="Only runs and changes since this date. A date without an offset is in UTC.",
)
@click.option("--compliance", is_flag=True, help="Report changes and approvals.")
@common
def command(options: Common, html: Path | None, since: datetime | None, compliance: bool) -> None:
    """Report on all pipelines: runs, scores by commit, cost, and the latest comparison.

    With --compliance, list the changes to prompts, context files and pipelines. For each change,
    show its scores and its approvals: merges, trailers (such as Reviewed-by and Loom-Accept) and
    annotated tags.
    """
    console = options.console
    start = since if since is None or since.tzinfo is not None else since.replace(tzinfo=UTC)
    lines, document, page = (_changes if compliance else _overview)(options, start)
    if html is not None:
        _save(html, page(_now()))
        console.print(f"Wrote the report to {html}")
    else:
        for line in lines:
            console.answer(line)
    console.document(document)


def _changes(options: Common, since: datetime | None) -> Report:
    from loomgit.report import changes  # noqa: PLC0415 - keeps `--help` fast

    log = options.project().changes(since=since)
    return changes.change_table(log), changes.change_document(log), partial(_changes_page, log)


def _changes_page(log: ChangeLog, generated: str) -> str:
    from loomgit.report.html import render_changes  # noqa: PLC0415 - imports slow libraries

    return render_changes(log, generated=generated)


def _overview(options: Common, since: datetime | None) -> Report:
    from loomgit.report import overview  # noqa: PLC0415 - keeps `--help` fast

    with options.console.only_document():
        found = options.project().report(since=since)
    document = overview.overview_document(found)
    return overview.overview_lines(found), document, partial(_overview_page, found)


def _overview_page(overview: Overview, generated: str) -> str:
    from loomgit.report.html import render_overview  # noqa: PLC0415 - imports slow libraries

    return render_overview(overview, generated=generated)


def _now() -> str:
    """Return the current time as text.

    If the environment variable SOURCE_DATE_EPOCH (seconds since 1970) is set, it replaces the
    current time, so that HTML files are reproducible. Raises UserError if it is not a number.
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = datetime.now(UTC) if not seconds else datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(f"SOURCE_DATE_EPOCH={seconds} is not a number of seconds") from error
    return f"{now:%Y-%m-%d %H:%M} UTC"


def _save(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
