"""`loom cost`: shows the cost of past runs or (with `--dry-run`) estimates the next run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import (
    DATES,
    Common,
    common,
    execution_date_option,
    target_option,
    variables_option,
)
from loomgit.commands.screen import echo
from loomgit.config.scalars import InvalidValue, read_duration
from loomgit.report.cost import (
    estimate_document,
    estimate_lines,
    price_hints,
    spending_document,
    spending_lines,
)

if TYPE_CHECKING:
    from loomgit.commands.options import Console
    from loomgit.domain.spending import Estimate, SpendingReport


def parse_since(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """Parse a date (`2026-11-01`) or an age (`7d`, `24h`). A date without an offset is in UTC."""
    if value is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(seconds=read_duration(value))
    except (InvalidValue, OverflowError):
        pass
    try:
        date: datetime = click.DateTime(DATES).convert(value, parameter, context)
    except click.BadParameter as error:
        message = f"{value!r} is neither a date (2026-11-01) nor an age (7d, 24h)"
        raise click.BadParameter(message, context, parameter) from error
    return date if date.tzinfo else date.replace(tzinfo=UTC)


@click.command("cost")
@click.argument("pipeline", metavar="PIPELINE")
@click.option("--dry-run", is_flag=True, help="Estimate the next run, without calling a model.")
@click.option(
    "--since",
    metavar="DATE|AGE",
    callback=parse_since,
    help="Only runs since this date or age, such as 2026-11-01, 7d or 24h.",
)
@click.option(
    "--limit",
    type=WholeNumber(min=1),
    metavar="N",
    help="With --dry-run: only the first N records.",
)
@variables_option("With --dry-run: set {{ vars.NAME }}. Can be repeated.")
@execution_date_option
@target_option("With --dry-run: target in .loom/config.yaml.")
@common
@click.pass_context
def command(
    context: click.Context,
    /,
    options: Common,
    pipeline: str,
    dry_run: bool,
    since: datetime | None,
    limit: int | None,
    variables: dict[str, str],
    execution_date: datetime | None,
    target: str | None,
) -> int:
    """Show what the runs of a pipeline cost, by stage, model and day.

    With --dry-run, estimate the cost of the next run.

    Exit codes: 0 success, 2 usage or configuration error, 4 the source cannot be read.
    """
    if dry_run and since is not None:
        raise click.UsageError("--since selects past runs and cannot be used with --dry-run.")
    written = context.get_parameter_source("target") == ParameterSource.COMMANDLINE
    if not dry_run and (limit is not None or variables or execution_date or written):
        raise click.UsageError("--limit, --vars, --execution-date and --target require --dry-run.")
    project, console = options.project(target=target), options.console
    if not dry_run:
        _print_spending(console, project.spending(pipeline, since=since))
        return 0
    with console.only_document():
        estimate = project.estimate(
            pipeline, variables=variables, execution_date=execution_date, limit=limit
        )
    _print_estimate(console, estimate)
    return 0


def _print_estimate(console: Console, estimate: Estimate) -> None:
    for line in estimate_lines(estimate):
        console.answer(line)
    for hint in price_hints(estimate):
        echo(f"hint: {hint}", err=True)
    console.document(estimate_document(estimate))


def _print_spending(console: Console, spending: SpendingReport) -> None:
    for line in spending_lines(spending):
        console.answer(line)
    console.document(spending_document(spending))
