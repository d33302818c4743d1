"""`loom cost`: what a pipeline's runs came to, or with `--dry-run` what the next one will."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import DATES, Common, common, variables_option
from loomgit.commands.screen import echo
from loomgit.config.scalars import Wrong, read_duration
from loomgit.report.cost import (
    estimate_document,
    estimate_lines,
    price_hints,
    spending_document,
    spending_lines,
)

if TYPE_CHECKING:
    from loomgit.commands.options import Console
    from loomgit.domain.spending import Estimate, Spending


def parse_since(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """A date, UTC where it names no time zone, or how long ago: `2026-11-01`, `7d`, `24h`."""
    if value is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=read_duration(value))
    except (Wrong, OverflowError):
        pass
    try:
        found: datetime = click.DateTime(DATES).convert(value, parameter, context)
    except click.BadParameter as error:
        message = f"{value!r} is no date (2026-11-01) and no age (7d, 24h)"
        raise click.BadParameter(message, context, parameter) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@click.command("cost")
@click.argument("pipeline", metavar="PIPELINE")
@click.option("--dry-run", is_flag=True, help="Estimate what a run will cost; ask nothing.")
@click.option(
    "--since",
    metavar="DATE|AGE",
    callback=parse_since,
    help="Only runs since then: 2026-11-01, 7d, 24h.",
)
@click.option("--limit", type=WholeNumber(min=1), help="Estimate the first so many records.")
@variables_option("A value for {{ vars.NAME }} of the estimate; may be given again.")
@common
def command(
    options: Common,
    pipeline: str,
    dry_run: bool,
    since: datetime | None,
    limit: int | None,
    variables: dict[str, str],
) -> int:
    """Tell what a pipeline's runs cost by stage, model and day, or estimate the next one.

    Exit codes: 0 told, 2 there is no such pipeline, or the estimate needs something changed first,
    4 its source cannot be read.
    """
    if dry_run and since is not None:
        raise click.UsageError("--since is about what was spent, and --dry-run about what will be.")
    if not dry_run and (limit is not None or variables):
        raise click.UsageError("--limit and --vars are for --dry-run.")
    project, console = options.project(), options.console
    if not dry_run:
        _spent(console, project.spending(pipeline, since=since))
        return 0
    with console.only_document():
        found = project.estimate(pipeline, variables=variables, limit=limit)
    _estimated(console, found)
    return 0


def _estimated(console: Console, found: Estimate) -> None:
    for line in estimate_lines(found):
        console.answer(line)
    for hint in price_hints(found):
        echo(f"hint: {hint}", err=True)
    console.document(estimate_document(found))


def _spent(console: Console, found: Spending) -> None:
    for line in spending_lines(found):
        console.answer(line)
    console.document(spending_document(found))
